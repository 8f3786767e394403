/** The arrows of ARCHITECTURE.md: data flows one way, so imports do too. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import t from 'tap'
import ts from 'typescript'

const root = resolve(import.meta.dirname, '../../..')
const source = join(root, 'src')

/** Layer → what it may import besides itself, node: and npm packages. */
const allowed: Record<string, readonly string[]> = {
  'errors.ts': [],
  'reason.ts': [],
  'pace.ts': [],
  model: ['errors.ts', 'reason.ts'],
  host: ['model', 'errors.ts', 'reason.ts', 'libbpf-ts'],
  dataplane: ['host', 'model', 'errors.ts', 'reason.ts', 'pace.ts', 'libbpf-ts'],
  sources: ['model', 'errors.ts', 'reason.ts', 'pace.ts'],
  dns: ['model', 'errors.ts', 'reason.ts'],
  metrics: ['model', 'errors.ts', 'reason.ts', 'pace.ts'],
  api: ['model', 'errors.ts', 'reason.ts', 'pace.ts'],
  // The page: of the API it takes types alone.
  web: ['api'],
  ipvs: ['sources', 'model', 'errors.ts', 'reason.ts'],
  'stateFile.ts': ['model', 'errors.ts', 'reason.ts'],
  'checkFile.ts': ['sources', 'config.ts', 'model', 'errors.ts', 'reason.ts'],
  'config.ts': ['sources', 'model', 'errors.ts', 'reason.ts'],
  // The commands start the agent, check a file, probe the kernel or detach; all else is the API.
  cli: [
    ...['main.ts', 'checkFile.ts', 'config.ts', 'api', 'sources', 'ipvs', 'dataplane', 'host'],
    ...['model', 'errors.ts', 'reason.ts'],
  ],
  'main.ts': [
    ...['sources', 'model', 'dataplane', 'dns', 'metrics', 'api', 'host'],
    ...['config.ts', 'stateFile.ts', 'errors.ts', 'reason.ts'],
  ],
}

function layerOf(file: string): string {
  return relative(source, file).split('/')[0] ?? ''
}

/** Violations of one file's text. */
function violations(file: string, text: string): string[] {
  const layer = layerOf(file)
  const may = allowed[layer]
  if (!may) return [`${relative(root, file)}: no such layer in ARCHITECTURE.md`]
  return ts.preProcessFile(text, true, true).importedFiles.flatMap(({ fileName }) => {
    const to = fileName.startsWith('.')
      ? layerOf(resolve(dirname(file), fileName.replace(/\.js$/, '.ts')))
      : fileName === 'libbpf-ts'
        ? fileName
        : layer
    return to === layer || may.includes(to)
      ? []
      : [`${relative(root, file)} imports ${fileName}: ${layer} may not know of ${to}`]
  })
}

t.test('imports follow the flow of data', (t) => {
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.tsx?$/.test(name))
    .map((name) => join(source, name))
  t.ok(files.length > 10, 'there is something to check')
  t.same(
    files.flatMap((file) => violations(file, readFileSync(file, 'utf8'))),
    [],
  )
  t.end()
})

t.test('an arrow that runs the wrong way is seen', (t) => {
  const check = (file: string, text: string) => violations(join(source, file), text).length
  t.equal(check('dns/zone.ts', "import { x } from '../dataplane/rows.js'"), 1)
  t.equal(check('metrics/a.ts', "import { BpfMap } from 'libbpf-ts'"), 1)
  t.equal(check('model/model.ts', "export * from '../sources/file/source.js'"), 1)
  t.equal(check('api/a.ts', "const m = await import('../dns/zone.js')"), 1)
  t.equal(check('elsewhere/a.ts', ''), 1)
  t.equal(check('dataplane/a.ts', "import { BpfMap } from 'libbpf-ts'"), 0)
  t.equal(check('dns/a.ts', "import type { State } from '../model/types.js'"), 0)
  t.end()
})

/** What docs/reference/failures.md promises: that the tests it names are there. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

const ROOT = join(import.meta.dirname, '../../..')
const text = (file: string) => readFileSync(join(ROOT, file), 'utf8')

interface Named {
  readonly file: string
  readonly title: string
}

/** The items of lists that begin with a test file's name. */
function named(page: string): Named[] {
  return [...page.matchAll(/^- `([^`]+\.test\.ts)`: (.+)$/gm)].map(([, file = '', title = '']) => ({
    file,
    title,
  }))
}

/** Titles of tests in a source file, where `…` stands for what is filled in. */
function titles(source: string): string[] {
  const calls = /\b(?:t\.test|\w+Test)\(\s*(?:t,\s*)?(?:'([^'\n]+)'|`([^`]+)`|"([^"\n]+)")/g
  return [...source.matchAll(calls)].map((match) => {
    const [, ...forms] = match as (string | undefined)[]
    const title = (forms.find((form) => form !== undefined) ?? '').replace(
      /\$\{(?:[^{}]|\{[^{}]*\})*\}/g,
      '…',
    )
    // The family, the path, the host: which the page leaves out.
    return title.replace(/^(?:IPv|mode )?(?:…|[46])(?:,? …)*: /, '')
  })
}

t.test('the page names only tests that there are', (t) => {
  const all = named(text('docs/reference/failures.md'))
  t.ok(all.length > 60, `${all.length} tests`)
  for (const { file, title } of all) {
    if (!existsSync(join(ROOT, file))) t.fail(`there is no ${file}`)
    else if (!titles(text(file)).includes(title)) t.fail(`${file} has no test "${title}"`)
  }
  t.end()
})

t.test('a test that is not there is seen', (t) => {
  t.same(named('text\n- `test/a.test.ts`: one … two\n- `b.ts`: no'), [
    { file: 'test/a.test.ts', title: 'one … two' },
  ])
  const source = [
    "t.test('plain', (t) => {",
    'kernelTest(\n  t,\n  `${name} ${protocol}: made of ${parts.join(`, `)}`,',
    'edgeTest(`${name}: has ${count(1)} parts`, (t) => {',
    "note('not a test')",
  ].join('\n')
  t.same(titles(source).slice(0, 1), ['plain'])
  t.ok(titles(source).includes('has … parts'))
  t.notOk(titles(source).includes('not a test'))
  t.end()
})

t.test('every reason to drop has a test', (t) => {
  const [, list = ''] = /enum drop_reason \{([^}]*)\}/.exec(text('bpf/maps.h')) ?? []
  const reasons = [...list.matchAll(/^\tDROP_([A-Z_]+),/gm)]
    .map(([, reason = '']) => reason)
    .filter((reason) => reason !== 'NONE' && reason !== 'COUNT')
  t.ok(reasons.length > 15, reasons.join())
  const tests = ['test/kernel', 'test/netns'].flatMap((folder) =>
    readdirSync(join(ROOT, folder))
      .filter((file) => file.endsWith('.test.ts'))
      .map((file) => text(`${folder}/${file}`)),
  )
  const shown = (reason: string) => {
    // A count that is expected: of counted(), of a call with the name in it, or of the metric.
    const forms = [
      `DROP_${reason}: [\\w.([]`,
      `(?:drops|[a-z]*[Rr]efused?|lost|dropped)\\((?:[^()]|\\([^()]*\\))*'(?:DROP_)?${reason}'`,
      `metric\\([^()]*reason="${reason.toLowerCase()}"`,
    ]
    const pattern = new RegExp(forms.join('|'))
    return tests.some((test) => pattern.test(test))
  }
  for (const reason of reasons) t.ok(shown(reason), reason)
  t.end()
})

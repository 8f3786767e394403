/** `fairlead import ipvs` as a command: where rules come from, where the file goes, how it ends. */
import { execFile } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { command, type Done, fairlead, folderOf } from './stage.js'

const SAVED = new URL('../../../../test/vectors/ipvs/saved', import.meta.url).pathname

/** With something on standard input. */
function piped(input: string, ...args: string[]): Promise<Done> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [command, 'import', 'ipvs', ...args],
      { timeout: 20_000 },
      (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr })
      },
    )
    child.stdin?.end(input)
  })
}

t.test('from a file to a file that check accepts, with notes by line on stderr', async (t) => {
  const output = join(folderOf(t), 'fairlead.yaml')
  const done = await fairlead('import', 'ipvs', SAVED, '--output', output, '--interface', 'eth0')
  t.equal(done.code, 0, done.stderr)
  t.match(done.stdout, /fairlead\.yaml: 25 services, \d+ notes\n$/)
  const lines = done.stderr.trim().split('\n')
  t.ok(lines.length > 10)
  for (const line of lines)
    t.match(line, /^fairlead: \/.*\/saved:\d+: (?:near|left out): \S/, 'one line a note')
  const checked = await fairlead('check', output)
  t.equal(checked.code, 0, checked.stdout)
})

t.test('from standard input to standard output', async (t) => {
  const rules = '-A -t 192.0.2.1:80 -s wrr\n-a -t 192.0.2.1:80 -r 10.0.0.1:80 -m -w 3\n'
  for (const args of [[], ['-']]) {
    const { code, stdout, stderr } = await piped(rules, ...args)
    t.equal(code, 0, stderr)
    t.equal(stderr, '')
    t.match(stdout, '{ address: 10.0.0.1, weight: 3 }')
  }
  const marked = await piped('-A -f 7 -s rr\n', '--fwmark', '7=192.0.2.9,80,53/udp', '--json')
  t.match(JSON.parse(marked.stdout), { services: 1, notes: [], text: /ports: \[80, 53\/udp\]/ })
})

t.test('what is wrong is said, with the exit code for it, and nothing is written', async (t) => {
  const folder = folderOf(t)
  const output = join(folder, 'out.yaml')
  const bad = await piped('-A -t 192.0.2.1:80\nx\n', '--output', output)
  t.same(bad, { code: 2, stdout: '', stderr: 'fairlead: stdin:2: "x" is not known\n' })
  t.notOk(existsSync(output))
  t.equal((await fairlead('import', 'ipvs', join(folder, 'absent'))).code, 2)
  for (const mark of ['7', '7=', '7=x', '7=192.0.2.1,0', '7=192.0.2.1,80/sctp', 'x=192.0.2.1'])
    t.match(
      await piped('', '--fwmark', mark),
      { code: 2, stderr: /^fairlead: .*--fwmark.*\n$/ },
      mark,
    )
  const nowhere = await piped('', '--output', join(folder, 'no/where.yaml'))
  t.match(nowhere, { code: 1, stderr: /cannot be written/ })
  writeFileSync(output, 'before')
  t.equal((await piped('', '--output', output)).code, 0)
  t.match(readFileSync(output, 'utf8'), 'services: []')
})

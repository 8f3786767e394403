import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { ipvsPresence } from '../../../src/host/ipvs.js'

const RELEASE = '6.1.0-99-cloud-amd64'
const MODULES = `lib/modules/${RELEASE}`

function root(t: Test, files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'fairlead-ipvs-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), text)
  }
  return folder
}

t.test('whether a kernel has IPVS', (t) => {
  const dep = (line: string) => ({ [`${MODULES}/modules.dep`]: `kernel/a.ko:\n${line}\n` })
  const cases: readonly (readonly [string, Record<string, string>, string])[] = [
    ['a kernel without modules', {}, 'absent'],
    ['modules, and it is not among them', dep('kernel/b.ko: kernel/a.ko'), 'absent'],
    ['it is loaded', { 'proc/net/ip_vs': 'IP Virtual Server version 1.2.1' }, 'loaded'],
    [
      'it is loaded, seen from a namespace without it',
      { 'sys/module/ip_vs/refcnt': '0' },
      'loaded',
    ],
    [
      'it is built in',
      { [`${MODULES}/modules.builtin`]: 'kernel/net/netfilter/ipvs/ip_vs.ko\n' },
      'loaded',
    ],
    ...['', '.xz', '.zst'].map(
      (end) =>
        [
          `a module${end}`,
          dep(`kernel/net/netfilter/ipvs/ip_vs.ko${end}: kernel/lib/libcrc32c.ko`),
          'loadable',
        ] as const,
    ),
    [
      'only its schedulers',
      dep('kernel/net/netfilter/ipvs/ip_vs_rr.ko: kernel/x/my_ip_vs.ko'),
      'absent',
    ],
    ['modules that cannot be seen', { 'proc/modules': 'nf_nat 1 0 - Live 0\n' }, 'loadable'],
    [
      'modules, seen, and it is not among them',
      { 'proc/modules': '', ...dep('kernel/b.ko: kernel/a.ko') },
      'absent',
    ],
    [
      'of another release',
      { 'lib/modules/5.10.0/modules.dep': 'kernel/net/netfilter/ipvs/ip_vs.ko:\n' },
      'absent',
    ],
  ]
  for (const [what, files, expected] of cases)
    t.equal(ipvsPresence(root(t, files), RELEASE), expected, what)
  t.end()
})

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { FairleadError } from '../../../src/errors.js'
import { ensurePinDirectory } from '../../../src/host/bpffs.js'
import { listLinks, parseMac } from '../../../src/host/links.js'
import { namespaceInode } from '../../../src/host/namespaces.js'
import { inNamespace } from '../../../src/host/run.js'

async function refusal(promise: Promise<unknown>): Promise<FairleadError> {
  const error: unknown = await promise.then(
    () => undefined,
    (caught: unknown) => caught,
  )
  if (!(error instanceof FairleadError)) throw new Error('no FairleadError')
  return error
}

t.test('a MAC is six bytes or nothing', (t) => {
  t.same(parseMac('02:66:6c:00:0a:FF'), Uint8Array.of(2, 0x66, 0x6c, 0, 10, 255))
  t.equal(parseMac(''), undefined)
  t.equal(parseMac('00:00:00:00'), undefined)
  t.end()
})

t.test('links of this namespace', async (t) => {
  const links = await listLinks()
  t.match(
    links.find(({ name }) => name === 'lo'),
    { ifindex: 1 },
  )
})

t.test('a namespace that is not there is an error that names it', async (t) => {
  const error = await refusal(listLinks('/run/netns/fl-nowhere'))
  t.equal(error.code, 'HOST')
  t.match(error.message, /fl-nowhere/)
})

t.test('a command is never a shell string', (t) => {
  t.same(inNamespace('/run/netns/a; b', 'ip', ['link']), [
    'nsenter',
    ['--net=/run/netns/a; b', 'ip', 'link'],
  ])
  t.end()
})

t.test('a file that no namespace is mounted on is none', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'fl-ns-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'c-1'), '')
  t.equal(await namespaceInode(join(folder, 'c-1')), undefined)
  t.equal(await namespaceInode(join(folder, 'c-2')), undefined)
  t.equal(await namespaceInode(), await namespaceInode('/proc/self/ns/net'))
})

t.test('pins belong on a BPF file system, under names that it takes', async (t) => {
  for (const path of [join(tmpdir(), 'pins'), 'relative', '/sys/fs/bpf/with.dot']) {
    const error = await refusal(ensurePinDirectory(path))
    t.equal(error.code, 'HOST')
    t.match(error.message, path)
  }
})

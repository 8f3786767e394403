import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { expandGlob, globRoot, matchesAny } from '../../../src/host/glob.js'

t.test('names match whole and literally', (t) => {
  t.equal(matchesAny(['veth*'], 'veth12'), true)
  t.equal(matchesAny(['veth*'], 'xveth12'), false)
  t.equal(matchesAny(['eth0.1'], 'eth0x1'), false)
  t.equal(matchesAny(['eth?'], 'eth1'), true)
  t.equal(matchesAny([], 'eth1'), false)
  t.end()
})

t.test('the directory to watch is the one before the first wildcard', (t) => {
  t.equal(globRoot('/run/netns/c-*'), '/run/netns')
  t.equal(globRoot('/run/*/netns/a'), '/run')
  t.equal(globRoot('/run/netns/a'), '/run/netns')
  t.equal(globRoot('/*'), '/')
  t.end()
})

t.test('paths expand over several levels; what is not there is empty', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'fl-glob-'))
  t.teardown(() => rmSync(root, { recursive: true }))
  for (const name of ['a/one', 'a/two', 'b/one', 'c/three']) {
    mkdirSync(join(root, name, '..'), { recursive: true })
    writeFileSync(join(root, name), '')
  }
  t.same(await expandGlob(`${root}/?/o*`), [`${root}/a/one`, `${root}/b/one`])
  t.same(await expandGlob(`${root}/nowhere/*`), [])
})

/** An object of bpf/ compiled once more with plain tables: LRU tables evict where these refuse. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Teardown } from './stage.js'

const BPF = new URL('../../../bpf/', import.meta.url).pathname

/**
 * @param source a file of bpf/, `tc.bpf.c`
 * @returns the object's path, of the same name, until the test ends
 */
export function compilePlain(t: Teardown, source: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'fl-plain-'))
  t.teardown(() => {
    rmSync(folder, { recursive: true })
    return Promise.resolve()
  })
  const text = `
#include <linux/bpf.h>
#define BPF_MAP_TYPE_LRU_HASH BPF_MAP_TYPE_HASH
#include "${source}"
`
  const copy = `plain.${source}`
  writeFileSync(join(folder, copy), text)
  // The Makefile knows the compiler and its flags; only the place of the sources differs.
  const places = [`OUT=${folder}`, `SOURCES=${copy}`]
  execFileSync('make', ['-s', '-C', folder, '-f', join(BPF, 'Makefile'), ...places], {
    env: { ...process.env, CPATH: BPF },
  })
  return join(folder, copy.replace(/\.c$/, '.o'))
}

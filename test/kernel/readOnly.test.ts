/** What explains decisions cannot write: no instruction of it does. */
import { execFileSync } from 'node:child_process'
import t from 'tap'

const objects = new URL('../../bpf/', import.meta.url).pathname

/** bpf_map_update_elem, bpf_map_delete_elem, and those that put records into a ring buffer. */
const WRITERS = /call 0x(2|3|82|83|84)$/gm
const ATOMIC = /\block\b|atomic|cmpxchg|xchg/g

function written(object: string): { helpers: number; atomics: number } {
  const options = { encoding: 'utf8' as const, maxBuffer: 256 << 20 }
  const text = execFileSync('llvm-objdump-19', ['-d', '--no-show-raw-insn', object], options)
  const count = (pattern: RegExp) => text.match(pattern)?.length ?? 0
  return { helpers: count(WRITERS), atomics: count(ATOMIC) }
}

t.test('explain.bpf.o calls no helper that writes to a map, and adds to none', (t) => {
  t.same(written(`${objects}explain.bpf.o`), { helpers: 0, atomics: 0 })
  const { helpers, atomics } = written(`${objects}tc.bpf.o`)
  t.ok(helpers > 0 && atomics > 0, 'those of tc are seen')
  t.end()
})

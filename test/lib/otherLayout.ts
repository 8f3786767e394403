/** The BPF programs with records of another shape: what a later version may bring. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { run } from './netns.js'

const SOURCES = join(import.meta.dirname, '../../../bpf')

/** Text of maps.h to what replaces it. */
export type Patch = readonly (readonly [string, string])[]

/** Fields before, between and after the others; `pad` because the agent knows none of them. */
export const WIDER: Patch = [
  ['struct flow {\n', 'struct flow {\n\t__u64 first_new;\n'],
  ['\t__u32 last_seen;', '\t__u32 between_new[3];\n\t__u32 last_seen;'],
  ['struct backend {\n', 'struct backend {\n\t__u64 pad7;\n'],
  ['struct overflow {\n', 'struct overflow {\n\t__u32 new_one;\n'],
  ['struct udp_to {\n', 'struct udp_to {\n\t__u64 new_one;\n'],
  ['\t__u64 connections;\n};', '\t__u64 connections;\n\t__u64 pad8;\n};'],
]

/** Builds bpf/ with a patched maps.h; returns the directory of the objects. */
export async function buildObjects(
  t: { teardown(callback: () => void): void },
  patch: Patch,
): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'fairlead-bpf-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const sources = join(folder, 'bpf')
  cpSync(SOURCES, sources, { recursive: true })
  const header = join(sources, 'maps.h')
  let text = readFileSync(header, 'utf8')
  for (const [before, after] of patch) {
    if (!text.includes(before)) throw new Error(`maps.h has no ${JSON.stringify(before)}`)
    text = text.replace(before, () => after)
  }
  writeFileSync(header, text)
  const objects = join(folder, 'objects')
  await run('make', ['-s', '-C', sources, `OUT=${objects}`], { timeoutMs: 100_000 })
  return objects
}

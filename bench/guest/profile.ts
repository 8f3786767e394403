/** What each BPF program of the kernel took, as it counts itself (kernel.bpf_stats_enabled). */
import { run } from '../../test/lib/netns.js'

interface Listed {
  readonly id: number
  readonly name?: string
  readonly run_time_ns?: number
  readonly run_cnt?: number
}

export interface ProgramTime {
  readonly runs: number
  readonly ns: number
}

/** By program, those that ran. @param before to be taken off */
export async function programTimes(
  before: ReadonlyMap<string, ProgramTime> = new Map(),
): Promise<Map<string, ProgramTime>> {
  const { stdout } = await run('bpftool', ['-j', 'prog', 'show'])
  const found = new Map<string, ProgramTime>()
  for (const { id, name = '', run_cnt = 0, run_time_ns = 0 } of JSON.parse(stdout) as Listed[]) {
    const key = `${name} ${id}`
    const then = before.get(key) ?? { runs: 0, ns: 0 }
    if (run_cnt > then.runs)
      found.set(key, { runs: run_cnt - then.runs, ns: run_time_ns - then.ns })
  }
  return found
}

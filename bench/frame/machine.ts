/** The machine, and the versions of what was measured. */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { arch, cpus, loadavg, release } from 'node:os'

export interface Machine {
  readonly kernel: string
  readonly arch: string
  readonly cpu: string
  readonly cpus: number
  /** Of the last minute, when the run began. */
  readonly load: number
  /** Empty: none that could be asked. */
  readonly mitigations: Readonly<Record<string, string>>
}

const VULNERABILITIES = '/sys/devices/system/cpu/vulnerabilities'
const TOLD = ['spectre_v2', 'retbleed', 'spec_rstack_overflow', 'mds']

export function machine(): Machine {
  const processors = cpus()
  const told = TOLD.map((name) => [name, `${VULNERABILITIES}/${name}`] as const)
  return {
    kernel: release(),
    arch: arch(),
    cpu: processors[0]?.model ?? 'unknown',
    cpus: processors.length,
    load: loadavg()[0] ?? NaN,
    mitigations: Object.fromEntries(
      told
        .filter(([, path]) => existsSync(path))
        .map(([name, path]) => [name, readFileSync(path, 'utf8').trim()]),
    ),
  }
}

/** The first line that a command prints; `unknown` when it is not there. */
export function versionOf(command: string, ...args: string[]): string {
  try {
    const said = execFileSync(command, args, {
      encoding: 'utf8',
      timeout: 5000,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    return said.split('\n')[0] ?? ''
  } catch {
    return 'unknown'
  }
}

/**
 * The agent's settings: the `agent:` section of the file with command-line overrides, parsed once
 * and then immutable. Changing them needs a restart.
 */
import type { ListenAddress } from './model/address.js'

/** Rows that the kernel maps are made for. */
export interface Limits {
  readonly services: number
  readonly backends: number
  readonly slots: number
  readonly vips: number
  readonly ports: number
  readonly flows: number
}

export interface DnsConfig {
  /** Listeners for the host itself, in the agent's namespace. Empty: none. */
  readonly listen: readonly ListenAddress[]
  /** Networks whose names the host's listeners answer, in order of lookup; absent: all. */
  readonly networks?: readonly string[]
  /** At most three; empty: nothing is forwarded. */
  readonly upstreams: readonly ListenAddress[]
  readonly timeoutMs: number
  /** Forwarded queries at a time. */
  readonly maxInFlight: number
  /** Suffix under which every name resolves as well; no leading or trailing dot. */
  readonly domain?: string
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'
export type LogFormat = 'text' | 'json'

export interface Config {
  /** Absolute path of the file that all of this and the services come from. */
  readonly file: string
  readonly nodeName: string
  readonly socketPath: string
  /** Absent: no metrics listener. */
  readonly metricsListen?: ListenAddress
  readonly statePath: string
  /** Directory on bpffs. */
  readonly pinPath: string
  /** cgroup v2 directory for the socket hooks; absent: found by the host. */
  readonly cgroupPath?: string
  readonly dns: DnsConfig
  readonly limits: Limits
  readonly log: { readonly level: LogLevel; readonly format: LogFormat }
}

/** What the command line may set over the file. */
export type Overrides = Partial<
  Pick<
    Config,
    'nodeName' | 'socketPath' | 'metricsListen' | 'statePath' | 'pinPath' | 'cgroupPath' | 'log'
  >
>

/**
 * @throws FairleadError FILE when the file cannot be read or is not YAML, CONFIG when the section
 *         has a mistake; the message names file, line, column and field
 */
export function loadConfig(path: string, overrides: Overrides = {}): Config {
  throw new Error(`not there yet: ${path} ${Object.keys(overrides).join()}`)
}

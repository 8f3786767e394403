/** What every command prints with: text for people, JSON for programs, colour on a terminal only. */
import type { Command } from 'commander'
import { AgentClient } from '../api/client.js'

export const DEFAULT_SOCKET = '/run/fairlead/fairlead.sock'

export interface OutputOptions {
  readonly json?: boolean
}

export interface AgentOptions extends OutputOptions {
  readonly socket: string
}

/** Adds `--json`. */
export function printing(command: Command): Command {
  return command.option('--json', 'print JSON')
}

/** Adds `--json` and `--socket`, for a command that asks the agent. */
export function asking(command: Command): Command {
  return printing(command).option(
    '--socket <path>',
    "the agent's socket; else FAIRLEAD_SOCKET",
    process.env['FAIRLEAD_SOCKET'] ?? DEFAULT_SOCKET,
  )
}

/**
 * Prints `value` as JSON with `--json`, else the text.
 *
 * @param text called only if it is wanted; without a newline at its end
 */
export function print(options: OutputOptions, value: unknown, text: () => string): void {
  process.stdout.write(`${options.json === true ? JSON.stringify(value, null, 2) : text()}\n`)
}

export function client(options: AgentOptions): AgentClient {
  return new AgentClient(options.socket)
}

export type Colour = 'bold' | 'red' | 'green' | 'yellow' | 'dim'

const codes: Record<Colour, readonly [number, number]> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
}

/** Colours on a terminal, unless NO_COLOR is set to anything or the terminal is dumb. */
export function paint(text: string, colour: Colour | undefined): string {
  if (colour === undefined || !coloured()) return text
  const [on, off] = codes[colour]
  return `\u001b[${on}m${text}\u001b[${off}m`
}

function coloured(): boolean {
  const { NO_COLOR, TERM } = process.env
  return process.stdout.isTTY && (NO_COLOR ?? '') === '' && TERM !== 'dumb'
}

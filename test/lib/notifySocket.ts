/** A service manager's end of sd_notify(3): a datagram socket of python's, since Node has none. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Daemon, type NetLab, until } from './netns.js'

const program = join(import.meta.dirname, '../../../test/lib/notify_socket.py')

export interface Notification {
  /** Who has sent it, as the kernel says. */
  readonly pid: number
  /** CLOCK_MONOTONIC at its arrival. */
  readonly atMs: number
  readonly lines: readonly string[]
}

export class NotifySocket {
  private constructor(
    readonly path: string,
    private readonly daemon: Daemon,
  ) {}

  static async open(lab: NetLab): Promise<NotifySocket> {
    const folder = mkdtempSync(join(tmpdir(), `${lab.prefix}-notify-`))
    lab.atClose(() => rmSync(folder, { recursive: true, force: true }))
    const path = join(folder, 'notify')
    const daemon = lab.start('python3', [program, path])
    await daemon.printed(/ready\n/)
    return new NotifySocket(path, daemon)
  }

  /** All that has come so far, in order. */
  get messages(): Notification[] {
    const whole = this.daemon.stdout.slice(0, this.daemon.stdout.lastIndexOf('\n') + 1)
    return whole
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => {
        const {
          pid,
          at_ms: atMs,
          lines,
        } = JSON.parse(line) as {
          pid: number
          at_ms: number
          lines: string[]
        }
        return { pid, atMs, lines }
      })
  }

  /** How many messages have had this line. */
  count(line: string): number {
    return this.messages.filter(({ lines }) => lines.includes(line)).length
  }

  /** Waits until `count` messages have had a line. */
  heard(line: string, count = 1): Promise<Notification[]> {
    return until(`${count} of ${line}`, () => {
      const found = this.messages.filter(({ lines }) => lines.includes(line))
      return found.length >= count ? found : undefined
    })
  }
}

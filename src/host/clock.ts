/**
 * The kernel's tick. Flow timers are in jiffies, and a jiffy is 1/CONFIG_HZ s, which no system call
 * tells: it is read from the kernel's configuration, or measured.
 */
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { release } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { gunzipSync } from 'node:zlib'

export interface Tick {
  readonly hz: number
  readonly from: 'config' | 'measured' | 'assumed'
}

/** What the kernel can be built with, over all architectures. */
const POSSIBLE_HZ = [24, 32, 48, 64, 100, 128, 200, 250, 256, 300, 500, 512, 1000, 1024, 1200]
/** Debian, Ubuntu, Fedora and Alpine ship 250 or 1000; too low a guess only shortens timers. */
const ASSUMED_HZ = 250
const MEASURE_MS = 200

export async function readTick(): Promise<Tick> {
  const configured = readConfiguredHz()
  if (configured !== undefined) return { hz: configured, from: 'config' }
  const measured = await measureHz()
  if (measured !== undefined) return { hz: measured, from: 'measured' }
  return { hz: ASSUMED_HZ, from: 'assumed' }
}

/** CONFIG_HZ of the running kernel, where it or the distribution left its configuration. */
export function readConfiguredHz(): number | undefined {
  const sources = [
    () => gunzipSync(readFileSync('/proc/config.gz')).toString(),
    () => readFileSync(`/boot/config-${release()}`, 'utf8'),
    () => readFileSync(`/lib/modules/${release()}/config`, 'utf8'),
  ]
  for (const read of sources) {
    try {
      const hz = /^CONFIG_HZ=(\d+)$/m.exec(read())?.[1]
      if (hz !== undefined) return Number(hz)
    } catch {
      // Not every kernel has every one of these.
    }
  }
  return undefined
}

/** /proc/timer_list shows the tick count beside the clock: two looks give the rate. */
export async function measureHz(): Promise<number | undefined> {
  try {
    const before = readTimerList(await readFile('/proc/timer_list', 'utf8'))
    await sleep(MEASURE_MS)
    const after = readTimerList(await readFile('/proc/timer_list', 'utf8'))
    if (before === undefined || after === undefined) return undefined
    const seconds = Number(after.nowNs - before.nowNs) / 1e9
    return nearestHz(Number(after.jiffies - before.jiffies) / seconds)
  } catch {
    return undefined
  }
}

function readTimerList(text: string): { nowNs: bigint; jiffies: bigint } | undefined {
  const nowNs = /^now at (\d+) nsecs/m.exec(text)?.[1]
  const jiffies = /^jiffies: (\d+)/m.exec(text)?.[1]
  if (nowNs === undefined || jiffies === undefined) return undefined
  return { nowNs: BigInt(nowNs), jiffies: BigInt(jiffies) }
}

/** The rate a kernel can have that is nearest by ratio; undefined when none is within 10 %. */
export function nearestHz(rate: number): number | undefined {
  const distance = (hz: number) => Math.abs(Math.log(hz / rate))
  const best = POSSIBLE_HZ.reduce((a, b) => (distance(b) < distance(a) ? b : a))
  return distance(best) < 0.1 ? best : undefined
}

/**
 * The subject's half of a measurement between two machines: sets it up behind a NIC, with a container that
 * serves, and tells each second what arrived and how busy this machine was. Until SIGINT or SIGTERM.
 * usage: subject.js --subject NAME --interface NIC --file WAY [--services N] [--json FILE]
 * WAY: is written for the generator. FILE: gets what was told, at the end.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { release } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { NetLab } from '../../test/lib/netns.js'
import { machine } from '../frame/machine.js'
import { giveNic, NIC, PLACES, PORT, Stage } from '../frame/stage.js'
import type { Subject } from '../frame/subject.js'
import { SUBJECTS } from '../subjects/subjects.js'
import type { Way } from './way.js'

const BENCH = join(import.meta.dirname, '..')
/** Of /proc/stat, in ticks: user, nice, system, idle, iowait, irq, softirq, steal. */
const IDLE = [3, 4]

const { values } = parseArgs({
  options: {
    subject: { type: 'string', default: 'fairlead-tc' },
    interface: { type: 'string' },
    file: { type: 'string', default: 'way.json' },
    services: { type: 'string', default: '1' },
    json: { type: 'string' },
  },
})

interface Second {
  /** Frames a second that reached the backend's socket. */
  readonly frames: number
  /** Cores' worth of work, of everything on this machine. */
  readonly busyCores: number
}

function ticks(): { busy: number; all: number } {
  const [first = ''] = readFileSync('/proc/stat', 'utf8').split('\n')
  const each = first.split(/\s+/).slice(1, 9).map(Number)
  const all = each.reduce((sum, one) => sum + one, 0)
  return { all, busy: all - IDLE.reduce((sum, at) => sum + (each[at] ?? 0), 0) }
}

/** Until it is told to stop. */
async function serve(stage: Stage, cpus: number): Promise<Second[]> {
  const given = [`backend=${stage.backend.path}`, `listen=${PORT}`, 'count=1']
  const server = spawn(join(BENCH, 'traffic'), [
    ...['serve', ...given, `object=${join(BENCH, 'frames.bpf.o')}`],
  ])
  server.stderr.pipe(process.stderr)
  const seconds: Second[] = []
  const lines = createInterface(server.stdout)
  let before: { taken: number; at: number; ticks: ReturnType<typeof ticks> } | undefined
  lines.on('line', (line) => {
    const { taken } = JSON.parse(line) as { taken: number }
    const now = { taken, at: performance.now(), ticks: ticks() }
    if (before) {
      const frames = ((taken - before.taken) / (now.at - before.at)) * 1000
      const share = (now.ticks.busy - before.ticks.busy) / (now.ticks.all - before.ticks.all)
      seconds.push({ frames, busyCores: share * cpus })
      const told = `${Math.round(frames).toLocaleString('en')} frames/s`
      console.log(`${told.padStart(22)}  ${(share * cpus).toFixed(2)} cores busy`)
    }
    before = now
  })
  const end = () => server.stdin.end()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    // The lab's own would end this at once, with the NIC still away.
    process.removeAllListeners(signal)
    process.once(signal, end)
  }
  await once(server, 'close')
  return seconds
}

async function main(nic: string, subject: Subject): Promise<void> {
  const services = Number(values.services)
  const lab = new NetLab(undefined, 'b')
  const host = machine()
  const stage = await Stage.atNic(lab, nic)
  try {
    const inForce = await subject.setUp(stage, { services })
    await stage.balancer.run('ping', ['-c', '1', '-W', '2', stage.address])
    const way: Way = {
      ...{ subject: subject.name, title: subject.title, services, port: PORT },
      ...{ dial: inForce.dial ?? PLACES.vip, mac: await stage.balancer.mac(NIC) },
      kernel: release(),
    }
    writeFileSync(values.file, `${JSON.stringify(way, null, 2)}\n`)
    console.log(`written: ${values.file}; give it to the generator, and end this with Ctrl-C after`)
    const seconds = await serve(stage, host.cpus)
    await inForce.tearDown()
    if (values.json !== undefined)
      writeFileSync(values.json, `${JSON.stringify({ ...way, machine: host, seconds }, null, 2)}\n`)
  } finally {
    await giveNic(stage.balancer, nic)
    await lab.close()
  }
}

const subject = SUBJECTS.find(({ name }) => name === values.subject)
const reason =
  subject?.shape === 'local'
    ? await subject.unavailable()
    : 'there is no such subject with a container'
if (values.interface === undefined || subject === undefined || reason !== undefined) {
  console.error(reason ?? '--interface is missing')
  process.exitCode = 2
} else await main(values.interface, subject)

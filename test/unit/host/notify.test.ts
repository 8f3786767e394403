import t, { type Test } from 'tap'
import { silent } from '../../../src/host/log.js'
import { Notifier, takeNotifierSettings } from '../../../src/host/notify.js'
import { NetLab, sleep } from '../../lib/netns.js'
import { NotifySocket } from '../../lib/notifySocket.js'

t.test('settings come from the environment, and are no child’s', (t) => {
  const take = (environment: NodeJS.ProcessEnv) => {
    const settings = takeNotifierSettings(environment, 42)
    t.same(Object.keys(environment), ['PATH'], 'taken out')
    return settings
  }
  const PATH = '/usr/bin'
  t.same(take({ PATH }), {})
  t.same(take({ PATH, NOTIFY_SOCKET: '' }), {})
  t.same(take({ PATH, NOTIFY_SOCKET: '/run/n' }), { socket: '/run/n' })
  const socket = { NOTIFY_SOCKET: '@n', WATCHDOG_USEC: '3000000' }
  t.same(take({ PATH, ...socket }), { socket: '@n', watchdogMs: 1500 }, 'half of it')
  t.same(take({ PATH, ...socket, WATCHDOG_PID: '42' }), { socket: '@n', watchdogMs: 1500 })
  t.same(take({ PATH, ...socket, WATCHDOG_PID: '43' }), { socket: '@n' }, 'another process’s')
  for (const WATCHDOG_USEC of ['0', '-1', 'soon'])
    t.same(take({ PATH, NOTIFY_SOCKET: '@n', WATCHDOG_USEC }), { socket: '@n' }, WATCHDOG_USEC)
  t.end()
})

class Case {
  stuck: string | undefined
  status = 'well'
  readonly told: string[] = []

  private constructor(
    readonly socket: NotifySocket,
    readonly lab: NetLab,
  ) {}

  static async open(t: Test): Promise<Case> {
    const lab = new NetLab(t)
    return new Case(await NotifySocket.open(lab), lab)
  }

  notifier(t: Test, watchdogMs?: number, socket = this.socket.path): Notifier {
    const note = (_: object, message: string): void => void this.told.push(message)
    const notifier = new Notifier(
      { socket, ...(watchdogMs !== undefined && { watchdogMs }) },
      {
        stuck: () => this.stuck,
        status: () => this.status,
        log: { ...silent, warn: note, error: note },
      },
    )
    t.teardown(() => notifier.close())
    return notifier
  }

  get lines(): (readonly string[])[] {
    return this.socket.messages.map(({ lines }) => lines)
  }
}

t.test('messages come in order, from this process', async (t) => {
  const scene = await Case.open(t)
  const notifier = scene.notifier(t)
  await notifier.reloading(() => Promise.resolve())
  notifier.ready()
  notifier.ready()
  scene.status = 'two\nlines'
  const before = Number(process.hrtime.bigint() / 1000n)
  await notifier.reloading(() => Promise.resolve())
  await t.rejects(notifier.reloading(() => Promise.reject(new Error('no'))))
  notifier.stopping()
  notifier.stopping()
  await notifier.reloading(() => Promise.resolve())
  await notifier.close()
  const stamps = scene.lines.map((lines) =>
    lines.map((line) => line.replace(/^MONOTONIC_USEC=\d+$/, 'MONOTONIC_USEC')),
  )
  t.same(stamps, [
    ['READY=1', 'STATUS=well'],
    ['RELOADING=1', 'MONOTONIC_USEC'],
    ['READY=1', 'STATUS=two lines'],
    ['RELOADING=1', 'MONOTONIC_USEC'],
    ['READY=1'],
    ['STOPPING=1', 'STATUS=ending'],
  ])
  const [, stamp = ''] = scene.lines[1] ?? []
  const microseconds = Number(stamp.split('=')[1])
  t.ok(microseconds >= before, 'the clock is CLOCK_MONOTONIC, in microseconds')
  t.ok(microseconds / 1000 <= (scene.socket.messages[1]?.atMs ?? 0) + 1)
  t.same(new Set(scene.socket.messages.map(({ pid }) => pid)), new Set([process.pid]))
  t.same(scene.told, [])
})

t.test('the watchdog is fed while nothing is stuck', async (t) => {
  const scene = await Case.open(t)
  const { socket } = scene
  const notifier = scene.notifier(t, 50)
  await sleep(200)
  t.same(scene.lines, [], 'not before it is ready')
  notifier.ready()
  await socket.heard('WATCHDOG=1', 3)
  scene.stuck = 'a state'
  await socket.heard('STATUS=stuck: a state')
  // One may have been on its way.
  await sleep(200)
  const fed = socket.count('WATCHDOG=1')
  await sleep(400)
  t.equal(socket.count('WATCHDOG=1'), fed)
  t.same(scene.told, ['stuck: the watchdog is not fed'], 'told once')
  scene.stuck = undefined
  await socket.heard('WATCHDOG=1', fed + 2)
  t.equal(socket.count('STATUS=well'), 2, 'said when it changes')
})

t.test('without a socket, or with one that nobody has, work goes on', async (t) => {
  const scene = await Case.open(t)
  const { stuck, status } = { stuck: () => undefined, status: () => '' }
  const mute = new Notifier({}, { stuck, status, log: silent })
  mute.ready()
  await mute.reloading(() => Promise.resolve())
  mute.stopping()
  await mute.close()
  const notifier = scene.notifier(t, undefined, `${scene.socket.path}-gone`)
  notifier.ready()
  notifier.stopping()
  await notifier.close()
  t.same(scene.told, ['the service manager could not be told'], 'once')
})

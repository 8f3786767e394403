import t from 'tap'
import { monotonic } from '../../../../src/sources/health/clock.js'
import { Scheduler, type Task } from '../../../../src/sources/health/scheduler.js'
import { FakeClock } from './fakeClock.js'

interface Recorded extends Task {
  readonly starts: number[]
  aborted: number
}

/** A task that takes `tookMs`, or until it is aborted. */
function recorded(clock: FakeClock, tookMs: number, given: Partial<Task> = {}): Recorded {
  const task: Recorded = {
    kind: 'a',
    intervalMs: 100,
    timeoutMs: 50,
    starts: [],
    aborted: 0,
    run: (signal) => {
      task.starts.push(clock.now())
      return new Promise((resolve) => {
        if (tookMs === 0) {
          resolve()
          return
        }
        const cancel = clock.after(tookMs, resolve)
        signal.addEventListener('abort', () => {
          task.aborted++
          cancel()
          resolve()
        })
      })
    },
    ...given,
  }
  return task
}

function subject(random = 0, limits = { a: 10, b: 1 }) {
  const clock = new FakeClock()
  return { clock, scheduler: new Scheduler({ clock, random: () => random, limits }) }
}

t.test('a task runs once an interval, from its place in it', async (t) => {
  const { clock, scheduler } = subject(0.25)
  const task = recorded(clock, 7)
  scheduler.add(task)
  await clock.move(340)
  t.same(task.starts, [25, 125, 225, 325], 'how long it takes does not shift it')
  scheduler.remove(task)
  await clock.move(500)
  t.equal(task.starts.length, 4)
  t.equal(scheduler.size, 0)
})

t.test('a task that hangs is aborted, and is tried again', async (t) => {
  const { clock, scheduler } = subject()
  const task = recorded(clock, Infinity)
  scheduler.add(task)
  await clock.move(49)
  t.equal(task.aborted, 0)
  await clock.move(1)
  t.equal(task.aborted, 1)
  await clock.move(100)
  t.same(task.starts, [0, 100])
})

t.test('removing aborts what runs', async (t) => {
  const { clock, scheduler } = subject()
  const tasks = [recorded(clock, Infinity), recorded(clock, Infinity)]
  for (const task of tasks) scheduler.add(task)
  await clock.move(1)
  if (tasks[0]) scheduler.remove(tasks[0])
  t.same(
    tasks.map(({ aborted }) => aborted),
    [1, 0],
  )
  scheduler.close()
  t.same(
    tasks.map(({ aborted }) => aborted),
    [1, 1],
  )
  await clock.move(1000)
  t.same(
    tasks.map(({ starts }) => starts.length),
    [1, 1],
  )
})

t.test('no more of a kind than its limit; those that wait keep their order', async (t) => {
  const { clock, scheduler } = subject(0, { a: 10, b: 1 })
  const slow = Array.from({ length: 4 }, () => recorded(clock, 20, { kind: 'b' }))
  const other = recorded(clock, 20)
  for (const task of [...slow, other]) scheduler.add(task)
  await clock.move(5)
  t.equal(scheduler.waiting, 3)
  t.same(other.starts, [0], 'another kind does not wait')
  await clock.move(70)
  t.same(slow.map(({ starts }) => starts[0]).sort(), [0, 20, 40, 60].sort())
  await clock.move(1000)
  const counts = slow.map(({ starts }) => starts.length)
  t.ok(Math.max(...counts) - Math.min(...counts) <= 1, `nobody starves: ${counts.join()}`)
})

t.test('10,000 tasks that are all due start a few at a time', async (t) => {
  const { clock, scheduler } = subject(0, { a: 20_000, b: 1 })
  let running = 0
  let most = 0
  for (let i = 0; i < 10_000; i++) {
    scheduler.add({
      kind: 'a',
      intervalMs: 1000,
      timeoutMs: 500,
      run: () => {
        most = Math.max(most, ++running)
        return Promise.resolve().then(() => {
          running--
        })
      },
    })
  }
  await clock.move(0)
  t.equal(clock.mostAwaited, 1, 'one timer')
  t.ok(most <= 32, `${most} in one turn`)
})

t.test('2,000 tasks hold one timer of the process', async (t) => {
  const timers = (): number =>
    process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  const before = timers()
  const scheduler = new Scheduler({
    clock: monotonic,
    random: Math.random,
    limits: { a: 500 },
  })
  let runs = 0
  for (let i = 0; i < 2000; i++) {
    scheduler.add({
      kind: 'a',
      intervalMs: 400,
      timeoutMs: 300,
      run: (signal) => {
        runs++
        // Every tenth hangs until it is given up.
        if (i % 10 !== 0) return new Promise((resolve) => setImmediate(resolve))
        return new Promise((resolve) => signal.addEventListener('abort', () => resolve()))
      },
    })
  }
  const started = Date.now()
  while (runs <= 3000 && Date.now() - started < 20_000)
    await new Promise((resolve) => setTimeout(resolve, 100))
  t.ok(timers() - before <= 1, `${timers() - before} timers`)
  t.ok(runs > 3000, `${runs} runs`)
  scheduler.close()
  t.equal(timers(), before, 'none is left')
})

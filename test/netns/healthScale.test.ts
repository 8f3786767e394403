/** Thousands of checks with real sockets: one timer, few visits to the namespace, no late answers. */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import t from 'tap'
import { probeOpener } from '../../src/host/probes.js'
import type { HealthChecked } from '../../src/model/observe.js'
import type { HealthCheck, Network, Service } from '../../src/model/types.js'
import { HealthSource } from '../../src/sources/health/source.js'
import { NetLab, sleep } from '../lib/netns.js'

const CHECKS = 2_000
const INTERVAL_MS = 2_000
const PEER = `
import socket
server = socket.create_server(('', 80), backlog=4096)
print('ready', flush=True)
while True:
    server.accept()[0].close()
`

t.test(`${CHECKS} checks`, async (t) => {
  const lab = new NetLab(t)
  const space = await lab.namespace('many')
  const peer = space.spawn('python3', ['-c', PEER])
  await peer.printed(/ready/)
  const check: HealthCheck = {
    ...{ type: 'tcp', port: 80, rise: 2, fall: 3 },
    ...{ intervalMs: INTERVAL_MS, timeoutMs: 1_000 },
  }
  const network: Network = {
    ...{ name: 'net', subnets: ['127.0.0.0/8'], pools: [], reserved: [], dns: { listen: [] } },
    attachment: { namespace: space.path, interfaces: [], sockets: [] },
  }
  const services = new Map<string, Service>()
  for (let i = 0; i < CHECKS / 10; i++) {
    const backends = Array.from({ length: 10 }, (_, at) => {
      return { address: `127.1.${i}.${at + 1}`, weight: 1, state: 'active' as const }
    })
    services.set(`net/s${i}`, {
      ...{ network: 'net', name: `s${i}`, mode: 'vip', vips: [], ports: [], algorithm: 'rr' },
      ...{ ttlSeconds: 5, aliases: [], backends, health: check },
    })
  }
  const checked: HealthChecked[] = []
  const source = new HealthSource({
    opener: probeOpener(),
    onStates: () => t.fail('nobody is down'),
    observer: { checked: (each) => void checked.push(each) },
  })
  t.teardown(() => source.close())
  const timers = (): number =>
    process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  const before = timers()
  const delay = monitorEventLoopDelay({ resolution: 5 })
  const used = process.cpuUsage()
  source.apply(new Map([['net', network]]), services)
  delay.enable()
  const seen: number[] = []
  for (let i = 0; i < 50; i++) {
    await sleep((2 * INTERVAL_MS) / 50)
    seen.push(timers() - before)
  }
  delay.disable()
  const { user, system } = process.cpuUsage(used)
  source.close()
  t.ok(Math.max(...seen) <= 1, `${Math.max(...seen)} timers at most`)
  const bad = checked.filter(({ result }) => result !== 'ok')
  t.same(bad.slice(0, 3), [], `${checked.length} checks, ${bad.length} failed`)
  t.ok(checked.length > 1.5 * CHECKS, 'each had about two turns')
  const rate = (user + system) / checked.length
  t.comment(`${rate.toFixed(0)} us of CPU a check, event loop p99 ${delay.percentile(99) / 1e6} ms`)
  const first = source.of('net/s0')
  t.equal(first?.backends.size, 10)
})

/** Services under traffic, some of them not well, and the page of the agent that carries it. */
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Stage, type Teardown } from '../lib/stage.js'
import type { Definition } from '../lib/agent.js'
import type { Daemon } from '../lib/netns.js'

const PORT = 9752
export const PAGE = `http://127.0.0.1:${PORT}/`

/** Connections to each VIP, so many in a second on average, in waves; until it is ended. */
const traffic = `
import math, random, socket, sys, threading, time
def ask(vip, path):
    try:
        with socket.create_connection((vip, 80), timeout=2) as s:
            s.sendall(b'GET ' + path.encode() + b' HTTP/1.0\\r\\n\\r\\n')
            while s.recv(65536):
                pass
    except OSError:
        pass
def follow(vip, path, rate, period):
    end = time.monotonic() + 500
    while time.monotonic() < end:
        wave = 1 + 0.45 * math.sin(time.monotonic() * 2 * math.pi / period)
        time.sleep(random.expovariate(rate * wave))
        ask(vip, path)
def hold(vip):
    with socket.create_connection((vip, 80), timeout=5) as s:
        time.sleep(500)
plans = [plan.split(',') for plan in sys.argv[1:]]
for vip, path, rate, period in plans:
    threading.Thread(target=follow, args=(vip, path, float(rate), float(period)), daemon=True).start()
for vip, *_ in plans[:3]:
    threading.Thread(target=hold, args=(vip,), daemon=True).start()
print('ready', flush=True)
time.sleep(500)
`

export class PageScene {
  readonly token = randomBytes(32).toString('hex')

  private constructor(readonly stage: Stage) {}

  static async build(t: Teardown): Promise<PageScene> {
    const scene = new PageScene(await Stage.build(t, 4))
    const file = join(scene.stage.agent.folder, 'token')
    writeFileSync(file, `${scene.token}\n`, { mode: 0o600 })
    await scene.stage.start(scene.definition())
    return scene
  }

  /** @param more merged over the service `web` */
  definition(more: object = {}): Definition {
    const { stage } = this
    const health = { type: 'http', path: '/', interval: '1s', timeout: '500ms', rise: 1, fall: 2 }
    const from = (...at: number[]) =>
      at.flatMap((each) => {
        const backend = stage.backends[each]
        return backend ? [{ address: backend.v4, slot: `task-${each + 1}` }] : []
      })
    const service = (name: string, host: number, backends: object[], extra: object = {}) => ({
      ...{ name, network: 'shop', vip: `10.1.0.${host}`, ports: [80], backends },
      ...extra,
    })
    return {
      agent: { http: { token: join(stage.agent.folder, 'token') } },
      networks: [
        {
          name: 'shop',
          ...{ subnets: ['10.1.0.0/24'], reserved: ['10.1.0.2'] },
          attach: { bridge: 'br0' },
          dns: { listen: ['10.1.0.2'] },
        },
      ],
      services: [
        service('web', 100, from(0, 1, 2, 3), { health, algorithm: 'wrr', ...more }),
        service('cart', 101, from(0, 1), { algorithm: 'lc' }),
        service('search', 102, from(1, 2, 3), { algorithm: 'maglev', health }),
        service('images', 103, from(0, 2)),
        service('accounts', 104, from(0, 1, 2), { affinity: { timeout: '5m' } }),
        service('reports', 105, from(2)),
      ],
    }
  }

  startTraffic(): Daemon {
    const plans = [
      ...['10.1.0.100,/bulk?30000,22,40', '10.1.0.101,/bulk?4000,9,25', '10.1.0.102,/,14,31'],
      ...['10.1.0.103,/bulk?150000,5,50', '10.1.0.104,/client,3,20'],
    ]
    return this.stage.client.spawn('python3', ['-c', traffic, ...plans])
  }
}

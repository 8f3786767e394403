/**
 * `npm run demo:trouble`: one backend becomes slow, one is killed, one is misconfigured, with requests
 * running. Each is seen in a panel's query, in `fairlead watch`, in `fairlead explain` and by an alert.
 * Checks all that it shows, exits 1 when anything differs, and leaves nothing behind.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import type { ExplanationView } from '../../src/api/schema.js'
import { panelsOf, substituted, type Dashboard } from '../lib/dashboards.js'
import { check, checked, print, title } from '../lib/narrate.js'
import { type Daemon, until } from '../lib/netns.js'
import { Prometheus } from '../lib/prometheus.js'
import { CLIENT4, Stage, type StagedBackend, VIP4 } from '../lib/stage.js'

const deploy = join(import.meta.dirname, '../../../deploy')
const SHOP = '10.1.0.7'
const METRICS = '127.0.0.1:9753'

/** Requests of `count` clients to `host`, one after the other, for two minutes at most. */
const asking = `
import socket, sys, threading, time
host, count, end = sys.argv[1], int(sys.argv[2]), time.monotonic() + 120
def ask():
    while time.monotonic() < end:
        try:
            with socket.create_connection((host, 80), timeout=5) as s:
                s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
                while s.recv(4096):
                    pass
        except OSError:
            pass
        time.sleep(0.1)
for _ in range(count):
    threading.Thread(target=ask).start()
`

interface Trouble {
  /** A panel's title on the dashboard Service, and what is seen there of a backend, or of all. */
  readonly panel: RegExp
  readonly seen: (value: number) => boolean
  /** A line of `fairlead watch`. */
  readonly watched: RegExp
  readonly explained: (backend: ExplanationView['backends'][number]) => boolean
  readonly alert: string
}

class Scene {
  #watch!: Daemon

  private constructor(
    private readonly stage: Stage,
    private readonly prometheus: Prometheus,
  ) {}

  static async play(stage: Stage, folder: string): Promise<void> {
    const rules = join(folder, 'rules.yml')
    writeFileSync(
      rules,
      hastened(readFileSync(join(deploy, 'prometheus/fairlead.rules.yml'), 'utf8')),
    )
    const web = stage.service({
      ...{ algorithm: 'lc', vip: [VIP4], ports: [80] },
      backends: stage.backends.slice(0, 3).map(({ v4 }) => v4),
      health: { type: 'tcp', port: 80, interval: '1s', timeout: '900ms', fall: 3 },
    })
    const shop = {
      ...{ name: 'shop', network: 'net1', vip: [SHOP], ports: [80] },
      backends: stage.backends.slice(3).map(({ v4 }) => v4),
    }
    await stage.start(stage.definition(false, web, shop))
    const prometheus = Prometheus.start(stage.lab, stage.node, [METRICS], rules)
    const scene = new Scene(stage, prometheus)
    await scene.well()
    await scene.slow()
    await scene.killed()
    await scene.misconfigured()
  }

  private async well(): Promise<void> {
    title('two services, requests to both, and nothing is wrong')
    const { agent, client, node } = this.stage
    for (const [vip, count] of [
      [VIP4, '6'],
      [SHOP, '2'],
    ] as const)
      client.spawn('python3', ['-c', asking, vip, count])
    const watch = [agent.program, 'watch', '--socket', agent.socket]
    this.#watch = node.spawn(process.execPath, [...watch, '--kind', 'closed,reset'])
    print('node', ['fairlead', 'watch', '--kind', 'closed,reset'])
    await this.#watch.printed(/closed .*net1\/web.*\n/)
    await this.#watch.printed(/closed .*net1\/shop.*\n/)
    await until('Prometheus to have both services', async () => {
      const [answer] = await this.prometheus.query([
        'count by (service) (fairlead_handshake_seconds_count > 3)',
      ])
      return answer?.data.result.length === 2
    })
    check(
      'no alert fires',
      (await this.#firing()).length === 0,
      JSON.stringify(await this.#firing()),
    )
  }

  private async slow(): Promise<void> {
    const [, slow] = this.#backends()
    const trouble: Trouble = {
      panel: /^Handshake by backend/,
      seen: (seconds) => seconds > 0.05,
      watched: new RegExp(`closed .* > ${end(slow)} .* (?:[\\d.]+s|[1-9]\\d\\dms)\\n`),
      explained: ({ handshakeSeconds = 0 }) => handshakeSeconds > 0.02,
      alert: 'FairleadBackendSlow',
    }
    await this.#absent('web', slow, trouble)
    title(`${slow.v4} becomes slow: its link takes 1 kB a second`)
    const shape = ['qdisc', 'add', 'dev', 'eth0', 'root', 'tbf', 'rate', '8kbit', 'burst', '1600']
    await slow.space.run('tc', [...shape, 'limit', '20000'])
    print('backend', ['tc', ...shape])
    await this.#shows('web', slow, trouble)
  }

  private async killed(): Promise<void> {
    const [, , dead] = this.#backends()
    const trouble: Trouble = {
      panel: /^Draining or down/,
      seen: (count) => count > 0,
      watched: new RegExp(`closed .* > ${end(dead)} .*gone`),
      explained: ({ reason }) => reason === 'down',
      alert: 'FairleadBackendUnhealthy',
    }
    await this.#absent('web', dead, trouble)
    title(`${dead.v4} is killed`)
    await dead.space.ip('link', 'set', 'eth0', 'down')
    await dead.server.stop('SIGKILL')
    await this.#shows('web', dead, trouble)
  }

  private async misconfigured(): Promise<void> {
    const [, , , , wrong] = this.#backends()
    const trouble: Trouble = {
      panel: /^Connections closed/,
      seen: (rate) => rate > 0,
      watched: new RegExp(`reset .* > ${end(wrong)} `),
      explained: ({ resets, connections }) => resets > 5 && connections > resets,
      alert: 'FairleadBackendRefuses',
    }
    await this.#absent('shop', wrong, trouble)
    title(`${wrong.v4} is started anew, and listens on 8080 instead of 80`)
    await wrong.server.stop()
    wrong.space.spawn('python3', ['-m', 'http.server', '8080'])
    await this.#shows('shop', wrong, trouble)
  }

  /** What is looked for afterwards is nowhere to be seen before. */
  async #absent(service: string, { v4 }: StagedBackend, trouble: Trouble): Promise<void> {
    const { panel, explained, alert } = trouble
    const told = [
      (await this.#panelThat(service, v4, trouble)) !== undefined && String(panel),
      (await this.#backendsOf(service)).some((each) => each.address === v4 && explained(each)) &&
        'explain',
      (await this.#firing()).some(({ name, backend }) => name === alert && backend === v4) && alert,
    ]
    check(
      `nothing tells of ${v4} before`,
      told.every((each) => each === false),
      told.join(),
    )
  }

  /** Sees one trouble in all the ways. */
  async #shows(service: string, { v4 }: StagedBackend, trouble: Trouble): Promise<void> {
    const from = this.#watch.stdout.length
    const line = await until('fairlead watch to tell', () => {
      const [match] = trouble.watched.exec(this.#watch.stdout.slice(from)) ?? []
      return match
    })
    console.log(`   ${lastLine(line)}`)
    check('fairlead watch tells of it', true)
    await this.#queried(service, v4, trouble)
    await this.#explained(service, v4, trouble)
    const alert = await until(`${trouble.alert} to fire`, async () => {
      const firing = await this.#firing()
      return firing.find(({ name, backend }) => name === trouble.alert && backend === v4)
    })
    check(`alert ${alert.name}: ${alert.summary}`, true)
  }

  async #queried(service: string, address: string, trouble: Trouble): Promise<void> {
    const found = await until(`a panel ${String(trouble.panel)} to show it`, () =>
      this.#panelThat(service, address, trouble),
    )
    check(`dashboard Service, panel "${found}" shows it`, true)
  }

  /** The panel that shows it now. */
  async #panelThat(
    service: string,
    address: string,
    { panel, seen }: Trouble,
  ): Promise<string | undefined> {
    const text = readFileSync(join(deploy, 'grafana/dashboards/service.json'), 'utf8')
    const panels = panelsOf(JSON.parse(text) as Dashboard).filter((one) => panel.test(one.title))
    const values = { job: 'fairlead', instance: '.*', network: 'net1', service }
    const queries = panels.flatMap((one) =>
      one.targets.map(({ expr }) => ({
        of: one.title,
        query: substituted(expr, { ...values, __rate_interval: '15s', __range: '5m' }),
      })),
    )
    const answers = await this.prometheus.query(queries.map(({ query }) => query))
    const at = answers.findIndex(({ data }) =>
      data.result.some(({ metric: { backend, reason = 'reset' }, value }) => {
        const own = backend === undefined || backend === address
        return own && reason === 'reset' && seen(Number(value[1]))
      }),
    )
    return queries[at]?.of
  }

  async #explained(service: string, address: string, { explained }: Trouble): Promise<void> {
    await until('fairlead explain to tell', async () => {
      const backends = await this.#backendsOf(service)
      return backends.some((backend) => backend.address === address && explained(backend))
    })
    const asked = askedOf(service)
    const text = stripVTControlCharacters(await this.stage.agent.command('explain', ...asked))
    print('node', ['fairlead', 'explain', ...asked], text)
    check('fairlead explain tells of it', text.includes(address))
  }

  async #backendsOf(service: string): Promise<ExplanationView['backends']> {
    const answer = await this.stage.agent.command('explain', ...askedOf(service), '--json')
    return (JSON.parse(answer) as ExplanationView).backends
  }

  async #firing(): Promise<{ name: string; backend: string; summary: string }[]> {
    interface Alerts {
      readonly data: {
        readonly alerts: readonly {
          readonly state: string
          readonly labels: Readonly<Record<string, string>>
          readonly annotations: Readonly<Record<string, string>>
        }[]
      }
    }
    const [answer] = await this.prometheus.ask<Alerts>(['/api/v1/alerts'])
    const firing = answer?.data.alerts.filter(({ state }) => state === 'firing') ?? []
    return firing.map(({ labels, annotations }) => ({
      name: labels['alertname'] ?? '',
      backend: labels['backend'] ?? '',
      summary: annotations['summary'] ?? '',
    }))
  }

  #backends(): [StagedBackend, StagedBackend, StagedBackend, StagedBackend, StagedBackend] {
    return this.stage.backends as [
      StagedBackend,
      StagedBackend,
      StagedBackend,
      StagedBackend,
      StagedBackend,
    ]
  }
}

/** What `fairlead explain` is asked. */
function askedOf(service: string): string[] {
  return [CLIENT4, `${service === 'web' ? VIP4 : SHOP}:80`, 'tcp']
}

/** Rules that look back for seconds instead of minutes, so that nobody has to wait. */
function hastened(rules: string): string {
  const seconds = rules.replaceAll(/\[\d+m\]/g, '[15s]')
  return seconds.replaceAll(/for: \d+m/g, 'for: 2s')
}

function end({ v4 }: StagedBackend): string {
  return `${v4.replaceAll('.', String.raw`\.`)}:80`
}

function lastLine(text: string): string {
  return stripVTControlCharacters(text).trimEnd().split('\n').at(-1) ?? ''
}

const started = Date.now()
const folder = mkdtempSync(join(tmpdir(), 'fairlead-trouble-'))
const closers: (() => Promise<void>)[] = []
const stage = await Stage.build({ teardown: (close) => void closers.push(close) }, 5)
try {
  await Scene.play(stage, folder)
  title(`all ${checked()} checks hold, ${((Date.now() - started) / 1000).toFixed(1)} s`)
} catch (error) {
  console.error(error)
  console.error(`\nagent: ${stripVTControlCharacters(stage.agent.lastWords())}`)
  process.exitCode = 1
} finally {
  for (const close of closers.reverse()) await close()
  rmSync(folder, { recursive: true, force: true })
}

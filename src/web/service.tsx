/** One service: who takes its connections, how much each, and how long that takes. */
import type { ComponentChildren } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import type { BackendView, ServiceView } from '../api/schema.js'
import { ask, Refusal } from './agent.js'
import { ChangeList } from './changes.js'
import type { Feed } from './feed.js'
import { bitRate, brief, endpoint, plural, short } from './format.js'
import { Share } from './marks.js'
import { explainPlace } from './place.js'
import { type Line, Plot } from './plot.js'

/** More lines could not be told apart. */
const MAX_LINES = 8
const REFRESH_MS = 4_000

interface ServicePageProps {
  readonly feed: Feed
  /** `network/service` */
  readonly service: string
}

export function ServicePage({ feed, service: key }: ServicePageProps) {
  const { service, missing } = useService(feed, key)
  const [network = '', name = ''] = key.split('/')
  return (
    <>
      <p class="crumb">
        <a href="#/services">Services</a> <span aria-hidden="true">/</span> {network}
      </p>
      <h1 class="headline">{name}</h1>
      {missing && <p class="standfirst bad">There is no such service any more.</p>}
      {service && <Details feed={feed} service={service} name={key} />}
    </>
  )
}

/** Read again with each state, and now and then for what checks find. */
function useService(feed: Feed, key: string): { service?: ServiceView; missing: boolean } {
  const [found, setFound] = useState<{ service?: ServiceView; missing: boolean }>({
    missing: false,
  })
  const revision = `${feed.state?.started ?? ''} ${feed.state?.revision.desired ?? ''}`
  useEffect(() => {
    const stop = new AbortController()
    const path = `/v1/services/${key.split('/').map(encodeURIComponent).join('/')}`
    const read = async (): Promise<void> => {
      try {
        setFound({
          ...{ service: await ask<ServiceView>(path, feed.token, stop.signal), missing: false },
        })
      } catch (error) {
        if (error instanceof Refusal && error.status === 404) setFound({ missing: true })
      }
    }
    void read()
    const timer = setInterval(() => void read(), REFRESH_MS)
    return () => {
      clearInterval(timer)
      stop.abort()
    }
  }, [feed, key, revision])
  return found
}

interface DetailsProps {
  readonly feed: Feed
  readonly service: ServiceView
  readonly name: string
}

function Details({ feed, service, name }: DetailsProps) {
  const { history, changes } = feed
  const own = changes.filter(({ subject }) => subject === name)
  const throughput = history.known(['service.in', 'service.out'])
  const connections = connectionsOf(feed, service)
  const handshakes = history.known(['service.median', 'service.p90'])
  const perSecond = (value: number): string => `${short(value)}/s`
  return (
    <>
      <Verdict service={service} />
      <Ask service={service} />
      <Facts service={service} />
      <div class="plots">
        <Plot title="New connections, by backend" {...connections} format={perSecond} />
        <Plot
          title="Throughput"
          times={throughput.times}
          lines={[
            { label: 'from clients', colour: '--series-2', values: throughput.columns[0] ?? [] },
            { label: 'to clients', colour: '--series-1', values: throughput.columns[1] ?? [] },
          ]}
          format={bitRate}
        />
        <Plot
          title="Handshake time"
          times={handshakes.times}
          lines={[
            { label: 'median', colour: '--series-1', values: handshakes.columns[0] ?? [] },
            { label: '9 in 10 below', colour: '--series-3', values: handshakes.columns[1] ?? [] },
          ]}
          format={brief}
          least={0.0002}
        />
      </div>
      <Backends feed={feed} service={service} />
      <section aria-labelledby="own-changes">
        <h2 id="own-changes">Changes of this service</h2>
        <ChangeList changes={own} />
      </section>
    </>
  )
}

/** A question about this service; who asks says which client it is about. */
function Ask({ service: { vips, ports } }: { readonly service: ServiceView }) {
  const [vip] = vips
  const [port] = ports
  if (vip === undefined || port === undefined) return null
  const { protocol } = port
  return (
    <p class="more">
      <a href={explainPlace({ vip: endpoint(vip, port.port, 'tcp'), protocol })}>
        Explain a connection to it
      </a>
    </p>
  )
}

function connectionsOf(
  { history }: Feed,
  service: ServiceView,
): { times: number[]; lines: Line[] } {
  const backends = service.backends.slice(0, MAX_LINES)
  const names = backends.map(({ address }) => `backend.${address}.connections`)
  const { times, columns } = history.known(names)
  const lines = backends.map(({ address }, at) => ({
    ...{ label: address, colour: `--series-${at + 1}`, values: columns[at] ?? [] },
  }))
  return { times, lines }
}

function Verdict({ service: { backends, health } }: { readonly service: ServiceView }) {
  const down = backends.filter(({ state }) => state === 'down')
  const draining = backends.filter(({ state }) => state === 'draining')
  const active = backends.length - down.length - draining.length
  if (backends.length === 0)
    return <p class="standfirst warn">It has no backends: connections are refused.</p>
  const failOpen = (health?.failOpen.length ?? 0) > 0
  const tone = active === 0 ? 'bad' : down.length + draining.length > 0 || failOpen ? 'warn' : 'ok'
  const text =
    down.length + draining.length === 0
      ? `${backends.length === 1 ? 'The one backend takes' : `All ${backends.length} backends take`} connections.`
      : `${active} of ${plural(backends.length, 'backend')} ${active === 1 ? 'takes' : 'take'} connections.`
  return (
    <p class={`standfirst ${tone}`}>
      {text} {failOpen && 'All checks fail, so all backends are used. '}
      {down.map(({ address, health: found }) => (
        <span key={address}>
          {address} is down{found?.error !== undefined && `: ${found.error}`}.{' '}
        </span>
      ))}
    </p>
  )
}

function Facts({ service }: { readonly service: ServiceView }) {
  const { vips, algorithm, mode, affinity, health, aliases, locality } = service
  const addresses = vips.length === 0 ? ['none: names lead to backends'] : vips
  const check =
    health &&
    `${health.type}${health.path === undefined ? '' : ` ${health.path}`}${health.port === undefined ? '' : `, port ${health.port}`}, every ${health.intervalSeconds} s`
  return (
    <dl class="facts">
      <Fact name={vips.length > 1 ? 'VIPs' : 'VIP'}>{addresses.join(', ')}</Fact>
      <Fact name="Ports">{portsText(service)}</Fact>
      <Fact name="Chosen by">
        {mode === 'dnsrr' ? 'DNS' : algorithm}
        {locality !== undefined && ', this node first'}
      </Fact>
      {affinity && <Fact name="Affinity">by client, {affinity.timeoutSeconds} s</Fact>}
      <Fact name="Checked by">{check ?? 'nothing'}</Fact>
      {aliases.length > 0 && <Fact name="Also called">{aliases.join(', ')}</Fact>}
    </dl>
  )
}

function Fact({ name, children }: { readonly name: string; readonly children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  )
}

function portsText({ ports, mode }: ServiceView): string {
  if (ports.length === 0) return mode === 'vip' ? 'every one' : 'as the backends have them'
  return ports
    .map(({ port, targetPort, protocol }) => {
      const from = `${port}/${protocol}`
      return port === targetPort ? from : `${from} → ${targetPort}`
    })
    .join(', ')
}

function Backends({ feed, service }: { readonly feed: Feed; readonly service: ServiceView }) {
  const rates = new Map(feed.rates?.backends?.map((rate) => [rate.backend, rate]))
  const all = [...rates.values()].reduce((sum, { connections }) => sum + connections, 0)
  const weights = dueShares(service)
  return (
    <section aria-labelledby="backends">
      <h2 id="backends">Backends</h2>
      <table class="backends">
        <thead>
          <tr>
            <th scope="col">Address</th>
            <th scope="col">State</th>
            <th scope="col" class="wide">
              Check
            </th>
            <th scope="col" class="number wide">
              Weight
            </th>
            <th scope="col" class="wide apart">
              Share, due
            </th>
            <th scope="col" class="number">
              New/s
            </th>
            <th scope="col" class="number">
              Open
            </th>
            <th scope="col" class="number wide">
              Handshake
            </th>
            <th scope="col" class="number wide">
              From clients
            </th>
            <th scope="col" class="number wide">
              To clients
            </th>
          </tr>
        </thead>
        <tbody>
          {service.backends.map((backend, at) => {
            const rate = rates.get(backend.address)
            const part = all === 0 ? 0 : (rate?.connections ?? 0) / all
            const number = (value: number | undefined, text = short): string =>
              feed.rates?.backends === undefined ? '–' : text(value ?? 0)
            return (
              <tr key={backend.address} class={backend.state}>
                <th scope="row">
                  {at < MAX_LINES && <Swatch at={at} />}
                  {backend.address}
                  <span class="address">{whereText(backend)}</span>
                </th>
                <td>
                  <span class={`state ${backend.state}`}>{backend.state}</span>
                </td>
                <td class="wide">{checkText(backend)}</td>
                <td class="number wide">{backend.weight}</td>
                <td class="wide apart">
                  <Share part={part} due={weights.get(backend.address)} />{' '}
                  <span class="percent">{all === 0 ? '–' : `${Math.round(part * 100)} %`}</span>
                </td>
                <td class="number">{number(rate?.connections)}</td>
                <td class="number">{number(rate?.active)}</td>
                <td class="number wide">
                  {rate?.handshake === undefined ? '–' : brief(rate.handshake.medianSeconds)}
                </td>
                <td class="number wide">{number((rate?.bytesIn ?? 0) * 8, bitRate)}</td>
                <td class="number wide">{number((rate?.bytesOut ?? 0) * 8, bitRate)}</td>
              </tr>
            )
          })}
        </tbody>
      </table>
      <p class="dim note">
        Rates, and the median of handshakes, are over the last two seconds. A tick marks the share
        that weights alone would give.
      </p>
    </section>
  )
}

function Swatch({ at }: { readonly at: number }) {
  return (
    <svg class={`swatch series-${at + 1}`} width="10" height="10" aria-hidden="true">
      <rect width="10" height="10" rx="2" />
    </svg>
  )
}

/** Where weights alone decide. */
function dueShares({ backends, algorithm, locality }: ServiceView): Map<string, number> {
  const due = new Map<string, number>()
  if (locality !== undefined || backends.some(({ priority }) => priority !== undefined)) return due
  const taking = backends.filter(({ state, weight }) => state === 'active' && weight > 0)
  const weightOf = ({ weight }: BackendView): number =>
    ['rr', 'lc'].includes(algorithm) ? 1 : weight
  // Clients of one family never meet backends of the other.
  if (new Set(taking.map(({ address }) => address.includes(':'))).size > 1) return due
  const sum = taking.reduce((total, backend) => total + weightOf(backend), 0)
  for (const backend of taking) due.set(backend.address, weightOf(backend) / sum)
  return due
}

function whereText({ slot, hostname, node }: BackendView): string {
  const names = slot === hostname ? [slot] : [slot, hostname]
  return [...names, node && `on ${node}`].filter(Boolean).join(', ')
}

function checkText({ health, state }: BackendView): string {
  if (!health) return state === 'down' ? 'not checked while down' : 'not checked'
  if (health.healthy === undefined) return 'not yet'
  if (health.healthy) return `ok, ${plural(health.consecutive, 'time')} in a row`
  return health.error ?? health.result ?? 'fails'
}

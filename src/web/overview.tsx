/** All services of the node: are they whole, and what do they carry. */
import { useEffect, useRef, useState } from 'preact/hooks'
import type { LiveRates, OverviewServiceView, RateView } from '../api/liveSchema.js'
import { ChangeList } from './changes.js'
import type { Feed } from './feed.js'
import { bitRate, duration, endpoint, plural, short } from './format.js'
import { byNeed, headline, standingOf, standingText } from './health.js'
import { BRIEF } from './history.js'
import { Pips, Spark } from './marks.js'
import { servicePlace } from './place.js'
import { Plot } from './plot.js'

/** Rows of a page; the filter finds the others. */
const MAX_ROWS = 200
const LATEST = 8

export function Overview({ feed }: { readonly feed: Feed }) {
  if (!feed.state || !feed.services) return <Waiting feed={feed} />
  const { text, tone } = headline(feed)
  return (
    <>
      <h1 class={`headline ${tone}`}>{text}</h1>
      <Standfirst feed={feed} />
      <Figures feed={feed} />
      <div class="columns">
        <Services services={feed.services} feed={feed} />
        <aside>
          <section aria-labelledby="latest">
            <h2 id="latest">Latest changes</h2>
            <ChangeList changes={feed.changes.slice(0, LATEST)} />
            <p>
              <a href="#/changes">All changes and problems</a>
            </p>
          </section>
          <Drops drops={feed.rates?.drops} />
        </aside>
      </div>
    </>
  )
}

function Waiting({ feed: { trouble } }: { readonly feed: Feed }) {
  return (
    <>
      <h1 class="headline">{trouble === undefined ? 'Asking the agent.' : 'No connection.'}</h1>
      {trouble !== undefined && <p class="dim">{trouble}. The page tries again by itself.</p>}
    </>
  )
}

function Standfirst({ feed: { state, problems } }: { readonly feed: Feed }) {
  if (!state) return null
  const { desired, applied, answering } = state.revision
  const where =
    desired === answering
      ? `Revision ${desired} is in the kernel and in DNS`
      : applied === desired
        ? `Revision ${desired} is in the kernel, not yet in DNS`
        : `Revision ${desired} is being written; the kernel holds ${applied}`
  const uptime = duration((Date.now() - Date.parse(state.started)) / 1000)
  const { active, draining, down } = state.backends
  return (
    <p class="standfirst">
      {where}. {plural(active + draining + down, 'backend')} on {plural(state.networks, 'network')}.
      The agent has been running for {uptime}.{' '}
      {problems.length > 0 && <a href="#/changes">{plural(problems.length, 'problem')}</a>}
    </p>
  )
}

const figures = [
  { name: 'connections', title: 'New connections', unit: '/s', bits: false },
  { name: 'active', title: 'Open connections', unit: '', bits: false },
  { name: 'in', title: 'From clients', unit: '', bits: true },
  { name: 'out', title: 'To clients', unit: '', bits: true },
  { name: 'drops', title: 'Refused or dropped', unit: '/s', bits: false },
] as const

function Figures({ feed: { history, rates } }: { readonly feed: Feed }) {
  return (
    <ul class="figures" aria-label="The whole node, now">
      {figures.map(({ name, title, unit, bits }) => {
        const values = history.column(`total.${name}`)
        const now = rates === undefined ? undefined : values.at(-1)
        const text = (value: number): string => (bits ? bitRate(value) : `${short(value)}${unit}`)
        return (
          <li key={name} class={name === 'drops' && (now ?? 0) > 0 ? 'figure warn' : 'figure'}>
            <h2>{title}</h2>
            <p class="value">{now === undefined || now === null ? '–' : text(now)}</p>
            <Plot
              bare
              title={title}
              times={history.times}
              lines={[{ label: '', colour: '--line', values, fill: true }]}
              format={text}
              height={36}
            />
          </li>
        )
      })}
    </ul>
  )
}

type SortKey = 'need' | 'name' | 'connections' | 'active' | 'in' | 'out'

interface Row {
  readonly service: OverviewServiceView
  readonly key: string
  readonly rate: RateView | undefined
}

const nothing = { connections: 0, active: 0, bytesIn: 0, bytesOut: 0 }

const orders: Readonly<Record<SortKey, (a: Row, b: Row) => number>> = {
  need: (a, b) => byNeed(a.service, b.service),
  name: () => 0,
  connections: greatest(({ connections }) => connections),
  active: greatest(({ active }) => active),
  in: greatest(({ bytesIn }) => bytesIn),
  out: greatest(({ bytesOut }) => bytesOut),
}

function greatest(of: (rate: typeof nothing) => number): (a: Row, b: Row) => number {
  return (a, b) => of(b.rate ?? nothing) - of(a.rate ?? nothing)
}

function rowsOf(
  services: readonly OverviewServiceView[],
  rates: LiveRates | undefined,
  filter: string,
  sort: SortKey,
): Row[] {
  const busy = new Map(rates?.services.map((each) => [each.service, each]))
  const wanted = filter.trim().toLowerCase()
  return services
    .map((service) => ({ service, key: `${service.network}/${service.name}` }))
    .filter(({ service, key }) => [key, ...service.vips].some((text) => text.includes(wanted)))
    .map((row) => ({ ...row, rate: busy.get(row.key) }))
    .sort((a, b) => orders[sort](a, b) || (a.key < b.key ? -1 : 1))
}

interface ServicesProps {
  readonly services: readonly OverviewServiceView[]
  readonly feed: Feed
}

function Services({ services, feed }: ServicesProps) {
  const [filter, setFilter] = useState('')
  const [sort, setSort] = useState<SortKey>('need')
  const input = useRef<HTMLInputElement>(null)
  useSlash(input)
  const rows = rowsOf(services, feed.rates, filter, sort)
  const head = { sort, onSort: setSort }
  return (
    <section aria-labelledby="services">
      <div class="section-head">
        <h2 id="services">Services</h2>
        <label class="filter">
          <span>Filter</span>
          <input
            ref={input}
            type="search"
            value={filter}
            placeholder="name or address"
            aria-keyshortcuts="/"
            onInput={(event) => setFilter(event.currentTarget.value)}
          />
        </label>
      </div>
      <table class="services">
        <thead>
          <tr>
            <Head {...head} of="name" title="Service" />
            <Head {...head} of="need" title="Backends" />
            <th scope="col" class="wide">
              Last 90 s
            </th>
            <Head {...head} of="connections" title="New/s" number />
            <Head {...head} of="active" title="Open" number narrow="hide" />
            <Head {...head} of="in" title="From clients" number narrow="hide" />
            <Head {...head} of="out" title="To clients" number />
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, MAX_ROWS).map((row) => (
            <ServiceRow key={row.key} row={row} feed={feed} />
          ))}
        </tbody>
      </table>
      {rows.length === 0 && <p class="dim">No service has that in its name or address.</p>}
      {rows.length > MAX_ROWS && (
        <p class="dim">{plural(rows.length - MAX_ROWS, 'more service')}: the filter finds them.</p>
      )}
    </section>
  )
}

/** `/` leads to the filter, unless something is being written. */
function useSlash(input: { readonly current: HTMLInputElement | null }): void {
  useEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      if (event.key !== '/' || event.target instanceof HTMLInputElement) return
      event.preventDefault()
      input.current?.focus()
    }
    addEventListener('keydown', pressed)
    return () => removeEventListener('keydown', pressed)
  }, [input])
}

interface HeadProps {
  readonly of: SortKey
  readonly title: string
  readonly sort: SortKey
  readonly onSort: (key: SortKey) => void
  readonly number?: boolean
  readonly narrow?: 'hide'
}

function Head({ of, title, sort, onSort, number, narrow }: HeadProps) {
  const ascending = of === 'name' || of === 'need'
  const order = of === sort ? (ascending ? 'ascending' : 'descending') : undefined
  return (
    <th
      scope="col"
      class={[number && 'number', narrow && 'wide'].filter(Boolean).join(' ')}
      aria-sort={order}
    >
      <button type="button" onClick={() => onSort(of)}>
        {title}
      </button>
    </th>
  )
}

function ServiceRow({ row: { service, key, rate }, feed }: { row: Row; feed: Feed }) {
  const { network, name, vips, ports } = service
  const { connections, active, bytesIn, bytesOut } = rate ?? nothing
  const [vip] = vips
  const [port] = ports
  const address =
    vip === undefined
      ? 'DNS alone'
      : port === undefined
        ? `${vip}, every port`
        : endpoint(vip, port.port, port.protocol)
  const more = vips.length * Math.max(1, ports.length) - 1
  // Of many services the busiest alone are told.
  const known = feed.rates !== undefined && (rate !== undefined || feed.rates.omitted === 0)
  return (
    <tr class={standingOf(service)}>
      <th scope="row">
        <a href={servicePlace(network, name)}>
          <span class="dim">{network}/</span>
          {name}
        </a>
        <span class="address">
          {address}
          {more > 0 && <span class="dim"> +{more}</span>}
        </span>
      </th>
      <td>
        <Pips {...service.backends} />
        <span class="standing">{standingText(service)}</span>
      </td>
      <td class="wide">
        <Spark values={feed.history.brief(key)} length={BRIEF} />
      </td>
      <td class="number">{known ? short(connections) : '–'}</td>
      <td class="number wide">{known ? short(active) : '–'}</td>
      <td class="number wide">{known ? bitRate(bytesIn * 8) : '–'}</td>
      <td class="number">{known ? bitRate(bytesOut * 8) : '–'}</td>
    </tr>
  )
}

function Drops({ drops }: { readonly drops: LiveRates['drops'] | undefined }) {
  return (
    <section aria-labelledby="drops">
      <h2 id="drops">Refused or dropped now</h2>
      {drops === undefined || drops.length === 0 ? (
        <p class="dim">{drops === undefined ? '–' : 'Nothing.'}</p>
      ) : (
        <table class="plain">
          <tbody>
            {drops.map(({ reason, path, perSecond }) => (
              <tr key={`${reason} ${path}`}>
                <th scope="row">{reason.replaceAll('_', ' ')}</th>
                <td class="dim">{path}</td>
                <td class="number">{short(perSecond)}/s</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  )
}

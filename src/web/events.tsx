/** What happens to connections, as it happens. The agent watches only while this is open. */
import { useEffect, useState } from 'preact/hooks'
import type { FlowEventView } from '../api/schema.js'
import { follow, Refusal } from './agent.js'
import type { Feed } from './feed.js'
import { brief, endpoint, plural, short } from './format.js'
import { servicePlace } from './place.js'

/** More in a second could not be read; those beyond are counted. */
const RATE = 50
const MAX_ROWS = 200
const RETRY_MS = 2_000
const REDRAW_MS = 250

const kinds = ['opened', 'closed', 'reset', 'refused', 'dropped'] as const
type Kind = (typeof kinds)[number]

interface Row {
  readonly id: number
  readonly event: FlowEventView
}

interface Seen {
  /** The newest first. */
  readonly rows: readonly Row[]
  readonly lost: number
  readonly trouble?: string
}

export function Events({ feed }: { readonly feed: Feed }) {
  const [paused, setPaused] = useState(false)
  const [hidden, setHidden] = useState<readonly Kind[]>([])
  const wanted = kinds.filter((kind) => !hidden.includes(kind))
  const { rows, lost, trouble } = useEvents(feed, wanted, paused)
  const shown = rows.filter(({ event }) => wanted.includes(event.kind))
  return (
    <>
      <h1 class="headline">What happens to connections</h1>
      <p class="standfirst">
        As the kernel tells it, at most {RATE} events a second; the agent watches only while this is
        open.
        {lost > 0 && ` ${plural(lost, 'event')} beyond that not shown.`}
      </p>
      <fieldset class="kinds">
        <legend>Show</legend>
        {kinds.map((kind) => (
          <label key={kind} class="check">
            <input
              type="checkbox"
              checked={!hidden.includes(kind)}
              onChange={({ currentTarget: { checked } }) =>
                setHidden(checked ? hidden.filter((each) => each !== kind) : [...hidden, kind])
              }
            />
            {kind}
          </label>
        ))}
        <button type="button" aria-pressed={paused} onClick={() => setPaused(!paused)}>
          {paused ? 'Go on' : 'Hold'}
        </button>
      </fieldset>
      {trouble !== undefined && <p class="bad answer">{trouble}</p>}
      <EventTable rows={shown} />
    </>
  )
}

function useEvents(feed: Feed, wanted: readonly Kind[], paused: boolean): Seen {
  const [seen, setSeen] = useState<Seen>({ rows: [], lost: 0 })
  const asked = wanted.join(',')
  useEffect(() => {
    if (paused || asked === '') return
    const stop = new AbortController()
    const ended = (): boolean => stop.signal.aborted
    const take = collector(setSeen)
    const run = async (): Promise<void> => {
      while (!ended()) {
        const trouble = await watch(feed.token, asked, stop.signal, take)
        if (ended()) return
        setSeen((before) => ({ ...before, trouble }))
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
      }
    }
    void run()
    return () => stop.abort()
  }, [feed, asked, paused])
  return seen
}

let lastId = 0

/** Draws some times a second, however many come. */
function collector(setSeen: (change: (before: Seen) => Seen) => void) {
  let [fresh, lost]: [Row[], number] = [[], 0]
  let timer: ReturnType<typeof setTimeout> | undefined
  const show = (): void => {
    const [rows, missed] = [fresh.reverse(), lost]
    ;[fresh, lost, timer] = [[], 0, undefined]
    setSeen((before) => ({
      rows: [...rows, ...before.rows].slice(0, MAX_ROWS),
      lost: before.lost + missed,
    }))
  }
  return (name: string, data: string): void => {
    if (name === 'flow') fresh.push({ id: ++lastId, event: JSON.parse(data) as FlowEventView })
    else if (name === 'lost') lost += (JSON.parse(data) as { count: number }).count
    timer ??= setTimeout(show, REDRAW_MS)
  }
}

/** @returns why it ended */
async function watch(
  token: string,
  asked: string,
  signal: AbortSignal,
  take: (name: string, data: string) => void,
): Promise<string> {
  try {
    const path = `/v1/events?rate=${RATE}&kind=${asked}`
    for await (const { event, data } of follow(path, token, signal, () => undefined))
      take(event, data)
    return 'The agent ended the connection; the page tries again.'
  } catch (error) {
    return error instanceof Refusal ? error.message : 'No answer from the agent.'
  }
}

function EventTable({ rows }: { readonly rows: readonly Row[] }) {
  return (
    <table class="events">
      <thead>
        <tr>
          <th scope="col">Time</th>
          <th scope="col">What</th>
          <th scope="col">Client</th>
          <th scope="col" class="wide">
            Dialled
          </th>
          <th scope="col">Backend</th>
          <th scope="col" class="wide">
            Service
          </th>
          <th scope="col" class="number wide">
            Lasted
          </th>
          <th scope="col" class="number wide">
            Bytes in, out
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.map(({ id, event }) => (
          <EventRow key={id} event={event} />
        ))}
        {rows.length === 0 && (
          <tr>
            <td colSpan={8} class="dim">
              Nothing yet.
            </td>
          </tr>
        )}
      </tbody>
    </table>
  )
}

function EventRow({ event }: { readonly event: FlowEventView }) {
  const { time, kind, reason, client, vip, backend, service, protocol } = event
  const end = (at: FlowEventView['client']): string =>
    at === undefined ? '' : endpoint(at.address, at.port, protocol)
  const [network = '', name = ''] = service?.split('/') ?? []
  return (
    <tr class={kind}>
      <td class="when">{time.slice(11, 23)}</td>
      <td>
        <span class="kind">{kind}</span>
        {reason !== undefined && <span class="dim"> {reason.replaceAll('_', ' ')}</span>}
      </td>
      <td>{end(client)}</td>
      <td class="wide">{end(vip)}</td>
      <td>{end(backend)}</td>
      <td class="wide">
        {service !== undefined && <a href={servicePlace(network, name)}>{service}</a>}
      </td>
      <td class="number wide">
        {event.durationSeconds !== undefined && brief(event.durationSeconds)}
      </td>
      <td class="number wide">
        {event.bytesIn !== undefined && `${short(event.bytesIn)}, ${short(event.bytesOut ?? 0)}`}
      </td>
    </tr>
  )
}

/** What became different, and what is not as it should be. */
import type { ChangeKind, ChangeView } from '../api/liveSchema.js'
import type { ProblemView } from '../api/schema.js'
import type { Feed } from './feed.js'
import { timeOf } from './format.js'
import { servicePlace } from './place.js'

export function Changes({ feed }: { readonly feed: Feed }) {
  return (
    <>
      <h1 class="headline">What changed</h1>
      <p class="standfirst">
        Each line came into force with its revision. The agent remembers them since it started, some
        hundred at most.
      </p>
      <Problems problems={feed.problems} />
      <section aria-labelledby="changes">
        <h2 id="changes">Changes</h2>
        <ChangeList changes={feed.changes} />
      </section>
    </>
  )
}

function Problems({ problems }: { readonly problems: readonly ProblemView[] }) {
  if (problems.length === 0) return null
  return (
    <section aria-labelledby="problems">
      <h2 id="problems">Problems now</h2>
      <ul class="problems">
        {problems.map(({ source, item, place, reason }) => (
          <li key={`${source} ${item} ${reason}`}>
            <b>{item}</b> {reason}
            <span class="dim"> {place ?? source}</span>
          </li>
        ))}
      </ul>
    </section>
  )
}

const tones: Partial<Record<ChangeKind, 'bad' | 'ok' | 'warn'>> = {
  problem: 'warn',
  'problem-solved': 'ok',
}

function toneOf({ kind, to }: ChangeView): string {
  if (kind !== 'backend-state') return tones[kind] ?? ''
  return { active: 'ok', draining: 'warn', down: 'bad' }[to ?? ''] ?? ''
}

export function ChangeList({ changes }: { readonly changes: readonly ChangeView[] }) {
  if (changes.length === 0) return <p class="dim">Nothing yet.</p>
  return (
    <ol class="changes">
      {changes.map((change) => (
        <li key={`${change.at} ${change.id}`} class={toneOf(change)}>
          <span class="when">
            <time dateTime={change.at}>{timeOf(change.at)}</time> <span>r{change.revision}</span>
          </span>
          <span class="what">
            <Sentence change={change} />
            {change.reason !== undefined && <span class="why">{change.reason}</span>}
          </span>
        </li>
      ))}
    </ol>
  )
}

function Sentence({ change }: { readonly change: ChangeView }) {
  const { kind, subject, backend, from, to } = change
  const about = (
    <Subject text={subject} link={!kind.startsWith('network') && kind !== 'service-removed'} />
  )
  switch (kind) {
    case 'backend-state':
      return (
        <>
          {backend} of {about}: {from} <span aria-label="to">→</span> <b>{to}</b>
        </>
      )
    case 'backend-weight':
      return (
        <>
          {backend} of {about}: weight {from} <span aria-label="to">→</span> <b>{to}</b>
        </>
      )
    case 'backend-added':
      return (
        <>
          {backend} <b>joined</b> {about}
          {to !== 'active' && `, ${to ?? ''}`}
        </>
      )
    case 'backend-removed':
      return (
        <>
          {backend} <b>left</b> {about}
        </>
      )
    case 'service-changed':
      return (
        <>
          {about} <b>changed</b>: {to}
        </>
      )
    case 'started':
      return (
        <>
          <b>Agent started</b> with {subject}
        </>
      )
    case 'more':
      return <>{subject}</>
    default:
      return (
        <>
          {about} <b>{words[kind]}</b>
        </>
      )
  }
}

const words: Partial<Record<ChangeKind, string>> = {
  'network-added': 'is a network now',
  'network-removed': 'is no network any more',
  'network-changed': 'changed',
  'service-added': 'is a service now',
  'service-removed': 'is no service any more',
  problem: 'has a problem',
  'problem-solved': 'has one problem less',
}

/** `network/service` leads to the service. */
function Subject({ text, link }: { readonly text: string; readonly link: boolean }) {
  const [network = '', name, ...rest] = text.split('/')
  if (!link || name === undefined || rest.length > 0 || text.includes(' ')) return <>{text}</>
  return <a href={servicePlace(network, name)}>{text}</a>
}

/** Why a packet goes where it goes: a question, and what the agent's own decision code answers. */
import { useEffect, useState } from 'preact/hooks'
import type { ExplanationView } from '../api/schema.js'
import { ask, Refusal } from './agent.js'
import type { Feed } from './feed.js'
import { brief, endpoint, plural, short } from './format.js'
import type { Question } from './place.js'
import { explainPlace } from './place.js'

type Answer =
  | { readonly explanation: ExplanationView }
  | { readonly refusal: string; readonly explanation?: undefined }

interface ExplainProps {
  readonly feed: Feed
  readonly question: Question
}

/** The question stands in the address: it can be sent to a colleague. */
export function Explain({ feed, question }: ExplainProps) {
  const [answer, setAnswer] = useState<Answer>()
  const { client, vip, protocol, network, established } = question
  useEffect(() => {
    setAnswer(undefined)
    if (client === '' || vip === '') return
    const stop = new AbortController()
    const asked = new URLSearchParams({ client, vip, protocol })
    if (network !== '') asked.set('network', network)
    if (established) asked.set('established', 'true')
    ask<ExplanationView>(`/v1/explain?${asked.toString()}`, feed.token, stop.signal)
      .then((explanation) => setAnswer({ explanation }))
      .catch((error: unknown) => {
        if (!stop.signal.aborted)
          setAnswer({ refusal: error instanceof Refusal ? error.message : 'The agent is silent.' })
      })
    return () => stop.abort()
  }, [feed, client, vip, protocol, network, established])
  return (
    <>
      <h1 class="headline">Why does a packet go there?</h1>
      <p class="standfirst">
        The kernel programs’ own decision, run on the maps as they are now. Nothing is changed by
        asking.
      </p>
      <Form feed={feed} question={question} />
      <div aria-live="polite">
        {answer?.explanation && <Explanation explanation={answer.explanation} />}
        {answer && !answer.explanation && <p class="bad answer">{answer.refusal}</p>}
      </div>
    </>
  )
}

function Form({ feed, question }: ExplainProps) {
  const [draft, setDraft] = useState(question)
  useEffect(() => setDraft(question), [question])
  const set = (change: Partial<Question>): void => setDraft({ ...draft, ...change })
  const vips = (feed.services ?? []).flatMap(({ vips, ports }) =>
    vips.flatMap((vip) => ports.map(({ port }) => endpoint(vip, port, 'tcp'))),
  )
  return (
    <form
      class="question"
      onSubmit={(event) => {
        event.preventDefault()
        location.hash = explainPlace(draft)
      }}
    >
      <label>
        From the client
        <input
          value={draft.client}
          placeholder="address or address:port"
          required
          onInput={(event) => set({ client: event.currentTarget.value.trim() })}
        />
      </label>
      <label>
        To
        <input
          list="vips"
          value={draft.vip}
          placeholder="address:port"
          required
          onInput={(event) => set({ vip: event.currentTarget.value.trim() })}
        />
      </label>
      <datalist id="vips">
        {vips.slice(0, 200).map((vip) => (
          <option key={vip} value={vip} />
        ))}
      </datalist>
      <label>
        By
        <select
          value={draft.protocol}
          onChange={(event) =>
            set({ protocol: event.currentTarget.value === 'udp' ? 'udp' : 'tcp' })
          }
        >
          <option value="tcp">TCP</option>
          <option value="udp">UDP</option>
        </select>
      </label>
      <Networks feed={feed} chosen={draft.network} onChoose={(network) => set({ network })} />
      <label class="check">
        <input
          type="checkbox"
          checked={draft.established}
          onChange={(event) => set({ established: event.currentTarget.checked })}
        />
        In the middle of a connection
      </label>
      <button type="submit" class="primary">
        Explain
      </button>
    </form>
  )
}

interface NetworksProps {
  readonly feed: Feed
  readonly chosen: string
  readonly onChoose: (network: string) => void
}

/** Several may have the client's address. */
function Networks({ feed, chosen, onChoose }: NetworksProps) {
  const names = [...new Set((feed.services ?? []).map(({ network }) => network))].sort()
  if (names.length < 2 && chosen === '') return null
  if (chosen !== '' && !names.includes(chosen)) names.unshift(chosen)
  return (
    <label>
      On the network
      <select value={chosen} onChange={(event) => onChoose(event.currentTarget.value)}>
        <option value="">that has the client</option>
        {names.map((name) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
    </label>
  )
}

const tones = { translated: 'ok', passed: '', refused: 'bad', dropped: 'bad' } as const

function outcomeText({ outcome, backend, reason }: ExplanationView): string {
  const why = reason === undefined ? '' : `: ${reason.replaceAll('_', ' ')}`
  switch (outcome) {
    case 'translated':
      return backend === undefined
        ? 'It is translated'
        : `It goes to ${endpoint(backend.address, backend.port, 'tcp')}`
    case 'passed':
      return 'It passes as it is'
    default:
      return `It is ${outcome}${why}`
  }
}

function Explanation({ explanation }: { readonly explanation: ExplanationView }) {
  const { steps, backends, outcome, service } = explanation
  return (
    <section class="answer" aria-labelledby="outcome">
      <h2 id="outcome" class={`outcome ${tones[outcome]}`}>
        {outcomeText(explanation)}
      </h2>
      <dl class="steps">
        {steps.map(({ step, text }) => (
          <div key={step}>
            <dt>{step}</dt>
            <dd>{text}</dd>
          </div>
        ))}
      </dl>
      {backends.length > 0 && (
        <>
          <h2>
            {plural(backends.length, 'backend')} of {service}
          </h2>
          <table class="backends">
            <thead>
              <tr>
                <th scope="col">Address</th>
                <th scope="col">State</th>
                <th scope="col" class="number wide">
                  Weight
                </th>
                <th scope="col" class="number wide">
                  Open
                </th>
                <th scope="col" class="number wide">
                  Slots
                </th>
                <th scope="col" class="apart">
                  Why, or why not
                </th>
                <th scope="col" class="number wide">
                  Total
                </th>
                <th scope="col" class="number wide">
                  Reset
                </th>
                <th scope="col" class="number wide">
                  Handshake
                </th>
              </tr>
            </thead>
            <tbody>
              {backends.map((backend) => (
                <BackendRow key={backend.address} backend={backend} />
              ))}
            </tbody>
          </table>
          <p class="dim note wide">
            In all, and since the kernel maps were made: connections that a backend was given, those
            of them that one side reset, and the mean of their handshakes.
          </p>
        </>
      )}
    </section>
  )
}

function BackendRow({
  backend: { address, state, weight, active, slots, reason, text, ...figures },
}: {
  readonly backend: ExplanationView['backends'][number]
}) {
  const { connections, resets, handshakeSeconds } = figures
  return (
    <tr class={reason}>
      <th scope="row">{address}</th>
      <td>
        <span class={`state ${state ?? 'down'}`}>{state ?? 'removed'}</span>
      </td>
      <td class="number wide">{weight}</td>
      <td class="number wide">{active}</td>
      <td class="number wide">{slots}</td>
      <td class="apart">{text}</td>
      <td class="number wide">{short(connections)}</td>
      <td class="number wide">{short(resets)}</td>
      <td class="number wide">{handshakeSeconds === undefined ? '–' : brief(handshakeSeconds)}</td>
    </tr>
  )
}

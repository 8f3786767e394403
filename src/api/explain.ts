/** What is asked of /v1/explain, and how it is answered. Pure. */
import { FairleadError } from '../errors.js'
import { canonicalAddress, isAddress, parseListen } from '../model/address.js'
import type { Explanation, Question } from '../model/explain.js'
import { backendText, stepsOf } from '../model/explainText.js'
import type { BackendCounters, BackendEnds, Handshakes } from '../model/readback.js'
import type * as schema from './schema.js'

/** @throws FairleadError VALUE for an address that is none */
export function questionOf(asked: schema.ExplainParameters): Question {
  const { client, vip, protocol, network, path, established } = asked
  return {
    client: endOf('client', client, true),
    vip: endOf('vip', vip, false),
    protocol,
    ...(network !== undefined && { network: network.toLowerCase() }),
    ...(path !== undefined && { path }),
    established: established === 'true',
  }
}

/** What is known of how the service's backends do. */
export interface BackendFigures {
  readonly counters: readonly BackendCounters[]
  readonly ends: readonly BackendEnds[]
  readonly handshakes: readonly Handshakes[]
}

const NO_FIGURES: BackendFigures = { counters: [], ends: [], handshakes: [] }

export function explanationView(
  explanation: Explanation,
  figures: BackendFigures = NO_FIGURES,
): schema.ExplanationView {
  const backends = explanation.backends.map((each) => ({
    ...each,
    text: backendText(each.reason),
    ...figuresOf(each.address, figures),
  }))
  return { ...explanation, backends, events: [...explanation.events], steps: stepsOf(explanation) }
}

function figuresOf(
  address: string,
  { counters, ends, handshakes }: BackendFigures,
): Pick<schema.ExplanationView['backends'][number], 'connections' | 'resets' | 'handshakeSeconds'> {
  const own = <T extends { readonly backend?: string }>(rows: readonly T[]): T[] =>
    rows.filter(({ backend }) => backend === address)
  const timed = own(handshakes)
  const times = sum(timed.flatMap(({ counts }) => counts))
  return {
    connections: sum(own(counters).map(({ connections }) => connections)),
    resets: sum(own(ends).map((row) => new Map(row.ends).get('reset') ?? 0)),
    ...(times > 0 && { handshakeSeconds: sum(timed.map((row) => row.sumSeconds)) / times }),
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}

function endOf(name: string, text: string, bare: true): Question['client']
function endOf(name: string, text: string, bare: false): Question['vip']
function endOf(name: string, text: string, bare: boolean): Question['client'] {
  if (bare && isAddress(text)) return { address: canonicalAddress(text) }
  try {
    const { host, port } = parseListen(text)
    return { address: canonicalAddress(host), port }
  } catch (cause) {
    const form = bare ? 'an address or address:port' : 'address:port'
    throw new FairleadError('VALUE', `${name}: not ${form}: ${text}`, { cause })
  }
}

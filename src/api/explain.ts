/** What is asked of /v1/explain, and how it is answered. Pure. */
import { FairleadError } from '../errors.js'
import { canonicalAddress, isAddress, parseListen } from '../model/address.js'
import type { Explanation, Question } from '../model/explain.js'
import { backendText, stepsOf } from '../model/explainText.js'
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

export function explanationView(explanation: Explanation): schema.ExplanationView {
  const backends = explanation.backends.map((each) => ({ ...each, text: backendText(each.reason) }))
  return { ...explanation, backends, events: [...explanation.events], steps: stepsOf(explanation) }
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

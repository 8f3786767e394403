/** Where one is: in the part of the address after #, so that back, forward and bookmarks work. */
import { useEffect, useState } from 'preact/hooks'

/** What is to be explained; empty: not said yet. */
export interface Question {
  readonly client: string
  readonly vip: string
  readonly protocol: 'tcp' | 'udp'
  /** The client's; empty: found by its address. */
  readonly network: string
  /** A packet in the middle of a connection. */
  readonly established: boolean
}

export type Place =
  | { readonly name: 'services' | 'events' | 'changes' }
  /** `network/service` */
  | { readonly name: 'service'; readonly service: string }
  | { readonly name: 'explain'; readonly question: Question }

function read(): Place {
  const [path = '', query] = location.hash.replace(/^#\/?/, '').split('?')
  const [name, ...rest] = path.split('/').map(decode)
  if (name === 'service' && rest.length === 2) return { name, service: rest.join('/') }
  if (name === 'explain') return { name, question: questionOf(new URLSearchParams(query)) }
  return { name: name === 'changes' || name === 'events' ? name : 'services' }
}

function questionOf(given: URLSearchParams): Question {
  return {
    client: given.get('client') ?? '',
    vip: given.get('vip') ?? '',
    protocol: given.get('protocol') === 'udp' ? 'udp' : 'tcp',
    network: given.get('network') ?? '',
    established: given.get('established') === 'true',
  }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

export function servicePlace(network: string, name: string): string {
  return `#/service/${encodeURIComponent(network)}/${encodeURIComponent(name)}`
}

export function explainPlace(question: Partial<Question>): string {
  const given = Object.entries(question).flatMap(([name, value]) =>
    value === '' || value === false ? [] : [[name, String(value)]],
  )
  return `#/explain?${new URLSearchParams(given).toString()}`
}

export function usePlace(): Place {
  const [place, setPlace] = useState(read)
  useEffect(() => {
    const moved = (): void => setPlace(read())
    addEventListener('hashchange', moved)
    return () => removeEventListener('hashchange', moved)
  }, [])
  return place
}

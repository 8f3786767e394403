/** Where one is: in the part of the address after #, so that back, forward and bookmarks work. */
import { useEffect, useState } from 'preact/hooks'

export type Place =
  | { readonly name: 'services' | 'changes' }
  /** `network/service` */
  | { readonly name: 'service'; readonly service: string }

function read(): Place {
  const [name, ...rest] = location.hash.replace(/^#\/?/, '').split('/').map(decode)
  if (name === 'service' && rest.length === 2) return { name, service: rest.join('/') }
  return { name: name === 'changes' ? name : 'services' }
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

export function usePlace(): Place {
  const [place, setPlace] = useState(read)
  useEffect(() => {
    const moved = (): void => setPlace(read())
    addEventListener('hashchange', moved)
    return () => removeEventListener('hashchange', moved)
  }, [])
  return place
}

/** What is around every view: where one is, whether it is live, light or dark. */
import type { ComponentChildren } from 'preact'
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks'
import type { Feed } from './feed.js'
import type { Place } from './place.js'
import { useTheme } from './theme.js'

interface FrameProps {
  readonly feed: Feed
  readonly place: Place
  readonly onLeave: () => void
  readonly children: ComponentChildren
}

const views = [
  { name: 'services', title: 'Services' },
  { name: 'events', title: 'Events' },
  { name: 'changes', title: 'Changes' },
  { name: 'explain', title: 'Explain' },
] as const

export function Frame({ feed, place, onLeave, children }: FrameProps) {
  const main = useRef<HTMLElement>(null)
  const [theme, switchTheme] = useTheme()
  const node = feed.state?.node
  const here = place.name === 'service' ? 'services' : place.name
  useTitle(place, node)
  useFocusOnMove(place, main)
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => skip(event, main.current)}>
        Skip to the content
      </a>
      <header class="bar">
        <a class="mark" href="#/">
          <img src="/icon.svg" alt="" width="20" height="20" /> fairlead
          {node !== undefined && <span class="node">{node}</span>}
        </a>
        <nav aria-label="Views">
          {views.map(({ name, title }) => (
            <a key={name} href={`#/${name}`} aria-current={name === here ? 'page' : undefined}>
              {title}
            </a>
          ))}
        </nav>
        <Pulse feed={feed} />
        <div class="tools">
          <button type="button" onClick={switchTheme}>
            {theme === 'dark' ? 'Light' : 'Dark'}
          </button>
          <button type="button" onClick={onLeave}>
            Sign out
          </button>
        </div>
      </header>
      <main id="main" ref={main} tabIndex={-1}>
        {children}
      </main>
    </>
  )
}

function Pulse({ feed: { connection, trouble } }: { readonly feed: Feed }) {
  const text = { connecting: 'Connecting', live: 'Live', lost: 'No connection' }[connection]
  return (
    <p class={`pulse ${connection}`} role="status" title={trouble}>
      <i aria-hidden="true" /> {text}
    </p>
  )
}

/** A link to #main would lead away from the view. */
function skip(event: Event, main: HTMLElement | null): void {
  event.preventDefault()
  main?.focus()
}

function useTitle(place: Place, node: string | undefined): void {
  const what = place.name === 'service' ? place.service : place.name
  useEffect(() => {
    document.title = [what, node, 'fairlead'].filter(Boolean).join(' · ')
  }, [what, node])
}

/** Who reads by ear is told of the new view; not of the first one, whose page has just been opened. */
function useFocusOnMove(place: Place, main: { readonly current: HTMLElement | null }): void {
  const first = useRef(true)
  useLayoutEffect(() => {
    if (!first.current) {
      main.current?.focus({ preventScroll: true })
      scrollTo(0, 0)
    }
    first.current = false
  }, [place, main])
}

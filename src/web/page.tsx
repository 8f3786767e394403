/** The page: asks for the token, then shows what the agent tells. */
import { render } from 'preact'
import { useCallback, useEffect, useReducer, useState } from 'preact/hooks'
import { Changes } from './changes.js'
import { Events } from './events.js'
import { Explain } from './explain.js'
import { Feed } from './feed.js'
import { Frame } from './frame.js'
import { Login } from './login.js'
import { Overview } from './overview.js'
import './page.css'
import { type Place, usePlace } from './place.js'
import { ServicePage } from './service.js'
import { applyTheme, storedTheme } from './theme.js'

const KEY = 'fairlead-token'

function Page() {
  const [token, setToken] = useState(sessionStorage.getItem(KEY))
  const [refused, setRefused] = useState(false)
  const enter = useCallback((given: string) => {
    sessionStorage.setItem(KEY, given)
    setRefused(false)
    setToken(given)
  }, [])
  const leave = useCallback((wasRefused: boolean) => {
    sessionStorage.removeItem(KEY)
    setRefused(wasRefused)
    setToken(null)
  }, [])
  if (token === null) return <Login refused={refused} onToken={enter} />
  return <Console key={token} token={token} onLeave={leave} />
}

interface ConsoleProps {
  readonly token: string
  readonly onLeave: (refused: boolean) => void
}

function Console({ token, onLeave }: ConsoleProps) {
  const [feed, setFeed] = useState<Feed>()
  const [, redraw] = useReducer((count: number) => count + 1, 0)
  const place = usePlace()
  useEffect(() => {
    const opened = new Feed(token, () => onLeave(true))
    const stop = opened.subscribe(() => redraw(undefined))
    setFeed(opened)
    return () => {
      stop()
      opened.close()
    }
  }, [token, onLeave])
  useEffect(() => feed?.watch(place.name === 'service' ? place.service : undefined), [feed, place])
  if (!feed) return null
  return (
    <Frame feed={feed} place={place} onLeave={() => onLeave(false)}>
      <View feed={feed} place={place} />
    </Frame>
  )
}

function View({ feed, place }: { readonly feed: Feed; readonly place: Place }) {
  switch (place.name) {
    case 'service':
      return <ServicePage key={place.service} feed={feed} service={place.service} />
    case 'changes':
      return <Changes feed={feed} />
    case 'events':
      return <Events feed={feed} />
    case 'explain':
      return <Explain feed={feed} question={place.question} />
    case 'services':
      return <Overview feed={feed} />
  }
}

applyTheme(storedTheme())
const root = document.getElementById('page')
if (root) render(<Page />, root)

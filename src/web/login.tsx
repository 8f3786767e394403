import { useState } from 'preact/hooks'

interface LoginProps {
  readonly refused: boolean
  readonly onToken: (token: string) => void
}

export function Login({ refused, onToken }: LoginProps) {
  const [text, setText] = useState('')
  return (
    <main class="login">
      <form
        onSubmit={(event) => {
          event.preventDefault()
          if (text.trim() !== '') onToken(text.trim())
        }}
      >
        <h1 class="mark">
          <img src="/icon.svg" alt="" width="28" height="28" /> fairlead
        </h1>
        <label for="token">Token of this agent</label>
        <input
          id="token"
          type="password"
          autocomplete="current-password"
          aria-describedby="token-help"
          aria-invalid={refused}
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
          autoFocus
        />
        {refused && (
          <p class="bad" role="alert">
            The agent does not know this token.
          </p>
        )}
        <p id="token-help" class="dim">
          It is in the file that <code>agent.http.token</code> names. This tab keeps it until it is
          closed.
        </p>
        <button type="submit" class="primary">
          Open
        </button>
      </form>
    </main>
  )
}

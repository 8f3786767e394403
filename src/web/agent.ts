/** Requests to the agent that served this page; the token goes in a header, never in a URL. */

/** Answered, but not with what was asked for. */
export class Refusal extends Error {
  override readonly name = 'Refusal'

  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message)
  }
}

async function request(path: string, token: string, signal: AbortSignal): Promise<Response> {
  const headers = { authorization: `Bearer ${token}` }
  const response = await fetch(path, { headers, signal, cache: 'no-store' })
  if (response.ok) return response
  const told = (await response.json().catch(() => ({}))) as { code?: string; message?: string }
  throw new Refusal(response.status, told.code ?? '', told.message ?? response.statusText)
}

/** @throws Refusal, or what fetch throws when nobody answers */
export async function ask<T>(path: string, token: string, signal: AbortSignal): Promise<T> {
  return (await (await request(path, token, signal)).json()) as T
}

export interface Message {
  readonly event: string
  readonly data: string
}

/**
 * Events as they come, until the agent ends the stream. EventSource cannot send a header.
 *
 * @param onAlive called with everything that arrives, heartbeats included
 * @throws as ask() does
 */
export async function* follow(
  path: string,
  token: string,
  signal: AbortSignal,
  onAlive: () => void,
): AsyncGenerator<Message, void> {
  const response = await request(path, token, signal)
  onAlive()
  if (!response.body) return
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    onAlive()
    text += value
    const blocks = text.split('\n\n')
    text = blocks.pop() ?? ''
    for (const block of blocks) {
      const message = parseBlock(block)
      if (message) yield message
    }
  }
}

function parseBlock(block: string): Message | undefined {
  let event = 'message'
  let data: string | undefined
  for (const line of block.split('\n')) {
    const [, name, value = ''] = /^([^:]*): ?(.*)$/.exec(line) ?? []
    if (name === 'event') event = value
    else if (name === 'data') data = data === undefined ? value : `${data}\n${value}`
  }
  return data === undefined ? undefined : { event, data }
}

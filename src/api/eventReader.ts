/** Reads server-sent events (the HTML standard, 9.2.6), as far as the agent writes them. */
import type { Readable } from 'node:stream'

export interface StreamEvent {
  readonly name: string
  readonly data: string
}

/** Until the stream ends; a block without data, such as a comment, is none. */
export async function* readEvents(stream: Readable): AsyncGenerator<StreamEvent> {
  let rest = ''
  stream.setEncoding('utf8')
  for await (const chunk of stream as AsyncIterable<string>) {
    const blocks = (rest + chunk).split('\n\n')
    rest = blocks.pop() ?? ''
    for (const block of blocks) {
      const lines = block.split('\n')
      const of = (field: string) =>
        lines
          .filter((line) => line.startsWith(`${field}: `))
          .map((line) => line.slice(field.length + 2))
      const data = of('data')
      if (data.length > 0) yield { name: of('event')[0] ?? 'message', data: data.join('\n') }
    }
  }
}

export async function textOf(stream: Readable): Promise<string> {
  let text = ''
  stream.setEncoding('utf8')
  for await (const chunk of stream as AsyncIterable<string>) text += chunk
  return text
}

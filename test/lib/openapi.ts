/** Answers held against the OpenAPI document, by Ajv rather than by the schemas that made it. */
import { Ajv2020 } from 'ajv/dist/2020.js'
import { request } from 'node:http'

type Json = Record<string, unknown>

export class AnswerCheck {
  readonly #ajv = new Ajv2020({ strict: false, allErrors: true })
  readonly #document: Json

  constructor(document: Json) {
    this.#document = closed(document) as Json
    this.#ajv.addSchema({ $id: 'api', ...this.#document })
  }

  /**
   * @param path as the document has it, with parameters in braces
   * @returns what is wrong with the answer; empty: nothing
   */
  problems(path: string, status: number, body: unknown): string[] {
    const place = ['paths', path, 'get', 'responses', String(status), 'content']
    const found = this.#problems([...place, 'application/json', 'schema'], body)
    return found ?? [`the document has no answer ${status} of ${path}`]
  }

  /** The same of the data of a server-sent event. */
  problemsOfEvent(path: string, { event, data }: StreamedEvent): string[] {
    const place = ['paths', path, 'get', 'responses', '200', 'content', 'text/event-stream']
    const found = this.#problems([...place, 'x-events', event], data)
    return found ?? [`the document has no event ${event} of ${path}`]
  }

  /** @returns undefined if nothing is at that place of the document */
  #problems(place: readonly string[], body: unknown): string[] | undefined {
    const pointer = place
      .map((part) => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1')))
      .join('/')
    const validate = this.#ajv.getSchema(`api#/${pointer}`)
    if (!validate) return undefined
    if (validate(body)) return []
    return (validate.errors ?? []).map((error) => `${error.instancePath} ${error.message ?? ''}`)
  }
}

export interface StreamedEvent {
  readonly event: string
  readonly data: unknown
}

/** What an agent streams on its socket, until there was one of each of `wanted`. */
export function askStream(
  socketPath: string,
  path: string,
  wanted: readonly string[],
): Promise<StreamedEvent[]> {
  return new Promise((resolve, reject) => {
    const exchange = request({ socketPath, path, agent: false, timeout: 20_000 }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (part: string) => {
        text += part
        const found = [...text.matchAll(/^event: (\w+)\nid: \d+\ndata: (.*)\n\n/gm)]
        const events = found.map(([, event = '', data = '']) => ({ event, data: parsed(data) }))
        if (!wanted.every((name) => events.some(({ event }) => event === name))) return
        exchange.destroy()
        resolve(events)
      })
      response.on('error', reject)
    })
    exchange.on('timeout', () => exchange.destroy(new Error(`${path}: nothing comes`)))
    exchange.on('error', reject)
    exchange.end()
  })
}

const parsed = (text: string): unknown => JSON.parse(text)

/** What an agent answers on its socket. */
export function askSocket(
  socketPath: string,
  path: string,
): Promise<{ status: number; body: Json }> {
  return new Promise((resolve, reject) => {
    const exchange = request({ socketPath, path, agent: false }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (part: string) => (text += part))
      response.on('error', reject)
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) as Json })
      })
    })
    exchange.on('error', reject)
    exchange.end()
  })
}

/** With no fields but those that are named: readers must not mind more, a test has to. */
function closed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(closed)
  if (typeof value !== 'object' || value === null) return value
  const copy = Object.fromEntries(Object.entries(value).map(([key, each]) => [key, closed(each)]))
  const object = copy['type'] === 'object' && copy['properties'] !== undefined
  return object && !('additionalProperties' in copy)
    ? { ...copy, additionalProperties: false }
    : copy
}

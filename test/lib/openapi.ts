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
    const place = ['paths', path, 'get', 'responses', String(status), 'content', 'application/json']
    const pointer = [...place, 'schema']
      .map((part) => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1')))
      .join('/')
    const validate = this.#ajv.getSchema(`api#/${pointer}`)
    if (!validate) return [`the document has no answer ${status} of ${path}`]
    if (validate(body)) return []
    return (validate.errors ?? []).map((error) => `${error.instancePath} ${error.message ?? ''}`)
  }
}

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

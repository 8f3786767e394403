/** The other end of the API, for the commands. */
import { type IncomingMessage, request } from 'node:http'
import type { Readable } from 'node:stream'
import type { z } from 'zod'
import { FairleadError, type ErrorCode } from '../errors.js'
import { readEvents, textOf } from './eventReader.js'
import { changesSchema, type ChangeView } from './liveSchema.js'
import * as schema from './schema.js'
import { reasonOf } from '../reason.js'

/** Reading every counter of ten thousand services takes well under a second. */
const TIMEOUT_MS = 15_000

/** What the agent says of the request rather than of itself; the rest is its own trouble. */
const forwardedCodes: readonly ErrorCode[] = ['REFERENCE', 'FILE', 'SCHEMA', 'VALUE', 'CONFIG']

/** One of them. `watching` comes first: what happens from then on is told. */
export interface WatchedEvent {
  readonly watching?: true
  readonly flow?: schema.FlowEventView
  /** So many were not told. */
  readonly lost?: number
}

/**
 * Every method throws FairleadError: AGENT if no agent answers or it answers with an error,
 * REFERENCE for what it does not know, FILE, SCHEMA or VALUE for a file that it could not take.
 */
export class AgentClient {
  constructor(private readonly socketPath: string) {}

  status(): Promise<schema.StatusView> {
    return this.#get('/v1/status', schema.statusSchema)
  }

  async services(): Promise<schema.ServiceView[]> {
    return (await this.#get('/v1/services', schema.servicesSchema)).services
  }

  service(network: string, name: string): Promise<schema.ServiceView> {
    const path = [network, name].map(encodeURIComponent).join('/')
    return this.#get(`/v1/services/${path}`, schema.serviceSchema)
  }

  async networks(): Promise<schema.NetworkView[]> {
    return (await this.#get('/v1/networks', schema.networksSchema)).networks
  }

  async problems(): Promise<schema.ProblemView[]> {
    return (await this.#get('/v1/problems', schema.problemsSchema)).problems
  }

  /** The newest first. */
  async changes(): Promise<ChangeView[]> {
    return (await this.#get('/v1/changes', changesSchema)).changes
  }

  drops(): Promise<schema.DropsView> {
    return this.#get('/v1/drops', schema.dropsSchema)
  }

  async maps(): Promise<schema.MapView[]> {
    return (await this.#get('/v1/maps', schema.mapsSchema)).maps
  }

  /** Pages of flows; others run between them. */
  async *flows(asked: schema.FlowParameters = {}): AsyncGenerator<schema.FlowView[]> {
    let cursor: string | undefined
    do {
      const page = await this.#get(
        `/v1/flows${queryText({ ...asked, cursor })}`,
        schema.flowsSchema,
      )
      yield page.flows
      cursor = page.next
    } while (cursor !== undefined)
  }

  counters(asked: schema.CountersParameters = {}): Promise<schema.CountersView> {
    return this.#get(`/v1/counters${queryText(asked)}`, schema.countersOfSchema)
  }

  explain(asked: schema.ExplainParameters): Promise<schema.ExplanationView> {
    return this.#get(`/v1/explain${queryText(asked)}`, schema.explanationSchema)
  }

  /**
   * What happens to flows, until the reader stops or the agent ends.
   *
   * @param asked names as in the query
   */
  async *events(
    asked: Readonly<Record<string, string | number | undefined>> = {},
  ): AsyncGenerator<WatchedEvent> {
    const response = await this.#open(`/v1/events${queryText(asked)}`)
    try {
      if (response.statusCode !== 200) throw refusal(response.statusCode, await textOf(response))
      for await (const { name, data } of readEvents(response)) {
        const body = parseJson(data)
        if (name === 'flow') yield { flow: parse(schema.flowEventSchema, body) }
        else if (name === 'lost') yield { lost: parse(schema.lostEventsSchema, body).count }
        else if (name === 'watching') yield { watching: true }
      }
    } finally {
      response.destroy()
    }
  }

  /** @returns pcapng as it comes; destroy it to end the capture */
  async pcap(asked: schema.PcapParameters): Promise<Readable> {
    const response = await this.#open(`/v1/pcap${queryText(asked)}`)
    if (response.statusCode === 200) return response
    throw refusal(response.statusCode, await textOf(response))
  }

  /** @returns the revision after the reload */
  async reload(): Promise<number> {
    return parse(schema.reloadSchema, await this.#send('POST', '/v1/reload')).revision
  }

  async #get<T>(path: string, shape: z.ZodType<T>): Promise<T> {
    return parse(shape, await this.#send('GET', path))
  }

  async #send(method: string, path: string): Promise<unknown> {
    const { status, text } = await this.#exchange(method, path).catch((cause: unknown) => {
      throw this.#absent(cause)
    })
    if (status === 200) return parseJson(text)
    throw refusal(status, text)
  }

  /** An answer whose body is yet to be read, and may never end. */
  #open(path: string): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const exchange = request({ socketPath: this.socketPath, path, agent: false }, resolve)
      exchange.once('error', (cause) => reject(this.#absent(cause)))
      exchange.end()
    })
  }

  #absent(cause: unknown): FairleadError {
    const text = `no agent answers at ${this.socketPath}: ${reason(cause)}`
    return new FairleadError('AGENT', text, { cause })
  }

  #exchange(method: string, path: string): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const exchange = request(
        // Without an agent: the connection ends with the answer, so the command can end.
        { socketPath: this.socketPath, method, path, agent: false, timeout: TIMEOUT_MS },
        (response) => {
          const chunks: Buffer[] = []
          response.on('data', (chunk: Buffer) => chunks.push(chunk))
          response.once('error', reject)
          response.once('end', () => {
            const text = Buffer.concat(chunks).toString('utf8')
            resolve({ status: response.statusCode ?? 0, text })
          })
        },
      )
      exchange.once('timeout', () => exchange.destroy(new Error('timed out')))
      exchange.once('error', reject)
      exchange.end()
    })
  }
}

function queryText(parameters: Readonly<Record<string, string | number | undefined>>): string {
  const given = Object.entries(parameters).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${encodeURIComponent(value)}`],
  )
  return given.length === 0 ? '' : `?${given.join('&')}`
}

function parse<T>(shape: z.ZodType<T>, body: unknown): T {
  const result = shape.safeParse(body)
  if (result.success) return result.data
  const [issue] = result.error.issues
  const where = issue === undefined ? '' : ` (${issue.path.join('.')}: ${issue.message})`
  throw new FairleadError('AGENT', `the agent's answer is not of a known shape${where}`)
}

function refusal(status: number | undefined, text: string): FairleadError {
  const { code, message } = parse(schema.errorSchema, parseJson(text))
  const known = forwardedCodes.find((each) => each === code)
  if (known !== undefined) return new FairleadError(known, message)
  return new FairleadError('AGENT', `the agent answered ${status ?? 0} ${code}: ${message}`)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new FairleadError('AGENT', "the agent's answer is not JSON", { cause })
  }
}

function reason(cause: unknown): string {
  const code = (cause as NodeJS.ErrnoException).code
  if (code === 'ENOENT') return 'there is no such socket'
  if (code === 'ECONNREFUSED') return 'nobody listens there'
  if (code === 'EACCES') return 'permission denied'
  return reasonOf(cause)
}

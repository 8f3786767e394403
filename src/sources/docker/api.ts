/**
 * The Engine API over its unix socket: single answers and the stream of events. It only asks; nothing
 * here changes a container, a network or the engine.
 */
import { request, type IncomingMessage } from 'node:http'
import type { z } from 'zod'
import { FairleadError } from '../../errors.js'
import { reasonOf } from '../../reason.js'

/** The newest version whose answers were read with care; an older engine is asked in its own. */
const NEWEST = [1, 47] as const
const OLDEST = [1, 25] as const
const MAX_ANSWER_BYTES = 64 << 20
const MAX_LINE_BYTES = 4 << 20

export type Query = Readonly<Record<string, string>>

export interface EngineApiOptions {
  readonly socketPath: string
  /** How long the engine may be silent before a question has failed. */
  readonly timeoutMs?: number
  /** Called with each item of a list that was left out because it is not of a known shape. */
  readonly onBadItem?: (reason: string) => void
}

export class EngineApi {
  readonly #options: EngineApiOptions & { readonly timeoutMs: number }
  #version = ''

  constructor(options: EngineApiOptions) {
    this.#options = { timeoutMs: 10_000, ...options }
  }

  /** `1.41`; empty before negotiate(). */
  get version(): string {
    return this.#version
  }

  /**
   * Asks for the engine's version and keeps to the older of the two.
   * @throws FairleadError ENGINE
   */
  async negotiate(): Promise<void> {
    const { headers } = await this.#ask('/_ping', {})
    const offered = headers['api-version']
    this.#version = commonVersion(typeof offered === 'string' ? offered : '')
  }

  /**
   * Whether it still answers; to be asked when the stream of events has been quiet.
   * @throws FairleadError ENGINE
   */
  async ping(): Promise<void> {
    await this.#ask('/_ping', {})
  }

  /**
   * @param shape what of the answer is used; unknown fields are let by
   * @returns     undefined when there is no such thing (404)
   * @throws FairleadError ENGINE; SCHEMA for an answer of another shape
   */
  async get<T extends z.ZodType>(
    path: string,
    shape: T,
    query: Query = {},
  ): Promise<z.infer<T> | undefined> {
    const value = await this.#answer(path, query)
    return value === undefined ? undefined : parsed(path, shape, value)
  }

  /**
   * A list without the items that are not of a known shape: of these `onBadItem` is told.
   *
   * @throws FairleadError ENGINE; SCHEMA for what is no list
   */
  async list<T extends z.ZodType>(path: string, item: T, query: Query = {}): Promise<z.infer<T>[]> {
    const value = (await this.#answer(path, query)) ?? []
    if (!Array.isArray(value))
      throw new FairleadError('SCHEMA', `${path} is not answered with a list`)
    return value.flatMap((each: unknown, at) => {
      try {
        return [parsed(`${path} item ${at}`, item, each)]
      } catch (error) {
        if (!(error instanceof FairleadError)) throw error
        this.#options.onBadItem?.(error.message)
        return []
      }
    })
  }

  /** @returns undefined for 404, and for null */
  async #answer(path: string, query: Query): Promise<unknown> {
    const { status, body } = await this.#ask(this.#path(path, query), {})
    if (status === 404) return undefined
    if (status !== 200) throw refusal(path, status, body)
    return parseJson(path, body) ?? undefined
  }

  /**
   * Opens the stream of events; it is open when this resolves, so what is asked for afterwards and
   * what is told make a whole.
   *
   * @param onEvent called with each line as plain data
   * @throws FairleadError ENGINE
   */
  async events(filters: object, onEvent: (event: unknown) => void): Promise<EventStream> {
    const path = this.#path('/events', { filters: JSON.stringify(filters) })
    const response = await this.#open(path)
    if (response.statusCode !== 200) {
      response.destroy()
      throw refusal('/events', response.statusCode ?? 0, Buffer.alloc(0))
    }
    return new EventStream(response, onEvent)
  }

  #path(path: string, query: Query): string {
    const version = this.#version === '' ? '' : `/v${this.#version}`
    const text = new URLSearchParams(query).toString()
    return `${version}${path}${text === '' ? '' : `?${text}`}`
  }

  async #ask(
    path: string,
    headers: Record<string, string>,
  ): Promise<{ status: number; headers: IncomingMessage['headers']; body: Buffer }> {
    const response = await this.#open(path, headers)
    const parts: Buffer[] = []
    let size = 0
    // Bounds silence, not length: an answer that goes on coming may take its time.
    const silence = setTimeout(
      () => response.destroy(new Error('it stopped in the middle of an answer')),
      this.#options.timeoutMs,
    )
    try {
      for await (const part of response as AsyncIterable<Buffer>) {
        silence.refresh()
        size += part.length
        if (size > MAX_ANSWER_BYTES) throw new Error(`answer over ${MAX_ANSWER_BYTES} bytes`)
        parts.push(part)
      }
    } catch (cause) {
      throw this.#failure(path, cause)
    } finally {
      clearTimeout(silence)
    }
    return {
      status: response.statusCode ?? 0,
      headers: response.headers,
      body: Buffer.concat(parts),
    }
  }

  /** Resolves with the head of the answer. */
  #open(path: string, headers: Record<string, string> = {}): Promise<IncomingMessage> {
    const { socketPath, timeoutMs } = this.#options
    return new Promise((resolve, reject) => {
      // No keep-alive: connections of an engine that was restarted would fail one by one.
      const asked = request({
        socketPath,
        path,
        agent: false,
        headers: { host: 'engine', ...headers },
      })
      const silence = setTimeout(
        () => asked.destroy(new Error(`no answer within ${timeoutMs / 1000} s`)),
        timeoutMs,
      )
      asked.once('response', (response) => {
        clearTimeout(silence)
        resolve(response)
      })
      asked.once('error', (cause) => {
        clearTimeout(silence)
        reject(this.#failure(path, cause))
      })
      asked.end()
    })
  }

  #failure(path: string, cause: unknown): FairleadError {
    const why = reasonOf(cause)
    const { socketPath } = this.#options
    return new FairleadError(
      'ENGINE',
      `the engine at ${socketPath} (${path.split('?')[0] ?? ''}): ${why}`,
      {
        cause,
      },
    )
  }
}

/** Lines of JSON until the engine, or close(), ends it. */
export class EventStream {
  /** Resolves with why it ended; never rejects. */
  readonly ended: Promise<string>
  /** On performance's clock. */
  heardAt = performance.now()
  #rest = ''
  #closed = false

  constructor(
    private readonly response: IncomingMessage,
    onEvent: (event: unknown) => void,
  ) {
    response.setEncoding('utf8')
    this.ended = new Promise((resolve) => {
      response.once('end', () => resolve('the engine closed the stream'))
      response.once('close', () => resolve('the stream was closed'))
      response.once('error', (error) => resolve(error.message))
    })
    response.on('data', (text: string) => {
      this.heardAt = performance.now()
      this.#read(text, onEvent)
    })
  }

  close(): void {
    this.#closed = true
    this.response.destroy()
  }

  #read(text: string, onEvent: (event: unknown) => void): void {
    const lines = `${this.#rest}${text}`.split('\n')
    this.#rest = lines.pop() ?? ''
    if (this.#rest.length > MAX_LINE_BYTES) {
      this.response.destroy(new Error(`an event over ${MAX_LINE_BYTES} bytes`))
      return
    }
    for (const line of lines) {
      if (this.#closed || line.trim() === '') continue
      const event = tryJson(line)
      if (event === undefined) {
        this.response.destroy(new Error('an event that is not JSON'))
        return
      }
      onEvent(event)
    }
  }
}

/** @throws FairleadError ENGINE for an engine that is too old */
function commonVersion(offered: string): string {
  const match = /^(\d+)\.(\d+)$/.exec(offered)
  // Without the header it is no engine of Docker's that we know; the oldest is what others imitate.
  if (match === null) return OLDEST.join('.')
  const theirs = [Number(match[1]), Number(match[2])] as const
  if (isOlder(theirs, OLDEST)) {
    const reason = `the engine's API ${offered} is older than ${OLDEST.join('.')}`
    throw new FairleadError('ENGINE', reason)
  }
  return (isOlder(theirs, NEWEST) ? theirs : NEWEST).join('.')
}

type Version = readonly [number, number]

function isOlder(a: Version, b: Version): boolean {
  return a[0] < b[0] || (a[0] === b[0] && a[1] < b[1])
}

/** @throws FairleadError SCHEMA */
function parsed<T extends z.ZodType>(path: string, shape: T, value: unknown): z.infer<T> {
  const checked = shape.safeParse(value)
  if (checked.success) return checked.data
  const [issue] = checked.error.issues
  const where = issue === undefined ? '' : `: ${issue.path.join('.')} ${issue.message}`
  throw new FairleadError('SCHEMA', `${path} is not of a known shape${where}`)
}

function refusal(path: string, status: number, body: Buffer): FairleadError {
  const said = tryJson(body.toString('utf8'))
  const message =
    typeof said === 'object' && said !== null && 'message' in said ? String(said.message) : ''
  return new FairleadError('ENGINE', `the engine answered ${path} with ${status} ${message}`.trim())
}

function parseJson(path: string, body: Buffer): unknown {
  const value = tryJson(body.toString('utf8'))
  if (value === undefined) throw new FairleadError('ENGINE', `${path} is not answered in JSON`)
  return value
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/**
 * What happens to flows, sent to those who ask for as long as they do. While nobody asks, nothing is
 * watched for.
 */
import type { z } from 'zod'
import { FairleadError } from '../errors.js'
import type { FlowEventRequest, FlowEventSource } from '../model/flowEvents.js'
import { parseEnd } from '../model/flows.js'
import { type EventStream, MAX_UNREAD_BYTES } from './eventStream.js'
import type { eventParametersSchema } from './schema.js'

/** Who reads more slowly than it is told misses events before it would be dropped. */
const ROOM_BYTES = MAX_UNREAD_BYTES / 2
const MAX_WATCHERS = 32
const LOOK_MS = 1_000

/** @throws FairleadError VALUE for an address that is none */
export function eventRequestOf(asked: z.output<typeof eventParametersSchema>): FlowEventRequest {
  const { kind, network, service, client, vip, backend, sample, rate } = asked
  return {
    filter: {
      ...(kind !== undefined && { kinds: kind }),
      ...(network !== undefined && { network }),
      ...(service !== undefined && { service }),
      ...(client !== undefined && { client: parseEnd(client) }),
      ...(vip !== undefined && { vip: parseEnd(vip) }),
      ...(backend !== undefined && { backend: parseEnd(backend) }),
    },
    ...(sample !== undefined && { oneIn: sample }),
    ...(rate !== undefined && { rate }),
  }
}

export class EventFeed {
  readonly #source: FlowEventSource
  #watchers = 0

  constructor(source: FlowEventSource) {
    this.#source = source
  }

  /** @throws FairleadError BUSY if no more may watch */
  admit(): void {
    if (this.#watchers >= MAX_WATCHERS)
      throw new FairleadError('BUSY', `${MAX_WATCHERS} watch already`)
  }

  /** `watching`, then `flow` for each event and `lost` for those that were not told. */
  follow(stream: EventStream, asked: FlowEventRequest): void {
    let id = 0
    let missed = 0
    const tellMissed = (): void => {
      if (missed === 0 || stream.unread > ROOM_BYTES) return
      stream.send('lost', ++id, { count: missed })
      missed = 0
    }
    const end = this.#source.subscribe(asked, {
      event(event) {
        tellMissed()
        if (stream.unread > ROOM_BYTES) missed++
        else stream.send('flow', ++id, event)
      },
      lost(count) {
        missed += count
        tellMissed()
      },
    })
    const timer = setInterval(tellMissed, LOOK_MS)
    timer.unref()
    this.#watchers++
    stream.onClose(() => {
      this.#watchers--
      clearInterval(timer)
      end()
    })
    // Who waits for this misses nothing that happens afterwards.
    stream.send('watching', id, {})
  }
}

/** Who follows a stream of server-sent events. */
import { type IncomingMessage, request } from 'node:http'
import type { Test } from 'tap'
import { until } from '../../lib/netns.js'

export interface Event {
  readonly id: number
  readonly data: unknown
}

export class Follower {
  text = ''

  private constructor(readonly response: IncomingMessage) {
    response.setEncoding('utf8')
    response.on('data', (text: string) => (this.text += text))
    response.on('error', () => undefined)
  }

  static open(
    t: Test,
    socketPath: string,
    path = '/v1/live',
    headers: Record<string, string> = {},
  ): Promise<Follower> {
    return new Promise((resolve, reject) => {
      const exchange = request({ socketPath, path, headers, agent: false }, (response) => {
        resolve(new Follower(response))
      })
      exchange.on('error', reject)
      exchange.end()
      t.teardown(() => void exchange.destroy())
    })
  }

  events(name: string): Event[] {
    const found = this.text.matchAll(/^event: (\w+)\nid: (\d+)\ndata: (.*)\n\n/gm)
    return [...found]
      .filter(([, event]) => event === name)
      .map(([, , id, data = '']) => ({ id: Number(id), data: JSON.parse(data) as unknown }))
  }

  /** The first of them that `accepts` takes. */
  next(name: string, accepts: (data: unknown) => boolean = () => true): Promise<Event> {
    return until(`an event ${name}`, () => this.events(name).find(({ data }) => accepts(data)))
  }
}

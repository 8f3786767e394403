/** The part of an engine that can be made to misbehave: its API on a unix socket. */
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export class FakeEngine {
  readonly folder = mkdtempSync(join(tmpdir(), 'fle-'))
  readonly socketPath = join(this.folder, 's')
  apiVersion = '1.41'
  /** Paths that were asked for, with their version. */
  readonly asked: string[] = []
  /** Takes questions and never answers. */
  hung = false
  info: object = { Name: 'n', Swarm: { LocalNodeState: 'inactive', ControlAvailable: false } }
  readonly containers = new Map<string, object>()
  readonly networks = new Map<string, object>()
  /** By path, for whatever else is asked for. */
  readonly answers = new Map<string, object>()
  readonly streams = new Set<ServerResponse>()
  #server: Server | undefined

  async listen(): Promise<void> {
    const server = createServer((request, response) => this.#answer(request, response))
    this.#server = server
    await new Promise<void>((resolve) => server.listen(this.socketPath, resolve))
  }

  /** As a daemon that is killed: every connection breaks. */
  async stop(): Promise<void> {
    const server = this.#server
    this.#server = undefined
    if (server === undefined) return
    const closed = new Promise((resolve) => server.close(resolve))
    server.closeAllConnections()
    await closed
    this.streams.clear()
  }

  async remove(): Promise<void> {
    await this.stop()
    rmSync(this.folder, { recursive: true, force: true })
  }

  tell(event: object | string): void {
    const line = typeof event === 'string' ? event : JSON.stringify(event)
    for (const stream of this.streams) stream.write(`${line}\n`)
  }

  /** An event of a container. */
  happen(id: string, action: string, attributes: Record<string, string> = {}): void {
    this.tell({ Type: 'container', Action: action, Actor: { ID: id, Attributes: attributes } })
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { pathname } = new URL(request.url ?? '/', 'http://engine')
    this.asked.push(request.url ?? '')
    if (this.hung) return
    const json = (value: unknown): void => {
      response.setHeader('content-type', 'application/json')
      response.statusCode = value === undefined ? 404 : 200
      response.end(JSON.stringify(value ?? { message: 'no such thing' }))
    }
    const path = pathname.replace(/^\/v[\d.]+/, '')
    const [, kind, id] = path.split('/')
    if (path === '/_ping') {
      response.setHeader('api-version', this.apiVersion)
      response.end('OK')
    } else if (path === '/events') {
      this.streams.add(response)
      response.once('close', () => this.streams.delete(response))
      response.flushHeaders()
    } else if (path === '/info') json(this.info)
    else if (path === '/containers/json') json([...this.containers.values()])
    else if (path === '/networks') json([...this.networks.values()])
    else if (kind === 'containers') json(this.containers.get(id ?? ''))
    else if (kind === 'networks') json(this.networks.get(id ?? ''))
    else json(this.answers.get(path))
  }
}

/** What the API tells of a running container. */
export function told(id: string, fields: object = {}): object {
  return {
    Id: id,
    Name: `/${id}`,
    Created: '2026-01-01T00:00:00.5Z',
    State: { Running: true, Paused: false, Health: null, NewField: 1 },
    Config: { Hostname: id, Labels: null, StopSignal: null },
    NetworkSettings: { SandboxKey: `/run/${id}`, Networks: null },
    Unknown: ['field'],
    ...fields,
  }
}

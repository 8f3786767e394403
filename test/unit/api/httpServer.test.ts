import { connect } from 'node:net'
import t, { type Test } from 'tap'
import { FairleadError } from '../../../src/errors.js'
import { HttpServer } from '../../../src/api/httpServer.js'

const metrics = {
  contentType: 'text/plain; version=0.0.4',
  render: () => Promise.resolve(Buffer.from('a 1\n')),
}

async function listening(t: Test, host = '127.0.0.1', what = metrics): Promise<HttpServer> {
  const server = HttpServer.ofMetrics({ host, port: 0, metrics: what })
  await server.listen()
  t.teardown(() => server.close())
  return server
}

const url = (server: HttpServer, path: string) => `http://127.0.0.1:${server.port ?? 0}${path}`

t.test('GET /metrics and /healthz, and nothing else', async (t) => {
  const server = await listening(t)
  const response = await fetch(url(server, '/metrics?x=1'))
  t.equal(response.status, 200)
  t.equal(response.headers.get('content-type'), metrics.contentType)
  t.equal(await response.text(), 'a 1\n')
  t.equal(await (await fetch(url(server, '/healthz'))).text(), 'ok\n')
  const head = await fetch(url(server, '/metrics'), { method: 'HEAD' })
  t.equal(head.headers.get('content-length'), '4')
  t.equal(await head.text(), '')
  t.equal((await fetch(url(server, '/'))).status, 404)
  t.equal((await fetch(url(server, '/metrics/'))).status, 404)
  const post = await fetch(url(server, '/metrics'), { method: 'POST', body: 'x' })
  t.equal(post.status, 405)
  t.equal(post.headers.get('allow'), 'GET, HEAD')
})

t.test('a failure to render is a 500', async (t) => {
  const render = () => Promise.reject(new Error('no registry'))
  const server = await listening(t, '127.0.0.1', { ...metrics, render })
  const response = await fetch(url(server, '/metrics'))
  t.equal(response.status, 500)
  t.match(await response.text(), /no registry/)
})

t.test('an address in use is a FairleadError that names it', async (t) => {
  const first = await listening(t)
  const second = HttpServer.ofMetrics({ host: '127.0.0.1', port: first.port ?? 0, metrics })
  const error: unknown = await second.listen().catch((error: unknown) => error)
  t.ok(error instanceof FairleadError)
  t.match(error, { code: 'HOST', message: `127.0.0.1:${first.port ?? 0}: listen EADDRINUSE` })
  await second.close()
})

t.test('an IPv6 address', async (t) => {
  const server = await listening(t, '::1')
  t.equal((await fetch(`http://[::1]:${server.port ?? 0}/healthz`)).status, 200)
  const taken = HttpServer.ofMetrics({ host: '::1', port: server.port ?? 0, metrics })
  await t.rejects(taken.listen(), { message: `cannot listen on [::1]:${server.port ?? 0}` })
})

t.test('close does not wait for idle connections, and twice is once', async (t) => {
  const server = await listening(t)
  const socket = connect(server.port ?? 0, '127.0.0.1')
  await new Promise((resolve) => socket.once('connect', resolve))
  const ended = new Promise((resolve) => socket.once('close', resolve))
  socket.on('error', () => undefined)
  await server.close()
  await ended
  await server.close()
  t.equal(server.port, undefined)
})

t.test('huge headers are refused', async (t) => {
  const server = await listening(t)
  const response = await fetch(url(server, '/metrics'), { headers: { x: 'y'.repeat(10_000) } })
  t.equal(response.status, 431)
})

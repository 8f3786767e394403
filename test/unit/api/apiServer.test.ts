import { once } from 'node:events'
import { linkSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ApiServer, type ApiServerOptions } from '../../../src/api/apiServer.js'
import { AgentClient } from '../../../src/api/client.js'
import { FairleadError } from '../../../src/errors.js'
import { FixtureReadback, report, service, stateOf } from '../metrics/fixture.js'

function folderOf(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'fairlead-api-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

async function listening(t: Test, socketPath: string, options: Partial<ApiServerOptions> = {}) {
  const readback = new FixtureReadback(report())
  const problem = { source: 'file', item: 'service a/b', code: 'VALUE', reason: 'no' }
  const state = stateOf([service({}), service({ name: 'db', vips: [], mode: 'dnsrr' })], [problem])
  const server = new ApiServer({
    ipvs: 'absent',
    socketPath,
    node: 'node1',
    version: '1.2.3',
    kernel: '6.18.0',
    readback,
    state: () => state,
    answering: () => 5,
    sources: [{ name: 'file', from: '/etc/fairlead.yaml' }],
    ...options,
  })
  await server.listen()
  t.teardown(() => server.close())
  return { server, readback }
}

/** A server in a folder that it has to make itself. */
async function subject(t: Test, options: Partial<ApiServerOptions> = {}) {
  const path = join(folderOf(t), 'run', 'fairlead', 'api.sock')
  return { ...(await listening(t, path, options)), path, client: new AgentClient(path) }
}

interface Answer {
  readonly status: number
  readonly body: string
  readonly type: string | undefined
}

function send(socketPath: string, method: string, path: string, body = ''): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = body === '' ? {} : { 'content-type': 'application/json' }
    const exchange = request({ socketPath, method, path, headers, agent: false }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => (text += chunk))
      response.on('end', () => {
        const { statusCode: status = 0, headers } = response
        resolve({ status, body: text, type: headers['content-type'] })
      })
    })
    exchange.on('error', reject)
    exchange.end(body)
  })
}

t.test('services carry their counters by path', async (t) => {
  const { client, readback } = await subject(t)
  const [vote, db, ...others] = await client.services()
  t.same(others, [])
  t.match(db, { name: 'db', mode: 'dnsrr', vips: [], counters: [] })
  t.match(vote, { network: 'overlay1', name: 'vote', ports: [{ port: 80, protocol: 'tcp' }] })
  const row = (path: string, scale: number, active: number, inactive: number) => ({
    ...{ path, packetsIn: 10 * scale, bytesIn: 1000 * scale },
    ...{ packetsOut: 8 * scale, bytesOut: 8000 * scale, connections: 2 * scale },
    ...{ active, inactive },
  })
  t.same(vote?.backends[0]?.counters, [row('sock', 2, 2, 0), row('tc', 1, 1, 2)])
  t.same(vote?.backends[1]?.counters, [row('tc', 3, 3, 2)])
  t.same(
    vote?.counters,
    [row('sock', 2, 2, 0), row('tc', 8, 4, 4)],
    'with what a backend that left counted',
  )
  t.equal(readback.reads, 1, 'the kernel is read once for all')
  t.same(await client.service('overlay1', 'vote'), vote)
})

t.test('status', async (t) => {
  const { client } = await subject(t)
  const { uptimeSeconds, ...status } = await client.status()
  t.ok(uptimeSeconds > 0)
  t.same(status, {
    version: '1.2.3',
    node: 'node1',
    kernel: '6.18.0',
    revision: { desired: 7, applied: 6, answering: 5 },
    reconcile: {
      ...{ cycles: 40, failures: 1, repaired: 2 },
      ...{ lastDurationSeconds: 0.0125, lastError: 'map vips4 is full' },
    },
    sources: [{ name: 'file', from: '/etc/fairlead.yaml', problems: 1 }],
    networks: 1,
    services: 2,
    problems: 1,
    attachments: report().attachments,
    ipvs: 'absent',
    features: report().features,
  })
})

t.test('networks, problems, drops and maps', async (t) => {
  const { client } = await subject(t)
  t.match(await client.networks(), [{ name: 'overlay1', services: 2, dns: ['10.0.0.2:53'] }])
  t.match(await client.problems(), [{ item: 'service a/b', code: 'VALUE' }])
  t.same(await client.drops(), { drops: report().drops, events: report().events })
  t.same(await client.maps(), report().occupancy)
})

t.test('flows, page by page and filtered', async (t) => {
  const { client, path } = await subject(t)
  const pages = async (asked: Parameters<typeof client.flows>[0]) => {
    const found = []
    for await (const page of client.flows(asked)) found.push(page)
    return found
  }
  t.same(await pages({}), [report().flows])
  t.same(await pages({ limit: 2 }), [report().flows.slice(0, 2), report().flows.slice(2)])
  t.same(await pages({ protocol: 'udp', client: '2001:db8::/32' }), [[report().flows[1]]])
  t.same(await pages({ network: 'nothing' }), [[]])
  for (const query of ['limit=0', 'limit=x', 'limit=10001', 'state=odd', 'client=odd', 'odd=1']) {
    const { status, body } = await send(path, 'GET', `/v1/flows?${query}`)
    t.equal(status, 422, query)
    t.match(JSON.parse(body), { code: 'VALUE', message: /\S/ })
  }
})

t.test('counters by service and by backend', async (t) => {
  const { client, path } = await subject(t)
  const { uptimeSeconds, counters } = await client.counters()
  t.ok(uptimeSeconds > 0)
  const totals = (scale: number, active: number) => ({
    ...{ packetsIn: 10 * scale, bytesIn: 1000 * scale, packetsOut: 8 * scale },
    ...{ bytesOut: 8000 * scale, connections: 2 * scale, active },
  })
  const vote = { network: 'overlay1', service: 'vote' }
  t.same(counters, [{ ...vote, ...totals(10, 6) }])
  t.same((await client.counters({ by: 'backend', service: 'overlay1/vote' })).counters, [
    { ...vote, backend: '10.0.0.5', ...totals(3, 3) },
    { ...vote, backend: '10.0.0.6', ...totals(3, 3) },
    { ...vote, backend: '', ...totals(4, 0) },
  ])
  t.same((await client.counters({ network: 'other' })).counters, [])
  t.equal((await send(path, 'GET', '/v1/counters?by=odd')).status, 422)
})

t.test('metrics, where there are any', async (t) => {
  const metrics = {
    contentType: 'text/plain; version=0.0.4',
    render: () => Promise.resolve(Buffer.from('a 1\n')),
  }
  const { path } = await subject(t, { metrics })
  t.same(await send(path, 'GET', '/metrics'), {
    ...{ status: 200, body: 'a 1\n', type: metrics.contentType },
  })
  t.equal((await send((await subject(t)).path, 'GET', '/metrics')).status, 404)
})

t.test('what is not there is 404 with a code', async (t) => {
  const { path, client } = await subject(t)
  for (const target of ['/', '/v1', '/v2/status', '/v1/services/overlay1', '/v1/status/']) {
    const { status, body } = await send(path, 'GET', target)
    t.equal(status, 404, target)
    t.match(JSON.parse(body), { code: 'ROUTE', message: target })
  }
  const { status, body } = await send(path, 'GET', '/v1/services/overlay1/nothing')
  t.equal(status, 404)
  t.match(JSON.parse(body), { code: 'REFERENCE', message: 'overlay1/nothing' })
  await t.rejects(client.service('a/b', '../c?d#e%'), {
    ...{ code: 'REFERENCE', message: 'a/b/../c?d#e%' },
  })
  await t.rejects(client.service('__proto__', 'toString'), { code: 'REFERENCE' })
})

t.test('nothing can be changed', async (t) => {
  const { path } = await subject(t)
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
    t.equal((await send(path, method, '/v1/services')).status, 404, method)
  }
  t.equal((await send(path, 'POST', '/v1/reload')).status, 404, 'unless main gives a reload')
})

t.test('reload', async (t) => {
  let reloads = 0
  let failure: Error | undefined
  const errors: unknown[] = []
  const { path, client } = await subject(t, {
    reload: () => {
      reloads++
      return failure === undefined ? Promise.resolve() : Promise.reject(failure)
    },
    onError: (error) => errors.push(error),
  })
  t.equal(await client.reload(), 7)
  t.equal(reloads, 1)
  t.equal((await send(path, 'GET', '/v1/reload')).status, 404)
  failure = new FairleadError('SCHEMA', 'a.yaml:3:1 services: must be a list')
  await t.rejects(client.reload(), { code: 'SCHEMA', message: failure.message })
  t.equal((await send(path, 'POST', '/v1/reload')).status, 422)
  t.same(errors, [])
  failure = new Error('the disk is on fire')
  await t.rejects(client.reload(), { code: 'AGENT', message: 'INTERNAL: the disk is on fire' })
  t.same(errors, [failure])
})

t.test('a kernel that cannot be read is a 500, and the server lives on', async (t) => {
  const { client, readback } = await subject(t)
  readback.failure = new Error('maps are gone')
  await t.rejects(client.services(), { code: 'AGENT', message: 'maps are gone' })
  t.equal((await client.status()).node, 'node1')
})

t.test('requests are bounded', async (t) => {
  const { path } = await subject(t, { reload: () => Promise.resolve() })
  const large = await send(path, 'POST', '/v1/reload', JSON.stringify('x'.repeat(2000)))
  t.equal(large.status, 413)
  t.match(JSON.parse(large.body), { code: 'REQUEST' })
  t.equal((await send(path, 'POST', '/v1/reload', '{')).status, 400)
  t.equal((await send(path, 'GET', `/v1/services/a/${'x'.repeat(500)}`)).status, 414)
  t.equal((await send(path, 'GET', `/${'x'.repeat(9000)}`)).status, 431)
  t.equal((await send(path, 'GET', '/v1/services/%zz/x')).status, 400)
  const socket = connect(path)
  socket.write('not http\r\n\r\n')
  const [answer] = (await once(socket, 'data')) as [Buffer]
  t.match(answer.toString(), /^HTTP\/1.1 400/)
  socket.destroy()
})

t.test('the socket is for its group alone, and goes with the server', async (t) => {
  const { server, path } = await subject(t)
  t.equal(statSync(path).mode & 0o777, 0o660)
  t.ok(statSync(path).isSocket())
  await server.close()
  t.throws(() => statSync(path), { code: 'ENOENT' })
  await server.close()
})

t.test('a second agent is refused and does not harm the first', async (t) => {
  const { path, client } = await subject(t)
  await t.rejects(listening(t, path), {
    ...{ code: 'HOST', message: `another agent answers at ${path}` },
  })
  t.equal((await client.status()).node, 'node1')
})

t.test('a stale socket is replaced; another kind of file is not', async (t) => {
  const folder = folderOf(t)
  const stale = join(folder, 'stale.sock')
  const dead = createServer().listen(stale)
  await once(dead, 'listening')
  // A socket file outlives its process if that is killed; here a name of it outlives the server.
  const left = join(folder, 'left.sock')
  linkSync(stale, left)
  await new Promise((resolve) => dead.close(resolve))
  await listening(t, left)
  t.equal((await new AgentClient(left).status()).node, 'node1')

  const file = join(folder, 'file')
  writeFileSync(file, 'precious')
  await t.rejects(listening(t, file), { code: 'HOST', message: 'not a socket' })
  t.equal(statSync(file).size, 8)
})

t.test('a path that cannot be is a FairleadError', async (t) => {
  const folder = folderOf(t)
  const long = join(folder, 'x'.repeat(100))
  await t.rejects(listening(t, long), { code: 'HOST', message: 'over 107 bytes' })
  const file = join(folder, 'file')
  writeFileSync(file, '')
  await t.rejects(listening(t, join(file, 'a.sock')), { code: 'HOST' })
})

t.test('the client says why there is no answer', async (t) => {
  const folder = folderOf(t)
  const absent = join(folder, 'absent.sock')
  await t.rejects(new AgentClient(absent).status(), {
    ...{ code: 'AGENT', message: `no agent answers at ${absent}: there is no such socket` },
  })
  const other = join(folder, 'other.sock')
  const replies = ['HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}', 'SSH-2.0-x\r\n']
  const server = createServer((socket) => socket.end(replies.shift() ?? '')).listen(other)
  await once(server, 'listening')
  t.teardown(() => void server.close())
  const client = new AgentClient(other)
  await t.rejects(client.status(), { code: 'AGENT', message: 'not of a known shape' })
  await t.rejects(client.status(), { code: 'AGENT', message: 'no agent answers' })
  await t.rejects(client.status(), { code: 'AGENT', message: 'no agent answers' })
})

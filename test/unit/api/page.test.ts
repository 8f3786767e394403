/** The listener for people: the token, whose requests are answered, and the page's own files. */
import { randomBytes } from 'node:crypto'
import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { HttpServer } from '../../../src/api/httpServer.js'
import { Token } from '../../../src/api/token.js'
import { apiFixture } from './fixture.js'

const secret = randomBytes(32).toString('hex')
const bearer = { authorization: `Bearer ${secret}` }

async function listening(t: Test) {
  const fixture = apiFixture({ reload: () => Promise.resolve() })
  const server = await HttpServer.ofPage({
    ...{ ...fixture.api, host: '127.0.0.1', port: 0 },
    ...{ token: new Token(secret), names: ['node1.example'] },
  })
  await server.listen()
  t.teardown(() => server.close())
  return { ...fixture, server, port: server.port ?? 0 }
}

interface Answer {
  readonly status: number
  readonly headers: NodeJS.Dict<string | string[]>
  readonly body: string
}

/** fetch sets Host itself. */
function send(
  port: number,
  path: string,
  headers: Record<string, string> = {},
  method = 'GET',
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, path, method, headers, agent: false }
    const exchange = request(options, (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (text: string) => (body += text))
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body })
      })
    })
    exchange.on('error', reject)
    exchange.end()
  })
}

t.test('nothing of the node is told without the token', async (t) => {
  const { port } = await listening(t)
  const wrong = [
    {},
    { authorization: 'Bearer' },
    { authorization: `Basic ${secret}` },
    { authorization: `Bearer ${secret.slice(0, -1)}` },
    { authorization: `Bearer ${secret}x` },
    { authorization: `Bearer ${'x'.repeat(64)}` },
    { cookie: `token=${secret}` },
  ]
  for (const headers of wrong) {
    for (const path of ['/v1/status', '/v1/live', '/v1/openapi.json', '/metrics', '/nothing']) {
      const { status, headers: told, body } = await send(port, path, headers)
      t.equal(status, 401, `${path} ${JSON.stringify(headers)}`)
      t.equal(told['www-authenticate'], 'Bearer realm="fairlead"')
      t.match(JSON.parse(body), { code: 'TOKEN' })
    }
  }
  t.equal((await send(port, `/v1/status?token=${secret}`)).status, 401, 'not in a URL')
  t.equal((await send(port, '/healthz')).body, 'ok\n')
})

t.test('with the token it is the API, to read', async (t) => {
  const { port } = await listening(t)
  const { status, headers, body } = await send(port, '/v1/status', bearer)
  t.equal(status, 200)
  t.match(JSON.parse(body), { node: 'node1' })
  t.equal(headers['cache-control'], 'no-store')
  t.equal(headers['access-control-allow-origin'], undefined)
  t.equal((await send(port, '/metrics', bearer)).body, 'a 1\n')
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
    const refused = await send(port, '/v1/reload', bearer, method)
    t.equal(refused.status, 405, method)
    t.equal(refused.headers['allow'], 'GET, HEAD')
  }
  t.equal((await send(port, '/v1/reload', bearer)).status, 404)
})

t.test('a name that is not known is refused, as DNS rebinding would bring it', async (t) => {
  const { port } = await listening(t)
  const known = ['127.0.0.1', 'localhost', `LOCALHOST:${port}`, '[::1]:9752', 'node1.example:80']
  for (const host of known)
    t.equal((await send(port, '/v1/status', { ...bearer, host })).status, 200, host)
  for (const host of [
    'evil.example',
    `node1.example.evil:${port}`,
    '127.0.0.1.evil',
    'x@localhost',
    'localhost/x',
  ]) {
    for (const path of ['/', '/v1/status']) {
      const { status } = await send(port, path, { ...bearer, host })
      t.equal(status, 421, `${host} ${path}`)
    }
  }
})

t.test('scripts of other sites are refused', async (t) => {
  const { port } = await listening(t)
  const ask = async (origin: string) =>
    (await send(port, '/v1/status', { ...bearer, origin, host: `127.0.0.1:${port}` })).status
  t.equal(await ask(`http://127.0.0.1:${port}`), 200)
  t.equal(await ask(`https://127.0.0.1:${port}`), 200, 'a proxy took TLS off')
  t.equal(await ask('http://evil.example'), 403)
  t.equal(await ask(`http://127.0.0.1:${port + 1}`), 403)
  t.equal(await ask('null'), 403)
})

t.test('the page asks nobody but the agent, and runs nothing that is not its own', async (t) => {
  const { port } = await listening(t)
  const { status, headers, body } = await send(port, '/')
  t.equal(status, 200)
  t.equal(headers['content-type'], 'text/html; charset=utf-8')
  const policy = String(headers['content-security-policy'])
  t.match(policy, /default-src 'none'; script-src 'self'; style-src 'self'/)
  t.notMatch(policy, /unsafe|\*|https?:/)
  t.equal(headers['x-content-type-options'], 'nosniff')
  t.equal(headers['referrer-policy'], 'no-referrer')
  const links = [...body.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, link]) => link ?? '')
  t.ok(links.length >= 3)
  for (const link of [...links, '/licenses.txt']) {
    t.match(link, /^\//)
    const file = await send(port, link)
    t.equal(file.status, 200, link)
    const tag = String(file.headers['etag'])
    t.equal((await send(port, link, { 'if-none-match': tag })).status, 304)
  }
  t.notMatch(body, /<script>|style=|onload=/)
  t.equal((await send(port, '/../package.json')).status, 401)
  t.equal((await send(port, '/%2e%2e/package.json')).status, 401)
})

t.test('a token file that others may read, or with something else in it, is refused', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'fairlead-token-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, 'token')
  const write = (text: string, mode = 0o600): void => {
    writeFileSync(path, text)
    chmodSync(path, mode)
  }
  write(`${secret}\n`)
  t.ok((await Token.read(path)).grants(`Bearer ${secret}`))
  t.ok((await Token.read(path)).grants(`bearer  ${secret}`))
  t.notOk((await Token.read(path)).grants(undefined))
  for (const mode of [0o640, 0o604, 0o620]) {
    write(secret, mode)
    await t.rejects(Token.read(path), { code: 'CONFIG', message: `chmod 600` }, mode.toString(8))
  }
  for (const text of ['', 'short', 'x'.repeat(31), `${secret} ${secret}`, `ü${secret}`]) {
    write(text)
    await t.rejects(Token.read(path), { code: 'CONFIG', message: '32 to 512' })
  }
  write('x'.repeat(2000))
  await t.rejects(Token.read(path), { code: 'CONFIG', message: 'too large' })
  await t.rejects(Token.read(join(folder, 'none')), { code: 'FILE', message: 'ENOENT' })
  const link = join(folder, 'link')
  symlinkSync(path, link)
  write(secret, 0o644)
  await t.rejects(Token.read(link), { code: 'CONFIG' }, 'what a link leads to counts')
})

/** Single checks with real sockets and programs, in this namespace. */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer as createHttp, type RequestListener } from 'node:http'
import { createServer as createHttps } from 'node:https'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { probeOpener } from '../../../../src/host/probes.js'
import type { HealthCheck } from '../../../../src/model/types.js'
import { probe, type Outcome, type Target } from '../../../../src/sources/health/probe.js'

const timing = { intervalMs: 1000, timeoutMs: 500, rise: 1, fall: 1 }
const opener = probeOpener()
const target = (address = '127.0.0.1'): Target => ({ network: 'net', service: 'web', address })

async function checked(check: HealthCheck, address?: string, timeoutMs = 2000): Promise<Outcome> {
  return probe(target(address), check, opener, AbortSignal.timeout(timeoutMs))
}

async function listening(t: Test, server: Server, host = '127.0.0.1'): Promise<number> {
  server.listen(0, host)
  await once(server, 'listening')
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

/** A port of which nobody knows. */
async function closedPort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

function http(port: number, given: object = {}): HealthCheck {
  const type = 'http'
  return { type, port, path: '/', statuses: [[200, 399]], verify: false, ...timing, ...given }
}

t.test('tcp', async (t) => {
  for (const address of ['127.0.0.1', '::1']) {
    const port = await listening(
      t,
      createServer((socket) => socket.resume()),
      address,
    )
    t.same(await checked({ type: 'tcp', port, ...timing }, address), { result: 'ok' })
  }
  const refused = await checked({ type: 'tcp', port: await closedPort(), ...timing })
  t.equal(refused.result, 'refused')
  t.match(refused.error, /ECONNREFUSED/)
})

t.test('http: the status decides', async (t) => {
  let status = 200
  const port = await listening(
    t,
    createHttp((_, response) => response.writeHead(status).end('x'.repeat(100_000))),
  )
  for (const [code, statuses, result] of [
    [200, [[200, 399]], 'ok'],
    [302, [[200, 399]], 'ok'],
    [503, [[200, 399]], 'status'],
    [200, [[204, 204]], 'status'],
    [
      429,
      [
        [200, 200],
        [429, 429],
      ],
      'ok',
    ],
  ] as const) {
    status = code
    const outcome = await checked(http(port, { statuses }))
    t.equal(outcome.result, result, `${code}`)
    if (result === 'status') t.equal(outcome.error, `status ${code}`)
  }
})

t.test('http: what is sent', async (t) => {
  const seen: unknown[] = []
  const listener: RequestListener = ({ method, url, headers }, response) => {
    seen.push([method, url, headers.host, headers['user-agent']])
    response.end()
  }
  const v4 = await listening(t, createHttp(listener))
  const v6 = await listening(t, createHttp(listener), '::1')
  await checked(http(v4, { path: '/health?deep=1', host: 'shop.example:8080' }))
  await checked(http(v4))
  await checked(http(v6), '::1')
  t.same(seen, [
    ['GET', '/health?deep=1', 'shop.example:8080', 'fairlead'],
    ['GET', '/', `127.0.0.1:${v4}`, 'fairlead'],
    ['GET', '/', `[::1]:${v6}`, 'fairlead'],
  ])
})

t.test('http: those that are not', async (t) => {
  const answers: [string, string][] = [
    ['', 'closed without a word'],
    ['SSH-2.0-x\r\n', 'another protocol'],
    ['HTTP/1.1 200 OK\r\nX: ' + 'a'.repeat(100_000), 'an endless head'],
    ['HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n', 'a switch'],
  ]
  for (const [answer, what] of answers) {
    const port = await listening(
      t,
      createServer((socket) => socket.on('error', Boolean).end(answer)),
    )
    t.equal((await checked(http(port))).result, 'protocol', what)
  }
  t.equal((await checked(http(await closedPort()))).result, 'refused')
})

t.test('who does not answer in time', async (t) => {
  const port = await listening(
    t,
    createServer((socket) => socket.on('error', Boolean)),
  )
  const start = performance.now()
  t.same(await checked(http(port), undefined, 100), {
    result: 'timeout',
    error: 'no answer in time',
  })
  const took = performance.now() - start
  t.ok(took < 10_000, `${took.toFixed(0)} ms`)
})

t.test('https', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'fairlead-tls-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const [keyFile, certFile] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
      ...['-subj', '/CN=shop.example', '-addext', 'subjectAltName=DNS:shop.example'],
      ...['-days', '2', '-keyout', keyFile, '-out', certFile],
    ],
    { stdio: 'pipe' },
  )
  const names: unknown[] = []
  const tls = createHttps(
    { key: readFileSync(keyFile), cert: readFileSync(certFile) },
    (request, response) => {
      names.push((request.socket as unknown as { servername: unknown }).servername)
      response.end()
    },
  )
  const port = await listening(t, tls)
  const type = 'https'
  t.same(await checked(http(port, { type })), { result: 'ok' }, 'any certificate will do')
  t.same(await checked(http(port, { type, host: 'shop.example:443' })), { result: 'ok' })
  t.same(names, [false, 'shop.example'], 'SNI')
  const strict = await checked(http(port, { type, host: 'shop.example', verify: true }))
  t.equal(strict.result, 'certificate', 'self-signed')
  const plain = await listening(
    t,
    createHttp((_, response) => response.end()),
  )
  t.equal((await checked(http(plain, { type }))).result, 'protocol', 'not TLS')
})

const exec = (...command: string[]): HealthCheck => ({
  type: 'exec',
  port: 8080,
  command,
  ...timing,
})

t.test('exec: the exit code decides', async (t) => {
  t.same(await checked(exec('true')), { result: 'ok' })
  t.same(await checked(exec('false')), { result: 'exit', error: 'exit 1' })
  t.same(await checked(exec('sh', '-c', 'echo first; echo no room >&2; exit 3')), {
    result: 'exit',
    error: 'exit 3: no room',
  })
  t.same(await checked(exec('sh', '-c', 'kill -9 $$')), {
    result: 'exit',
    error: 'ended by SIGKILL',
  })
  const absent = await checked(exec('/nowhere/check'))
  t.equal(absent.result, 'error')
  t.match(absent.error, /ENOENT/)
})

t.test('exec: words are words, and the environment is ours', async (t) => {
  const words = exec('test', '127.0.0.1:8080 $HOME;x', '=', '{address}:{port} $HOME;x')
  t.same(await checked(words), { result: 'ok' })
  // Not all variables: a test runner adds its own, and a long PATH fills the bounded output.
  process.env['FAIRLEAD_SECRET'] = 'of the agent'
  t.teardown(() => delete process.env['FAIRLEAD_SECRET'])
  const script = `
    [ "$PATH" = "$0" ] || { echo "$PATH"; exit 2; }
    env | grep ^FAIRLEAD_ | sort | tr "\\n" " "
    exit 1`
  const seen = await checked(exec('sh', '-c', script, process.env['PATH'] ?? ''))
  t.equal(
    seen.error,
    'exit 1: FAIRLEAD_ADDRESS=127.0.0.1 FAIRLEAD_NETWORK=net FAIRLEAD_PORT=8080 FAIRLEAD_SERVICE=web',
  )
})

t.test('exec: endless output is bounded, and time ends all that was started', async (t) => {
  const marker = `3${process.pid}.5`
  const script = `sleep ${marker} & while :; do echo 0123456789; done`
  const done = await checked(exec('sh', '-c', script), undefined, 300)
  t.equal(done.result, 'timeout')
  // The kernel takes a moment to end a process.
  for (let i = 0; i < 100 && running(marker) !== undefined; i++)
    await new Promise((resolve) => setTimeout(resolve, 10))
  t.notOk(running(marker), 'no child is left')
})

t.test('exec: what a program leaves running does not hold up its result', async (t) => {
  const marker = `2${process.pid}.5`
  const start = performance.now()
  const done = await checked(exec('sh', '-c', `sleep ${marker} & exit 0`))
  t.same(done, { result: 'ok' })
  t.ok(performance.now() - start < 10_000)
  const pid = running(marker)
  if (pid !== undefined) process.kill(pid)
})

/** The pid of a sleep with this argument. */
function running(argument: string): number | undefined {
  for (const name of readdirSync('/proc').filter((each) => /^\d+$/.test(each))) {
    try {
      if (readFileSync(`/proc/${name}/cmdline`, 'utf8') === `sleep\0${argument}\0`)
        return Number(name)
    } catch {
      // It ended while we looked.
    }
  }
  return undefined
}

t.test('trouble of our own', async (t) => {
  const check: HealthCheck = { type: 'tcp', port: 80, ...timing }
  const lost = { ...target(), namespace: '/nowhere' }
  const outcome = await probe(lost, check, opener, AbortSignal.timeout(1000))
  t.equal(outcome.result, 'error')
  t.match(outcome.error, /no socket in \/nowhere/)
})

t.test('nothing is left open', async (t) => {
  const server = createHttp((_, response) => response.end())
  const port = await listening(t, server)
  const descriptors = (): number => readdirSync('/proc/self/fd').length
  await checked(http(port))
  const before = descriptors()
  await Promise.all(Array.from({ length: 300 }, () => checked(http(port))))
  await Promise.all(Array.from({ length: 5 }, () => checked(exec('false'))))
  server.closeAllConnections()
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.ok(descriptors() <= before + 2, `${before}, then ${descriptors()}`)
})

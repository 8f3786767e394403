/** Managers' agents tell, workers' agents listen: who is believed, and who is told anything at all. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, createServer as createTls } from 'node:tls'
import t, { type Test } from 'tap'
import { silent } from '../../../../src/host/log.js'
import { infoShape } from '../../../../src/sources/docker/shapes.js'
import { readCredentials } from '../../../../src/sources/swarm/credentials.js'
import { Exchange } from '../../../../src/sources/swarm/exchange.js'
import { lineOf, readLine, type Told } from '../../../../src/sources/swarm/wire.js'
import { sleep, until } from '../../../lib/netns.js'

const folder = mkdtempSync(join(tmpdir(), 'fle-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

function openssl(...args: string[]): void {
  execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' })
}

const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']

function authority(name: string): void {
  const files = ['-keyout', `${name}.key`, '-out', `${name}.crt`]
  openssl('req', '-x509', ...curve, '-subj', `/CN=${name}`, '-days', '2', ...files)
}

/** A node's data root, as the engine lays it out. */
function node(name: string, role: string, swarm: string, ca = 'ca'): string {
  const files = ['-keyout', `${name}.key`, '-out', `${name}.csr`]
  openssl('req', ...curve, '-subj', `/O=${swarm}/OU=${role}/CN=${name}`, ...files)
  const usage = 'extendedKeyUsage=serverAuth,clientAuth'
  writeFileSync(join(folder, 'ext'), `subjectAltName=DNS:${role},DNS:${name}\n${usage}\n`)
  const by = ['-CA', `${ca}.crt`, '-CAkey', `${ca}.key`, '-CAcreateserial', '-days', '2']
  openssl('x509', '-req', '-in', `${name}.csr`, ...by, '-extfile', 'ext', '-out', `${name}.crt`)
  const root = join(folder, `root-${name}`)
  const certificates = join(root, 'swarm/certificates')
  mkdirSync(certificates, { recursive: true })
  const read = (file: string): string => readFileSync(join(folder, file), 'utf8')
  writeFileSync(join(certificates, 'swarm-node.crt'), read(`${name}.crt`))
  writeFileSync(join(certificates, 'swarm-root-ca.crt'), read(`${ca}.crt`))
  // The engine's own notes are within the block.
  const key = read(`${name}.key`).replace(
    'KEY-----\n',
    'KEY-----\nkek-version: 0\nraft-dek: Ei+\n\n',
  )
  writeFileSync(join(certificates, 'swarm-node.key'), key)
  return root
}

authority('ca')
authority('other')
const roots = {
  manager: node('m1', 'swarm-manager', 's1'),
  worker: node('w1', 'swarm-worker', 's1'),
  /** By an authority that signs for two swarms. */
  neighbour: node('w2', 'swarm-worker', 's2'),
  rival: node('m2', 'swarm-manager', 's2'),
  stranger: node('w3', 'swarm-worker', 's1', 'other'),
}

const told: Told = {
  nodes: ['192.0.2.1', '192.0.2.2'],
  services: [
    {
      ...{ name: 'vote', networkId: 'n1', mode: 'vip', vip: '10.0.1.2' },
      labels: { 'fairlead.algorithm': 'sh', 'com.example.secret': 'x' },
      publish: [{ protocol: 'udp', port: 5353, targetPort: 53 }],
      tasks: [
        {
          ...{ address: '10.0.1.4', state: 'draining', slot: '1', id: 'a' },
          ...{ node: 'node1', nodeAddress: '192.0.2.1' },
        },
      ],
    },
  ],
}

function info(root: string, manages: boolean, address = '127.0.0.1') {
  const Swarm = {
    ...{ LocalNodeState: 'active', ControlAvailable: manages, NodeAddr: '127.0.0.1' },
    RemoteManagers: [{ Addr: `${address}:2377` }],
  }
  return infoShape.parse({ DockerRootDir: root, Swarm })
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

interface Pair {
  readonly teller: Exchange
  readonly listener: Exchange
  readonly times: () => number
}

async function pair(t: Test, tellerRoot: string, listenerRoot: string): Promise<Pair> {
  const port = await freePort()
  let count = 0
  const options = { port, log: silent }
  const teller = new Exchange({ ...options, onTold: () => undefined })
  const listener = new Exchange({ ...options, onTold: () => count++ })
  t.teardown(async () => {
    await listener.close()
    await teller.close()
  })
  await teller.follow(info(tellerRoot, true))
  teller.tell(told)
  await listener.follow(info(listenerRoot, false))
  return { teller, listener, times: () => count }
}

t.test('a worker is told what a manager knows, and each change of it', async (t) => {
  const { teller, listener, times } = await pair(t, roots.manager, roots.worker)
  const [vote] = told.services
  await until('it to be told', () => listener.told)
  const labels = { 'fairlead.algorithm': 'sh' }
  t.same(listener.told, { ...told, services: [{ ...vote, labels }] }, 'labels of others stay')
  t.equal(times(), 1)
  teller.tell(told)
  teller.tell({ ...told, services: [] })
  await until('the change', () => listener.told?.services.length === 0)
  t.equal(times(), 2, 'what does not differ is no news')
})

t.test('without a manager that speaks there is what was said last', async (t) => {
  const { teller, listener } = await pair(t, roots.manager, roots.worker)
  await until('it to be told', () => listener.told)
  await teller.close()
  await until('it to be heard no more', () => listener.told === undefined)
  t.equal(listener.last?.services.length, 1)
  await teller.follow(info(roots.manager, true))
  teller.tell(told)
  await until('it to be heard again', () => listener.told)
  // A node that is promoted has a store of its own.
  await listener.follow(info(roots.worker, true))
  t.equal(listener.last, undefined)
})

for (const [who, from, to] of [
  ['a node of another swarm is told nothing', roots.manager, roots.neighbour],
  ['nor one whose certificate another authority gave', roots.manager, roots.stranger],
  ['a worker is not believed to be a manager', roots.worker, roots.worker],
] as const)
  t.test(who, async (t) => {
    const { listener } = await pair(t, from, to)
    await sleep(700)
    t.equal(listener.last, undefined)
  })

t.test('nor is a manager of another swarm', async (t) => {
  const { swarm, ...rival } = await readCredentials(roots.rival)
  t.equal(swarm, 's2')
  let asked = 0
  const server = createTls(rival, (socket) => {
    socket.on('error', () => undefined)
    socket.write(`${lineOf(told)}\n`)
  })
  server.on('connection', () => asked++)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const listener = new Exchange({ port, log: silent, onTold: () => undefined })
  t.teardown(async () => {
    await listener.close()
    server.close()
  })
  await listener.follow(info(roots.worker, false))
  await until('it to be asked again', () => asked > 1)
  t.equal(listener.last, undefined)
})

t.test('a node has one connection', async (t) => {
  const port = await freePort()
  const teller = new Exchange({ port, log: silent, onTold: () => undefined })
  t.teardown(() => teller.close())
  await teller.follow(info(roots.manager, true))
  const { swarm, ...own } = await readCredentials(roots.worker)
  t.equal(swarm, 's1')
  const open = async () => {
    const socket = connect({ host: '127.0.0.1', port, ...own, servername: 'swarm-manager' })
    socket.on('error', () => undefined)
    socket.resume()
    await once(socket, 'secureConnect')
    return socket
  }
  const first = await open()
  const gone = once(first, 'close')
  const second = await open()
  await gone
  teller.tell(told)
  await once(second, 'data')
  t.pass('the later one is told')
  second.destroy()
})

t.test('what is not understood is refused', (t) => {
  t.throws(() => readLine('{"version": 2}'), { code: 'SCHEMA', message: /version/ })
  t.throws(() => readLine('services'), { code: 'SCHEMA', message: /not JSON/ })
  const odd = lineOf(told).replace('10.0.1.4', 'localhost')
  t.throws(() => readLine(odd), { code: 'SCHEMA', message: /services\.0\.tasks\.0\.address/ })
  t.end()
})

t.test('off: nobody listens, nobody asks', async (t) => {
  const exchange = new Exchange({ port: 0, log: silent, onTold: () => undefined })
  await exchange.follow(info(roots.manager, true))
  await exchange.follow(info(roots.worker, false))
  exchange.tell(told)
  t.equal(exchange.told, undefined)
  await exchange.close()
})

/** An agent at the edge that is killed and comes again, in another mode too, and what detach leaves. */
import { existsSync, readdirSync } from 'node:fs'
import t, { type Test } from 'tap'
import { Link } from 'libbpf-ts'
import { EDGE, EdgeStage } from '../lib/edgeStage.js'
import { type Daemon, run, until } from '../lib/netns.js'

t.setTimeout(240_000)

/**
 * A long answer that is read slowly, and a datagram socket. For every line of stdin it tells how many
 * bytes have come so far, and who answers the datagram.
 */
const CLIENT = `
import socket, sys, threading, time
family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
stream = socket.create_connection((sys.argv[1], 80), 20)
stream.sendall(b'GET /bulk?4000000000 HTTP/1.0\\r\\n\\r\\n')
datagrams = socket.socket(family, socket.SOCK_DGRAM)
datagrams.settimeout(10)
got, state = 0, 'open'
def read():
    global got, state
    while True:
        try:
            part = stream.recv(65536)
        except OSError as error:
            state = type(error).__name__
            return
        if not part:
            state = 'closed'
            return
        got += len(part)
        time.sleep(0.02)
threading.Thread(target=read, daemon=True).start()
for line in sys.stdin:
    datagrams.sendto(b'x', (sys.argv[1], 53))
    who = datagrams.recv(100).decode().split()[0]
    print('at', line.strip(), got, state, who, flush=True)
`

class Client {
  #asked = 0
  #bytes = 0
  #who = ''

  constructor(
    private readonly daemon: Daemon,
    private readonly title: string,
  ) {}

  /** The stream has gone on since the last time, and datagrams find the same backend. */
  async goesOn(t: Test, what: string): Promise<void> {
    const seen = await until(`${this.title} ${what}`, async () => {
      const at = ++this.#asked
      this.daemon.child.stdin?.write(`${at}\n`)
      const [, bytes, state, who] = await this.daemon.printed(
        new RegExp(`^at ${at} (\\d+) (\\S+) (\\S+)$`, 'm'),
      )
      const now = { bytes: Number(bytes), state: state ?? '', who: who ?? '' }
      return (now.bytes > this.#bytes || now.state !== 'open') && now
    })
    t.equal(seen.state, 'open', `${this.title}: the stream goes on, ${what}`)
    if (this.#who !== '') t.equal(seen.who, this.#who, `${this.title}: the same backend, ${what}`)
    this.#who = seen.who
    this.#bytes = seen.bytes
  }
}

/** What is attached to the NIC, as the kernel tells: at most one program by XDP. */
async function attached(stage: EdgeStage): Promise<{ mode: number; program: number } | undefined> {
  const [link] = JSON.parse(await stage.node.ip('-j', '-d', 'link', 'show', 'eth0')) as {
    xdp?: { mode: number; prog?: { id: number }; attached?: unknown[] }
  }[]
  const xdp = link?.xdp
  if (!xdp) return undefined
  if (xdp.attached && xdp.attached.length > 1) throw new Error('attached twice')
  return { mode: xdp.mode, program: xdp.prog?.id ?? 0 }
}

/** Ids of the pinned links, by name. */
function pinned(stage: EdgeStage): Record<string, number> {
  const folder = `${stage.agent.pins}/links`
  return Object.fromEntries(
    readdirSync(folder).map((name) => {
      using link = Link.openPinned(`${folder}/${name}`)
      return [name, link.id ?? 0]
    }),
  )
}

/** Of `ip link`. */
const MODES = { native: 1, generic: 2 } as const

t.test('killed, started again, in another mode, and detached', async (t) => {
  const stage = await EdgeStage.build(t, 2)
  const { agent } = stage
  agent.write(stage.definition('native'))
  agent.start()
  await agent.ready(60_000)
  const clients = [EDGE.near4, EDGE.near6].map(
    (host) => new Client(stage.client.spawn('python3', ['-c', CLIENT, host]), host),
  )
  const goOn = async (what: string): Promise<void> => {
    for (const client of clients) await client.goesOn(t, what)
    for (const host of [EDGE.near4, `[${EDGE.near6}]`]) {
      const { stdout, stderr } = await stage.curl(`http://${host}/`)
      t.match(stdout, /^backend-/, `a new connection to ${host}, ${what} ${stderr}`)
    }
  }
  await goOn('at first')
  const before = pinned(stage)
  const first = await attached(stage)
  t.equal(first?.mode, MODES.native)

  for (const round of [1, 2]) {
    await agent.stop('SIGKILL')
    await goOn(`without an agent, round ${round}`)
    t.same(pinned(stage), before, 'every link is pinned still')
    agent.start()
    await agent.ready(60_000)
    await goOn(`with another, round ${round}`)
    t.same(pinned(stage), before, 'no link was made anew, none is there twice')
    const now = await attached(stage)
    t.equal(now?.mode, MODES.native)
    t.not(now?.program, first?.program, 'the program was replaced in place')
    for (const program of ['from_wire', 'from_edge', 'to_edge']) {
      const count = await agent.metric('fairlead_attachments', `program="${program}"`)
      t.equal(count, 1, `${program} is attached once`)
    }
  }

  await agent.stop('SIGKILL')
  agent.write(stage.definition('generic'))
  agent.start()
  await agent.ready(60_000)
  await goOn('in generic mode')
  t.equal((await attached(stage))?.mode, MODES.generic)
  t.same(Object.keys(pinned(stage)).sort(), Object.keys(before).sort(), 'as many links as before')

  await agent.stop('SIGKILL')
  await run(process.execPath, [agent.program, 'detach', '--pins', agent.pins])
  t.equal(await attached(stage), undefined, 'detach takes the XDP program away')
  t.notOk(existsSync(agent.pins))
  const left = await stage.node.run('tc', ['filter', 'show', 'dev', 'eth0', 'ingress'])
  t.equal(left.stdout, '')
  const gone = await stage.curl(`http://${EDGE.far4}/`, '--connect-timeout', '1')
  t.not(gone.code, 0, 'the VIP is nobody any more')
  const ping = await stage.client.run('ping', ['-c1', '-W2', EDGE.node4], { mayFail: true })
  t.equal(ping.code, 0, 'the node itself answers as ever')
})

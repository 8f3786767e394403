/** `fairlead pcap`: what real connections look like in tshark, and what a capture leaves behind. */
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Daemon } from '../lib/netns.js'
import { run, until } from '../lib/netns.js'
import { CLIENT4, CLIENT6, Stage, VIP4, VIP6 } from '../lib/stage.js'

interface Frame {
  readonly src: string
  readonly dst: string
  readonly flags: string
  readonly comment: string
  readonly length: number
  readonly kept: number
  readonly interface: string
  readonly sport: string
}

const FIELDS = [
  ...['ip.src', 'ip.dst', 'ipv6.src', 'ipv6.dst', 'tcp.flags.str', 'frame.comment'],
  ...['frame.len', 'frame.cap_len', 'frame.interface_name', 'tcp.srcport', 'udp.srcport'],
]

/** As a program reads them that we did not write. */
async function framesOf(file: string): Promise<Frame[]> {
  const fields = FIELDS.flatMap((field) => ['-e', field])
  const args = ['-r', file, '-T', 'fields', '-E', 'separator=|', ...fields]
  const { stdout } = await run('tshark', args)
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [src4 = '', dst4 = '', src6 = '', dst6 = '', flags = '', ...rest] = line.split('|')
      const [comment = '', length = '', kept = '', name = '', tcp = '', udp = ''] = rest
      return {
        ...{ src: src4 || src6, dst: dst4 || dst6, flags: flags.replaceAll('·', ''), comment },
        ...{ length: Number(length), kept: Number(kept), interface: name, sport: tcp || udp },
      }
    })
}

/** Starts a capture into a file and waits until the programs are there. */
async function capturing(stage: Stage, name: string, ...args: string[]): Promise<[Daemon, string]> {
  const file = join(stage.agent.folder, `${name}.pcapng`)
  const daemon = stage.node.spawn(process.execPath, [
    ...[stage.agent.program, 'pcap', 'net1/web', '-w', file, '--socket', stage.agent.socket],
    ...args,
  ])
  // The head is written when the last of the programs is there.
  await until('the head of the file', () => {
    if (!daemon.running) throw new Error(daemon.stderr)
    return existsSync(file) && statSync(file).size > 0
  })
  t.ok((await attached(stage)) > 0, 'programs are there')
  return [daemon, file]
}

/** How many interfaces of the node have our capture on them. */
async function attached(stage: Stage): Promise<number> {
  const { stdout } = await stage.node.run('bpftool', ['-j', 'link', 'show'])
  const links = JSON.parse(stdout) as { prog_id?: number; netns_ino?: number }[]
  const shown = await stage.node.run('bpftool', ['-j', 'prog', 'show'])
  const programs = (JSON.parse(shown.stdout) as { id: number; name?: string }[])
    .filter(({ name }) => name?.startsWith('capture_'))
    .map(({ id }) => id)
  return links.filter(({ prog_id = 0 }) => programs.includes(prog_id)).length
}

function seen(t: Test, frames: readonly Frame[], what: Partial<Frame>, words: RegExp): void {
  const found = frames.filter((frame) =>
    Object.entries(what).every(([key, value]) => frame[key as keyof Frame] === value),
  )
  t.ok(found.length > 0, `${JSON.stringify(what)}: there is one`)
  t.match(found[0]?.comment, words)
}

t.test('both ends of a translation, with the decision beside each packet', async (t) => {
  const stage = await Stage.build(t, 2)
  await stage.start(stage.definition(false))
  const [capture, file] = await capturing(stage, 'all', '--seconds', '60')
  for (const host of [VIP4, `[${VIP6}]`])
    t.match((await stage.curl(`http://${host}/`, '--data', 'secret')).stdout, /^[0-9a-f]{64}/)
  await stage.curl(`http://${VIP4}:81/`)
  t.equal(await capture.stop('SIGINT'), 0, capture.stderr)
  await until('the programs to be gone', async () => (await attached(stage)) === 0)

  const frames = await framesOf(file)
  for (const [client, vip] of [
    [CLIENT4, VIP4],
    [CLIENT6, VIP6],
  ] as const) {
    const backends = stage.backends.map(({ v4, v6 }) => (vip === VIP4 ? v4 : v6))
    const syn = frames.find(({ src, dst, flags }) => src === client && dst === vip && flags === 'S')
    const to = / backend (\S+) port 80/.exec(syn?.comment ?? '')?.[1] ?? ''
    t.ok(backends.includes(to), syn?.comment ?? 'there is a SYN')
    t.match(syn?.comment, /^client to VIP, before translation; service net1\/web; backend /)
    seen(t, frames, { src: client, dst: to, flags: 'S' }, /^client to backend, after translation/)
    seen(t, frames, { src: to, dst: client, flags: 'AS' }, /^backend to client, before translation/)
    seen(t, frames, { src: vip, dst: client, flags: 'AS' }, /^VIP to client, after translation/)
    const established = frames.filter(({ src, dst }) => src === client && dst === vip).at(-1)
    t.match(established?.comment, /ESTABLISHED|_WAIT/)
  }
  for (const { kept, length } of frames) t.ok(kept <= 94 && kept <= length, 'headers alone')
  const { stdout } = await run('grep', ['-c', 'secret', file], { mayFail: true })
  t.equal(stdout.trim(), '0', 'nothing that was said is in it')
})

t.test('a count, a client, a backend, a length, and why something is refused', async (t) => {
  const stage = await Stage.build(t, 2)
  const [one, other] = stage.backends
  if (one === undefined || other === undefined) throw new Error('there are no backends')
  await stage.start(stage.definition(false))
  const [capture, file] = await capturing(
    ...([stage, 'some', '--count', '6', '--snaplen', '2048'] as const),
    ...['--client', `${CLIENT4}/31`, '--backend', one.v4],
  )
  for (let dials = 0; dials < 4; dials++) {
    await stage.curl(`http://${VIP4}/client`)
    await stage.curl(`http://[${VIP6}]/client`)
  }
  t.equal(await capture.exited, 0, capture.stderr)
  const frames = await framesOf(file)
  t.equal(frames.length, 6)
  for (const { comment, src, dst } of frames) {
    t.match(comment, `backend ${one.v4} port 80`)
    t.ok([src, dst].includes(CLIENT4), `${src} ${dst}`)
  }
  t.ok(frames.every(({ kept, length }) => kept === Math.min(2048, length)))

  await stage.agent.apply(stage.definition(false, stage.service({ backends: [] })))
  const [empty, refusals] = await capturing(stage, 'empty', '--count', '2')
  t.match((await stage.curl(`http://${VIP4}/`)).stderr, /Couldn't connect/)
  t.equal(await empty.exited, 0, empty.stderr)
  const [syn, reset] = await framesOf(refusals)
  t.match(syn?.comment, /^client to VIP, before .* service net1\/web; refused; no_backend$/)
  t.match(reset, { src: VIP4, dst: CLIENT4, flags: 'AR' })

  await stage.agent.apply(stage.definition(false))
  const [bounded, few] = await capturing(stage, 'few', '--seconds', '2', '--rate', '4')
  for (let dials = 0; dials < 8; dials++) await stage.curl(`http://${VIP4}/`)
  t.equal(await bounded.exited, 0, bounded.stderr)
  const kept = (await framesOf(few)).length
  t.ok(kept > 0 && kept <= 20, `${kept} of some hundred, at 4 a second`)

  const second = stage.agent.command('pcap', 'net1/none', '-w', '-')
  await t.rejects(second, /exit 4: fairlead: there is no service net1\/none/)
})

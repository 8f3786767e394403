/** What dig sees: every kind of name and record, over both transports. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'
import { backend, dig, network, serve, service, state } from './fixture.js'

const run = promisify(execFile)
const SOA = (apex: string): string =>
  `${apex} 5 IN SOA ns.overlay1. hostmaster.ns.overlay1. 7 3600 600 86400 5`

t.test('names and records', async (t) => {
  const { port } = await serve(t)
  const answers = async (...args: string[]): Promise<string[]> =>
    [...(await dig(port, ...args)).answer].sort()

  t.same(await answers('vote', 'A'), ['vote. 3 IN A 10.0.0.9'], 'the VIP, with its own TTL')
  t.same(await answers('vote', 'AAAA'), ['vote. 3 IN AAAA fd00:1::9'])
  t.same(await answers('ballot', 'A'), ['ballot. 3 IN A 10.0.0.9'], 'an alias')
  t.same(await answers('pool', 'A'), ['pool. 5 IN A 10.0.0.5', 'pool. 5 IN A 10.0.0.6'], 'dnsrr')
  for (const name of ['tasks.vote', 'tasks.ballot', 'tasks.vote.overlay1']) {
    t.same(await answers(name, 'A'), [`${name}. 3 IN A 10.0.0.10`, `${name}. 3 IN A 10.0.0.11`])
    t.same(await answers(name, 'AAAA'), [`${name}. 3 IN AAAA fd00:1::10`])
  }
  for (const name of ['1.vote', '1.ballot', '1.vote.overlay1', 'c0ffee', 'c0ffee.overlay1']) {
    t.same(await answers(name, 'A'), [`${name}. 3 IN A 10.0.0.10`], name)
    t.same(await answers(name, 'AAAA'), [`${name}. 3 IN AAAA fd00:1::10`], name)
  }
  t.same(await answers('vote.overlay1', 'A'), ['vote.overlay1. 3 IN A 10.0.0.9'])
  t.same(await answers('-x', '10.0.0.9'), ['9.0.0.10.in-addr.arpa. 3 IN PTR vote.overlay1.'])
  t.same(await answers('-x', '10.0.0.10'), [
    '10.0.0.10.in-addr.arpa. 3 IN PTR c0ffee.vote.overlay1.',
  ])
  t.same(await answers('-x', '10.0.0.11'), ['11.0.0.10.in-addr.arpa. 3 IN PTR 2.vote.overlay1.'])
  t.match((await answers('-x', 'fd00:1::9'))[0], /ip6\.arpa\. 3 IN PTR vote\.overlay1\.$/)
  t.match((await answers('-x', 'fd00:1::10'))[0], /PTR c0ffee\.vote\.overlay1\.$/)
  t.same(await answers('overlay1', 'SOA'), [SOA('overlay1.')])
  t.same(await answers('overlay1', 'NS'), ['overlay1. 5 IN NS ns.overlay1.'])
  t.same((await dig(port, 'overlay1', 'NS')).additional.at(-1), 'ns.overlay1. 5 IN A 127.0.0.1')
  t.match((await answers('vote', 'ANY'))[0], /HINFO "RFC8482" ""/)
})

t.test('SRV', async (t) => {
  const { port } = await serve(t)
  for (const name of ['_http._tcp.vote', '_80._tcp.vote', '_http._tcp.vote.overlay1']) {
    const { answer, additional } = await dig(port, name, 'SRV')
    t.same(answer, [`${name}. 3 IN SRV 0 0 80 vote.overlay1.`])
    t.same(additional, ['vote.overlay1. 3 IN A 10.0.0.9', 'vote.overlay1. 3 IN AAAA fd00:1::9'])
  }
  const pool = await dig(port, '_dns._udp.pool', 'SRV')
  t.same([...pool.answer].sort(), [
    '_dns._udp.pool. 5 IN SRV 0 3 5353 b.pool.overlay1.',
    '_dns._udp.pool. 5 IN SRV 0 7 5353 10-0-0-5.pool.overlay1.',
  ])
  t.same((await dig(port, '10-0-0-5.pool.overlay1')).answer.length, 1, 'its targets resolve')
  const tasks = await dig(port, '_http._tcp.tasks.vote', 'SRV')
  t.same([...tasks.answer].sort(), [
    '_http._tcp.tasks.vote. 3 IN SRV 0 1 8080 1.vote.overlay1.',
    '_http._tcp.tasks.vote. 3 IN SRV 0 1 8080 2.vote.overlay1.',
  ])
  t.equal(tasks.additional.length, 3, 'both families of the first, one of the second')
  for (const [name, status] of [
    ['_nope._tcp.vote', 'NXDOMAIN'],
    ['_http._udp.vote', 'NXDOMAIN'],
    ['_tcp.vote', 'NOERROR'],
  ] as const) {
    t.match(await dig(port, name, 'SRV'), { status, answer: [], authority: [SOA('.')] })
  }
})

t.test('what is not there', async (t) => {
  const { port, seen } = await serve(t)
  const cases: [string, string, string, string][] = [
    ['vote', 'MX', 'NOERROR', '.'],
    ['vote', 'TXT', 'NOERROR', '.'],
    ['vote', 'TYPE65', 'NOERROR', '.'],
    ['pool', 'AAAA', 'NOERROR', '.'],
    ['overlay1', 'A', 'NOERROR', 'overlay1.'],
    ['vote.overlay1', 'SRV', 'NOERROR', 'overlay1.'],
    ['nothere', 'A', 'NXDOMAIN', '.'],
    ['nothere.vote', 'A', 'NXDOMAIN', '.'],
    ['tasks.nothere', 'A', 'NXDOMAIN', '.'],
    ['nothere.overlay1', 'AAAA', 'NXDOMAIN', 'overlay1.'],
    ['secret', 'A', 'NXDOMAIN', '.'],
    ['secret.overlay2', 'A', 'NXDOMAIN', '.'],
    ['77.0.0.10.in-addr.arpa', 'PTR', 'NXDOMAIN', '0.0.10.in-addr.arpa.'],
    ['0.0.10.in-addr.arpa', 'PTR', 'NOERROR', '0.0.10.in-addr.arpa.'],
  ]
  for (const [name, type, status, apex] of cases) {
    const found = await dig(port, name, type)
    t.match(found, { status, answer: [], authority: [SOA(apex)] }, `${name} ${type}`)
    t.ok(found.flags.includes('aa'))
  }
  t.equal((await dig(port, 'example.com')).status, 'REFUSED', 'not ours and nobody to ask')
  t.equal((await dig(port, '-x', '10.0.2.9')).status, 'REFUSED', 'not a network of the asker')
  t.same(seen.drops, ['no_upstream', 'no_upstream'])
  t.match((await dig(port, 'vote.overlay2')).status, 'NXDOMAIN')
  t.equal((await dig(port, '+tcp', 'overlay1', 'AXFR')).answer.length, 0, 'no transfers')
})

t.test('the case of the question comes back', async (t) => {
  const { port } = await serve(t)
  const { question, answer } = await dig(port, 'VoTe.OverLAY1', 'A')
  t.equal(question, ';VoTe.OverLAY1. IN A')
  t.same(answer, ['VoTe.OverLAY1. 3 IN A 10.0.0.9'])
})

t.test('EDNS, truncation and TCP', async (t) => {
  const many = Array.from({ length: 100 }, (_, at) => backend(`10.0.0.${at + 1}`))
  const { port, seen } = await serve(t, {}, (listen) =>
    state(
      [network('overlay1', { dns: { listen } })],
      [service('big', { mode: 'dnsrr', backends: many })],
    ),
  )
  const plain = await dig(port, '+noedns', '+ignore', 'big')
  t.ok(plain.flags.includes('tc'))
  t.equal(plain.answer.length, Math.floor((512 - 12 - 9) / 16), 'as many as fit')
  t.equal(plain.edns, undefined)
  const small = await dig(port, '+bufsize=100', '+ignore', 'big')
  t.equal(small.answer.length, Math.floor((512 - 12 - 9 - 11) / 16), '512 at least')
  t.match(small.edns, /version: 0.*udp: 1232/)
  const large = await dig(port, '+bufsize=4096', '+ignore', 'big')
  t.equal(large.answer.length, Math.floor((1232 - 12 - 9 - 11) / 16), '1232 at most')
  const retried = await dig(port, 'big')
  t.equal(retried.answer.length, 100, 'dig goes on to TCP by itself')
  t.notOk(retried.flags.includes('tc'))
  t.equal((await dig(port, '+tcp', '+noedns', 'big')).answer.length, 100)
  t.ok(seen.answers.some(({ transport }) => transport === 'tcp'))
  t.equal((await dig(port, '+edns=1', '+noednsneg', 'big')).status, 'BADVERS')
  t.match((await dig(port, '+dnssec', '+bufsize=1232', '+ignore', 'big')).edns, /flags: do/)
  t.equal((await dig(port, '+cookie', '+nsid', '+subnet=10.0.0.0/8', 'big')).answer.length, 100)
  t.match(await dig(port, '-c', 'CH', 'version.bind', 'TXT'), { status: 'REFUSED', answer: [] })
  t.equal((await dig(port, '+opcode=NOTIFY', 'big', 'SOA')).status, 'NOTIMP')
})

t.test('shuffled each time', async (t) => {
  const { port } = await serve(t)
  const orders = new Set<string>()
  for (let at = 0; at < 30 && orders.size < 2; at++) {
    orders.add((await dig(port, '+short', 'pool')).text)
  }
  t.same([...orders].sort(), ['10.0.0.5\n10.0.0.6\n', '10.0.0.6\n10.0.0.5\n'])
})

t.test('host', async (t) => {
  const { port } = await serve(t)
  const { stdout } = await run('host', ['-p', String(port), 'vote.', '127.0.0.1'])
  t.match(stdout, /vote has address 10\.0\.0\.9/)
  t.match(stdout, /vote has IPv6 address fd00:1::9/)
  const reverse = await run('host', ['-p', String(port), '10.0.0.9', '127.0.0.1'])
  t.match(reverse.stdout, /domain name pointer vote\.overlay1\./)
})

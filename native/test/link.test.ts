import t from 'tap'
import { createConnection } from 'node:net'
import { readlinkSync } from 'node:fs'
import { BpfMap, Link } from '../index.js'
import {
  descriptors,
  failsWith,
  loadBasic,
  makeCgroup,
  makeNetns,
  makePinDirectory,
  present,
  rejectionOf,
  run,
  skip,
} from './fixture.js'

function filters(netns: string, device: string, direction: string): string {
  return run(
    'tc',
    '-n',
    netns.replace('/run/netns/', ''),
    'filter',
    'show',
    'dev',
    device,
    direction,
  )
}

t.test('XDP: native where the driver can, else generic', { skip }, async (t) => {
  const object = loadBasic(t)
  const netns = makeNetns(t)
  const before = readlinkSync('/proc/self/ns/net')
  const program = object.program('pass')
  const native = await program.attachXdp({ interface: 'a0', netns })
  t.equal(readlinkSync('/proc/self/ns/net'), before, 'this thread stays where it is')
  t.match(native, { hook: 'xdp', mode: 'native', refused: undefined })
  t.match(native.info(), { type: 'xdp', programId: program.id })
  t.equal(await rejectionOf(program.attachXdp({ interface: 'a0', netns })), 'EBUSY')
  const generic = await program.attachXdp({ interface: 'lo', netns })
  t.match(generic, { mode: 'generic', refused: 'EOPNOTSUPP' })
  const forced = program.attachXdp({ interface: 'b0', netns, mode: 'native' })
  t.equal((await forced).mode, 'native')
  ;(await forced).close()
  const skb = await program.attachXdp({ interface: 'b0', netns, mode: 'generic' })
  t.match(skb, { mode: 'generic', refused: undefined })
  await skb.update(object.program('grow'))
  t.equal(skb.info().programId, object.program('grow').id)
  t.equal(await rejectionOf(skb.update(object.program('second'))), 'EINVAL', 'another type')
  const both = program.attachXdp({ interface: 'lo', netns, mode: 'native' })
  t.equal(await rejectionOf(both), 'EEXIST', 'beside a generic one')
  for (const link of [native, generic, skb]) link.close()
  t.equal(
    await rejectionOf(program.attachXdp({ interface: 'lo', netns, mode: 'native' })),
    'EOPNOTSUPP',
  )
  await t.resolves(program.attachXdp({ interface: 'a0', netns }).then((link) => link.close()))
})

t.test('tcx: several in order, replaced in place', { skip }, async (t) => {
  const object = loadBasic(t)
  const netns = makeNetns(t)
  const place = { interface: 'a0', direction: 'ingress', netns } as const
  const last = await object.program('classify').attachTcx(place)
  const first = await object.program('second').attachTcx({ ...place, position: 'first' })
  t.equal(last.hook, 'tcx')
  t.match(last.info(), { type: 'tcx', attachType: 'tcx_ingress' })
  t.equal(last.info().programId, object.program('classify').id)
  t.ok(present(last.info().ifindex) > 0)
  const again = object.program('second').attachTcx(place)
  t.equal(await rejectionOf(again), 'EEXIST', 'a program is in a chain once')
  await last.update(object.program('jump'))
  t.equal(last.info().programId, object.program('jump').id)
  const egress = await object.program('emit').attachTcx({ ...place, direction: 'egress' })
  t.equal(egress.info().attachType, 'tcx_egress')
  const name = netns.replace('/run/netns/', '')
  run('ip', '-n', name, 'link', 'del', 'a0')
  t.equal(first.info().ifindex, 0, 'the device is gone')
  await t.resolves(first.detach(), 'which is no error')
  for (const link of [first, last, egress]) link.close()
})

t.test('a pinned link stays, and goes with its last holder', { skip }, async (t) => {
  const object = loadBasic(t)
  const netns = makeNetns(t)
  const path = `${makePinDirectory(t)}/link`
  const place = { interface: 'b0', direction: 'ingress', netns } as const
  const link = await object.program('classify').attachTcx(place)
  link.pin(path)
  link.close()
  const again = Link.openPinned(path)
  t.equal(again.hook, 'tcx')
  t.equal(again.info().programId, object.program('classify').id)
  t.throws(() => BpfMap.openPinned(path), failsWith('EINVAL'))
  again.unpin(path)
  await again.detach()
  await again.detach()
  t.equal(again.info().ifindex, 0)
  again.close()
  again[Symbol.dispose]()
  t.throws(() => again.info(), failsWith('EBADF'))
  t.equal(await rejectionOf(again.detach()), 'EBADF')
  t.throws(() => Link.openPinned(path), failsWith('ENOENT'))
})

t.test('clsact: a filter that the device holds', { skip }, async (t) => {
  const object = loadBasic(t)
  const netns = makeNetns(t)
  const place = { interface: 'a0', direction: 'egress', netns, handle: 1, priority: 7 } as const
  t.equal(await rejectionOf(Link.openClsact(place)), 'ENOENT', 'no qdisc')
  const link = await object.program('classify').attachClsact(place)
  t.match(link, { hook: 'clsact', id: undefined })
  t.match(link.info(), { type: 'clsact', handle: 1, priority: 7 })
  t.match(filters(netns, 'a0', 'egress'), /pref 7 .*handle 0x1 classify.*direct-action/)
  await link.update(object.program('second'))
  t.match(filters(netns, 'a0', 'egress'), /handle 0x1 second/)
  await object.program('emit').attachClsact(place)
  t.equal(filters(netns, 'a0', 'egress').match(/handle/g)?.length, 1, 'replaced, not stacked')
  t.throws(() => link.pin('/sys/fs/bpf/x'), failsWith('EOPNOTSUPP'))
  link.close()
  t.equal(await rejectionOf(link.detach()), 'EBADF')
  const found = await Link.openClsact(place)
  t.equal(found.info().programId, object.program('emit').id)
  await found.detach()
  await found.detach()
  t.equal(await rejectionOf(Link.openClsact(place)), 'ENOENT', 'no filter')
  const chosen = await object.program('classify').attachClsact({ ...place, handle: 0, priority: 0 })
  t.ok(present(chosen.info().handle) > 0)
  t.ok(present(chosen.info().priority) > 0)
  run('ip', 'netns', 'exec', netns.replace('/run/netns/', ''), 'ip', 'link', 'del', 'a0')
  await t.resolves(chosen.detach(), 'the device is gone')
})

t.test('a program of another type fits neither tcx nor its fallback', { skip }, async (t) => {
  const object = loadBasic(t)
  const netns = makeNetns(t)
  const place = { interface: 'a0', direction: 'ingress', netns } as const
  const pass = object.program('pass')
  const refusal = { name: 'BpfError', code: 'EINVAL' }
  await t.rejects(pass.attachTcx({ ...place, fallback: false }), {
    ...refusal,
    operation: 'attachTcx',
  })
  await t.rejects(pass.attachTcx(place), { ...refusal, operation: 'attachClsact' })
})

t.test('cgroup: only processes inside are met', { skip }, async (t) => {
  const object = loadBasic(t)
  const path = makeCgroup(t)
  const link = await object.program('connect4').attachCgroup({ path, type: 'connect4' })
  t.equal(link.hook, 'cgroup')
  t.match(link.info(), { type: 'cgroup', attachType: 'connect4' })
  const inside = `echo $$ > ${path}/cgroup.procs; exec 3<>/dev/tcp/127.0.0.1/7`
  const attempt = (): string => {
    try {
      return run('bash', '-c', `{ ${inside}; } 2>&1`)
    } catch (error) {
      return (error as { stdout: string }).stdout
    }
  }
  t.match(attempt(), /Operation not permitted/)
  const code = await new Promise((done) =>
    createConnection(7, '127.0.0.1').once('error', (error: NodeJS.ErrnoException) => {
      done(error.code)
    }),
  )
  t.equal(code, 'ECONNREFUSED', 'outside nothing changes')
  await link.detach()
  t.match(attempt(), /Connection refused/)
  link.close()
  const wrong = object.program('connect4').attachCgroup({ path, type: 'connect6' })
  t.equal(await rejectionOf(wrong), 'EINVAL')
  const nowhere = object.program('connect4').attachCgroup({ path: '/tmp', type: 'connect4' })
  t.equal(await rejectionOf(nowhere), 'EBADF', 'no cgroup')
})

t.test('a namespace takes a socket lookup', { skip }, async (t) => {
  const object = loadBasic(t)
  const netns = makeNetns(t)
  const link = await object.program('find_socket').attachNetns({ netns, type: 'sk_lookup' })
  t.equal(link.hook, 'netns')
  t.equal(link.info().attachType, 'sk_lookup')
  link.close()
})

t.test('an iterator writes what it sees', { skip }, async (t) => {
  const object = loadBasic(t)
  const link = await object.program('list_maps').attachIter()
  t.equal(link.hook, 'iter')
  const text = Buffer.from(await link.read()).toString()
  t.match(text, `\n${object.map('smalls').id}\n`)
  link.close()
})

t.test('attaching leaks nothing, also when it fails', { skip }, async (t) => {
  const object = loadBasic(t)
  const netns = makeNetns(t)
  const pass = object.program('pass')
  await rejectionOf(pass.attachXdp({ interface: 'nothing', netns }))
  const before = descriptors().length
  for (let i = 0; i < 5; i++) {
    ;(await pass.attachXdp({ interface: 'a0', netns })).close()
    t.equal(await rejectionOf(pass.attachXdp({ interface: 'nothing', netns })), 'ENODEV')
    t.equal(await rejectionOf(pass.attachXdp({ interface: 9999, netns })), 'ENODEV')
    t.equal(await rejectionOf(pass.attachXdp({ interface: 'a0', netns: '/nowhere' })), 'ENOENT')
    t.equal(await rejectionOf(pass.attachXdp({ interface: 'a0', netns: '/dev/null' })), 'EINVAL')
    t.equal(await rejectionOf(pass.attachXdp({ interface: 'a0', netns: 0x7ffffffe })), 'ENOENT')
  }
  t.equal(descriptors().length, before)
})

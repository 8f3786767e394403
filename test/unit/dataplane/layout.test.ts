import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { BpfObject } from 'libbpf-ts'
import t from 'tap'
import { FairleadError } from '../../../src/errors.js'
import { checkRecords, LAYOUT_VERSION, readConstants } from '../../../src/dataplane/layout.js'
import { Bench, kernelTest, OBJECT_DIR } from './bench.js'
import { backend, network, service, state } from './fixtures.js'

t.test('the version is the one of maps.h', (t) => {
  const header = readFileSync(join(OBJECT_DIR, '../../bpf/maps.h'), 'utf8')
  t.equal(Number(/#define LAYOUT_VERSION (\d+)/.exec(header)?.[1]), LAYOUT_VERSION)
  t.end()
})

for (const file of ['tc.bpf.o', 'sock.bpf.o']) {
  t.test(`the records of ${file} are the ones that the agent binds`, (t) => {
    using object = BpfObject.open(join(OBJECT_DIR, file))
    t.doesNotThrow(() => checkRecords(object.types))
    const constants = readConstants(object.types)
    t.same(constants.paths, ['tc', 'sock', 'xdp'])
    t.equal(constants.dropReasons[0], 'none')
    t.ok(constants.events.includes('collision'))
    t.notOk(constants.events.includes('count'))
    t.end()
  })
}

t.test('a record without a field that the agent writes is refused by name', (t) => {
  using object = BpfObject.open(join(OBJECT_DIR, 'tc.bpf.o'))
  const { types } = object
  const renamed = new Proxy(types, {
    get: (_, property): unknown =>
      property === 'struct'
        ? (name: string) => types.struct(name === 'backend' ? 'service' : name)
        : Reflect.get(types, property),
  })
  let error: unknown
  try {
    checkRecords(renamed)
  } catch (caught) {
    error = caught
  }
  t.ok(error instanceof FairleadError && error.code === 'LAYOUT')
  t.match(String(error), /record backend of the BPF programs/)
  t.end()
})

kernelTest(t, 'pinned maps of another version are refused, and left alone', async (t, pinPath) => {
  const first = await Bench.open(pinPath)
  first.reconciler.apply(state(1, [network('n')], []))
  await first.reconciler.settled(1)
  first.maps.get('layout').set(0, { version: LAYOUT_VERSION + 1, incarnation: 5 })
  await first.close()
  const error: unknown = await Bench.open(pinPath).catch((caught: unknown) => caught)
  t.ok(error instanceof FairleadError && error.code === 'LAYOUT')
  t.match(String(error), new RegExp(`version ${LAYOUT_VERSION + 1}, not ${LAYOUT_VERSION}`))
  t.match(String(error), /fairlead detach/)
})

kernelTest(
  t,
  'pinned maps grow and shrink with the limits, and keep what they hold',
  async (t, pinPath) => {
    const services = Array.from({ length: 10 }, (_, i) =>
      service(`n/s${i}`, { vips: [`10.0.0.${100 + i}`], backends: [backend(`10.0.0.${10 + i}`)] }),
    )
    const put = async (bench: Bench) => {
      bench.reconciler.apply(state(1, [network('n')], services))
      await bench.reconciler.settled(1)
      t.same(bench.problems, [])
      await bench.maps.finishTransition()
      await bench.close()
    }
    const first = await Bench.open(pinPath, { limits: { services: 10 } })
    const flow = { vip: 1, flow: { vip_port: 80, client_port: 4000, backend: 7 } }
    const key = { network: 1, client: 1, client_port: 4000, protocol: 6 }
    const flows = (bench: Bench) => bench.maps.get('flows4')
    const zero = flows(first).valueCodec.decode(new Uint8Array(flows(first).valueSize)) as {
      flow: object
    }
    flows(first).set(key, { ...flow, flow: { ...zero.flow, ...flow.flow } })
    await put(first)

    const second = await Bench.open(pinPath, { limits: { services: 20, flows: 4096 } })
    t.equal(second.maps.get('services').maxEntries, 20)
    t.equal(second.installer.ids.services.last, 20)
    t.equal(flows(second).maxEntries, 4096)
    t.match(flows(second).get(key), flow)
    await put(second)
    t.equal(second.reconciler.writes, 0, 'its rows are all there')

    const third = await Bench.open(pinPath, { limits: { services: 5, flows: 512 } })
    t.equal(third.maps.get('services').maxEntries, 20, 'kept, because it holds more')
    t.equal(flows(third).maxEntries, 512)
    t.match(flows(third).get(key), flow)
    await put(third)
    t.equal(third.reconciler.writes, 0)
  },
)

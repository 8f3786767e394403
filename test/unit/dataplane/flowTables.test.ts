/** A large flow table is read page by page: each row once, and others get their turn. */
import t from 'tap'
import type { Flow, FlowFilter } from '../../../src/model/flows.js'
import { parseEnd } from '../../../src/model/flows.js'
import { Pace } from '../../../src/pace.js'
import { Bench, kernelTest } from './bench.js'

const ROWS4 = 120_000
const ROWS6 = 500
const TCP = 6

/** Counts how often others had their turn. */
class CountedPace extends Pace {
  static rests = 0

  override async rest(): Promise<void> {
    CountedPace.rests++
    return super.rest()
  }
}

function fill(bench: Bench, name: 'flows4' | 'flows6' | 'embryonic4', rows: number): void {
  const map = bench.maps.get(name)
  const keys = new Uint8Array(rows * map.keySize)
  const values = new Uint8Array(rows * map.valueSize)
  const v6 = name === 'flows6'
  for (let at = 0; at < rows; at++) {
    const client = v6 ? [0x2001_0db8, 0, 0, at] : 0x0a00_0000 + Math.floor(at / 60_000)
    const port = v6 ? 5000 : 1 + (at % 60_000)
    map.keyCodec.encode(
      { network: 1, client, client_port: port, protocol: TCP, pad: 0 },
      keys.subarray(at * map.keySize, (at + 1) * map.keySize),
    )
    const flow = {
      ...{ vip_port: 80, client_port: port, backend_port: 80, flags: 2 },
      ...{ service: 1, backend: 1, incarnation: 1, last_seen: 0, observed: 0 },
    }
    map.valueCodec.encode(
      { flow, vip: v6 ? [0xfd00_0000, 0, 0, 9] : 0x0a09_0009 },
      values.subarray(at * map.valueSize, (at + 1) * map.valueSize),
    )
  }
  const [first, last] = [map.raw, rows]
  for (let at = 0; at < last; at += 4096) {
    const count = Math.min(4096, last - at)
    first.setMany(
      keys.subarray(at * map.keySize, (at + count) * map.keySize),
      values.subarray(at * map.valueSize, (at + count) * map.valueSize),
      count,
    )
  }
}

async function pagesOf(bench: Bench, filter: FlowFilter, limit: number): Promise<Flow[][]> {
  const pages: Flow[][] = []
  let cursor: string | undefined
  do {
    const { flows, next } = await bench.readback.flows({
      ...{ filter, limit },
      ...(cursor !== undefined && { cursor }),
    })
    pages.push([...flows])
    cursor = next
  } while (cursor !== undefined && pages.length < 10_000)
  return pages
}

kernelTest(t, 'every row once, in pages, and others get their turn', async (t, pinPath) => {
  const bench = await Bench.open(pinPath, {
    limits: { flows: 262_144 },
    pace: () => new CountedPace(),
  })
  t.teardown(async () => bench.close())
  fill(bench, 'flows4', ROWS4)
  fill(bench, 'flows6', ROWS6)
  fill(bench, 'embryonic4', 10)

  const pages = await pagesOf(bench, {}, 10_000)
  const flows = pages.flat()
  const told = new Set(flows.map(({ client }) => `${client.address} ${client.port}`))
  t.equal(told.size, ROWS4 + ROWS6)
  t.equal(flows.length, ROWS4 + ROWS6 + 10, 'those that are in the embryonic table too')
  t.ok(pages.length >= 12, `${pages.length} pages`)
  for (const page of pages) t.ok(page.length < 12_000, `a page of ${page.length}`)
  t.ok(CountedPace.rests > pages.length, `${CountedPace.rests} rests`)
  t.match(flows[0], {
    protocol: 'tcp',
    state: 'ESTABLISHED',
    vip: { address: '10.9.0.9', port: 80 },
  })
  t.equal(flows[0]?.expiresSeconds, undefined, 'nothing has told the tick')

  const none = await pagesOf(bench, { protocol: 'udp' }, 1000)
  t.equal(none.flat().length, 0)
  t.equal(none.length, 2, 'a page ends although it has found nothing')
  const one = await pagesOf(bench, { client: parseEnd('2001:db8::7') }, 1000)
  t.same(
    one.flat().map(({ client }) => client),
    [{ address: '2001:db8::7', port: 5000 }],
  )
  t.equal((await bench.readback.flows({ filter: {}, limit: 1 })).flows.length < 1025, true)
})

kernelTest(t, 'a cursor that no page had is refused, or ends', async (t, pinPath) => {
  const bench = await Bench.open(pinPath)
  t.teardown(async () => bench.close())
  const ask = (cursor: string) => bench.readback.flows({ filter: {}, limit: 10, cursor })
  for (const cursor of [
    '',
    '0',
    '6.',
    '0.0',
    '0.00',
    'x.00',
    '0.0000000000000000000000000000',
    '-1.',
  ])
    await t.rejects(ask(cursor), { code: 'VALUE' }, cursor)
  const size = Math.max(bench.maps.get('flows4').keySize, 8)
  t.same(await ask(`0.${'ff'.repeat(size)}`), { flows: [] }, 'beyond the last bucket')
})

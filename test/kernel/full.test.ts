/**
 * A flow table that takes no more rows. LRU tables evict instead, so the programs are compiled once
 * more with plain ones.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { kernelTest, TC } from '../lib/kernel.js'
import { tcp, udp } from '../lib/packet.js'

const BPF = new URL('../../../bpf/', import.meta.url).pathname
const SOURCE = `
#include <linux/bpf.h>
#define BPF_MAP_TYPE_LRU_HASH BPF_MAP_TYPE_HASH
#include "tc.bpf.c"
`

const folder = mkdtempSync(join(tmpdir(), 'fl-full-'))
t.teardown(() => rmSync(folder, { recursive: true }))
writeFileSync(join(folder, 'full.bpf.c'), SOURCE)
// The Makefile knows the compiler and its flags; only the place of the sources differs.
const places = [`OUT=${folder}`, 'SOURCES=full.bpf.c']
execFileSync('make', ['-s', '-C', folder, '-f', join(BPF, 'Makefile'), ...places], {
  env: { ...process.env, CPATH: BPF },
})
const object = join(folder, 'full.bpf.o')

for (const [name, client, one, two, backend] of [
  ['IPv4', '10.1.0.2', '10.9.0.1', '10.9.0.2', '10.1.0.3'],
  ['IPv6', 'fd01::2', 'fd09::1', 'fd09::2', 'fd01::3'],
] as const) {
  const of = { src: client, sport: 1, dst: one, dport: 80 }

  kernelTest(
    t,
    `${name}: a flow that cannot be stored is dropped`,
    (t, dp) => {
      const service = dp.addService({ vips: [one], backends: [backend] })
      t.equal(dp.fromContainer(tcp(of)).verdict, TC.PASS)
      t.equal(dp.fromContainer(tcp({ ...of, sport: 2 })).verdict, TC.DROP)
      t.same(dp.counted(), { DROP_FLOW_TABLE: 1 })
      t.equal(dp.traffic(service.backends.get(backend) ?? 0).connections, 1)
      const direct = udp({ ...of, dst: backend })
      const out = dp.fromContainer(direct)
      t.equal(out.verdict, TC.PASS, 'a direct one does without a row')
      t.same(out.packet, direct)
      t.same(dp.counted(), { DROP_FLOW_TABLE: 1 })
    },
    { object, sizes: { embryonic4: 1, embryonic6: 1 } },
  )

  kernelTest(
    t,
    `${name}: a substitute that cannot be reached is taken back`,
    (t, dp) => {
      for (const vip of [one, two]) dp.addService({ vips: [vip], backends: [backend] })
      dp.fromContainer(tcp(of))
      t.equal(dp.fromContainer(tcp({ ...of, dst: two })).verdict, TC.PASS)
      t.equal(dp.fromContainer(tcp({ ...of, dst: two, dport: 81 })).verdict, TC.DROP)
      t.same(dp.counted(), { EVENT_COLLISION: 2, DROP_FLOW_TABLE: 1 })
      t.equal(dp.embryonic(name === 'IPv4' ? 4 : 6).count(), 2)
    },
    { object, sizes: { overflows: 1 } },
  )
}

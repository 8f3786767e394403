/** Two runs agree or do not; and plots are made of results alone, the same every time. */
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { documentOf } from '../../../bench/guest/document.js'
import { sharesOf } from '../../../bench/guest/run.js'
import { agreement } from '../../../bench/report/agreement.js'
import { writeReport } from '../../../bench/report/write.js'

const machine = { kernel: 'k', arch: 'a', cpu: 'c', cpus: 2, load: 0, mitigations: {} }

function guest(instructions: number, subject = 'ipvs-nat') {
  const lines = [
    { kind: 'calibrated', instructions: 20 },
    { kind: 'counted', subject, services: 1, case: 'frames', instructions },
  ] as const
  return { ...documentOf(lines, 1), host: machine, versions: {}, emulator: {} }
}

function dns(low: number, high: number) {
  const spread = { median: 100, min: 90, max: 110 }
  const row = {
    ...{ subject: 'fairlead', perCpuSecond: spread, noise: 0, perSecond: 1, latencyUs: 1 },
    toDnsmasq: { ratio: (low + high) / 2, low, high },
  }
  return { machine, versions: {}, rows: [row] }
}

t.test('counts agree within two per cent', (t) => {
  const of = (one: number, other: number) =>
    agreement({ guest: guest(one) }, { guest: guest(other) })[0]?.apart.length
  t.equal(of(1000, 1000), 0)
  t.equal(of(1000, 1019), 0)
  t.equal(of(1000, 1021), 1)
  t.equal(of(1021, 1000), 1)
  t.end()
})

t.test('what stands in intervals agrees where they meet', (t) => {
  const of = (one: [number, number], other: [number, number]) =>
    agreement({ dns: dns(...one) }, { dns: dns(...other) })[0]?.apart.length
  t.equal(of([0.5, 0.6], [0.58, 0.7]), 0)
  t.equal(of([0.5, 0.6], [0.61, 0.7]), 1)
  t.equal(of([0.61, 0.7], [0.5, 0.6]), 1)
  t.end()
})

t.test('what one run alone has is named', (t) => {
  const [found] = agreement({ guest: guest(1) }, { guest: guest(1, 'nft') })
  t.equal(found?.compared, 0)
  t.same(found?.single, ['ipvs-nat, 1 services, frames', 'nft, 1 services, frames'])
  t.same(agreement({}, {}), [])
  t.end()
})

t.test('report and plots are of the JSON alone', (t) => {
  const write = () => {
    const folder = mkdtempSync(join(tmpdir(), 'fairlead-bench-'))
    writeFileSync(join(folder, 'guest.json'), JSON.stringify(guest(1234)))
    writeFileSync(join(folder, 'dns.json'), JSON.stringify(dns(0.5, 0.6)))
    writeReport(folder)
    const plots = readdirSync(join(folder, 'plots')).sort()
    return { folder, plots, read: (name: string) => readFileSync(join(folder, name), 'utf8') }
  }
  const one = write()
  const other = write()
  t.same(one.plots, ['dns.svg', 'guest-frames.svg'])
  for (const name of ['report.md', ...one.plots.map((plot) => `plots/${plot}`)])
    t.equal(one.read(name), other.read(name), name)
  t.match(one.read('plots/guest-frames.svg'), /^<svg[^]*IPVS NAT[^]*<\/svg>\n$/)
  t.match(one.read('report.md'), '](plots/guest-frames.svg)')
  t.end()
})

t.test('subjects are dealt out to boots', (t) => {
  const subjects = ['a', 'b', 'c'].map((name) => ({ name, services: 1 }))
  const names = (boots: number) => sharesOf(subjects, boots).map((one) => one.map((s) => s.name))
  t.same(names(2), [['a', 'c'], ['b']])
  t.same(names(9), [['a'], ['b'], ['c']])
  t.end()
})

/** What both listeners are given in tests: a state, a kernel's report of it, and those who watch them. */
import type { ApiOptions } from '../../../src/api/routes.js'
import { Journal } from '../../../src/api/journal.js'
import { Live } from '../../../src/api/live.js'
import type { Explanation } from '../../../src/model/explain.js'
import { FixtureReadback, report, service, stateOf } from '../metrics/fixture.js'

const explanation: Explanation = {
  ...{ path: 'tc', network: 'overlay1', protocol: 'tcp', first: true, outcome: 'passed' },
  ...{ client: { address: '10.0.0.8', port: 49_152 }, vip: { address: '10.0.0.77', port: 80 } },
  ...{ match: 'none', backends: [], events: [] },
}

export function apiFixture(options: Partial<ApiOptions> = {}, intervalMs = 50) {
  const readback = new FixtureReadback(report())
  const state = stateOf([service({}), service({ name: 'db', vips: [], mode: 'dnsrr' })])
  const told = { node: 'node1', version: '1.2.3', readback, answering: () => 5 }
  const journal = new Journal()
  journal.note(state)
  const live = new Live({ ...told, state: () => state, journal, intervalMs })
  const api: ApiOptions = {
    ...{ ...told, state: () => state, kernel: '6.18.0', ipvs: 'absent' },
    ...{ sources: [{ name: 'file', from: '/etc/fairlead.yaml' }], journal, live },
    explainer: { explain: () => Promise.resolve(explanation) },
    events: { subscribe: () => () => undefined },
    capturer: {
      capture: () =>
        Promise.resolve({ interfaces: [], leftOut: () => 3, close: () => Promise.resolve() }),
    },
    metrics: {
      contentType: 'text/plain; version=0.0.4',
      render: () => Promise.resolve(Buffer.from('a 1\n')),
    },
    ...options,
  }
  return { api, readback, state, journal, live }
}

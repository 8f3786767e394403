/**
 * A NIC that takes no native XDP program: here a veth whose peer may send frames larger than a page,
 * elsewhere one that merges segments (LRO). The generic one does the same, and it is told.
 */
import t from 'tap'
import { EDGE, EdgeStage } from '../lib/edgeStage.js'

t.setTimeout(240_000)

t.test('a NIC that refuses native XDP has the generic one', async (t) => {
  const stage = await EdgeStage.build(t, 1)
  await stage.client.ip('link', 'set', 'eth0', 'mtu', '9000')
  await stage.start(stage.definition('auto'))
  const attached = (mode: string) =>
    stage.agent.metric('fairlead_attachments', 'hook="xdp"', `mode="${mode}"`)
  t.same([await attached('native'), await attached('generic')], [0, 1])
  for (const host of [EDGE.near4, `[${EDGE.near6}]`]) {
    const { stdout, stderr } = await stage.curl(`http://${host}/bulk?100000`)
    t.equal(stdout.length > 50_000, true, `${host} ${stderr}`)
    t.equal((await stage.curl(`http://${host}/`)).stdout.trim(), 'backend-0', host)
  }
  t.ok((await stage.agent.metric('fairlead_packets_total', 'path="xdp"')) > 20, 'by that path')
})

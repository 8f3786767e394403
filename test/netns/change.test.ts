/** Everything about a service that can be changed is changed under load: nobody is to notice. */
import t from 'tap'
import { ALGORITHMS } from '../../src/model/types.js'
import { LoadScene } from '../lib/loadScene.js'
import { sleep } from '../lib/netns.js'
import { VIP4, VIP6 } from '../lib/stage.js'

t.setTimeout(240_000)

t.test('algorithms, weights, other services and VIPs change, and no request fails', async (t) => {
  const scene = await LoadScene.build(t, 3)
  const { agent } = scene.stage
  const backends = (weights: readonly number[]) =>
    weights.map((weight, at) => ({ address: scene.addresses(at), weight }))
  const state = (extra: object, weights: readonly number[], ...more: object[]) =>
    scene.state(scene.service(backends(weights), extra), ...more)
  const allow = ['10.1.0.0/24', 'fd00:1::/64', '192.0.2.0/24', '2001:db8::/64']
  agent.write(state({}, [1, 1, 1]))
  agent.start('--detach-on-exit')
  await agent.ready()
  await scene.startLoads()
  await scene.loaded(({ ok, kept }) => ok > 0 && kept > 0)
  const other = scene.service(backends([1]), { name: 'other', vip: ['10.1.0.77', 'fd00:1::77'] })
  const changes = [
    ...ALGORITHMS.flatMap((algorithm) => [
      state({ algorithm }, [1, 1, 1]),
      state({ algorithm }, [3, 1, 2], other),
    ]),
    state({ affinity: { timeout: '5s' } }, [1, 1, 1]),
    state({ thresholds: { upper: 50_000, lower: 40_000 } }, [1, 1, 1]),
    state({ vip: [VIP6, VIP4, '10.1.0.78'] }, [1, 1, 1]),
    state({ ports: ['7/udp', 9, 7] }, [1, 1, 1]),
    state({ sourceRanges: { allow, deny: [] } }, [1, 1, 1]),
    state({}, [1, 1, 1]),
  ]
  // The first is what there is already.
  for (const change of changes.slice(1)) {
    await agent.apply(change)
    await sleep(100)
  }
  const { answering } = await agent.revision()
  t.ok(answering >= changes.length, `${answering} revisions`)
  for (const load of scene.loads) {
    const { failed, errors, ok, kept, ids, slowest } = await load.tally()
    t.equal(failed, 0, `${load.path}: no request failed, no connection ended`)
    t.same(errors, [])
    t.ok(
      ok > 200 && kept > 200,
      `${load.path}: ${ok} requests, ${kept} kept, slowest ${slowest} ms`,
    )
    t.equal(Object.keys(ids).length, 3, 'every backend was used')
  }
  t.equal(await agent.metric('fairlead_problems'), 0)
})

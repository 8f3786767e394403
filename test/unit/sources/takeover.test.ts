import t from 'tap'
import { isTaken } from '../../../src/sources/docker/taken.js'
import { defaultTakeover, type Takeover } from '../../../src/sources/takeover.js'

const all: Takeover = { mode: 'all', names: [] }
const labelled: Takeover = { mode: 'labelled', names: ['shop', 'overlay1/vote'] }
const none: Takeover = { mode: 'none', names: ['web'] }

function taken(
  takeover: Takeover,
  labels: Record<string, string> = {},
  networkLabels: Record<string, string> = {},
  name = 'web',
): boolean {
  return isTaken({ name, network: 'Overlay1', labels, networkLabels }, takeover)
}

t.test('beside an IPVS only what it is told', (t) => {
  t.equal(defaultTakeover(true), 'labelled')
  t.equal(defaultTakeover(false), 'all')
  t.end()
})

t.test('which services are taken over', (t) => {
  const yes = { 'fairlead.enable': 'true' }
  const no = { 'fairlead.enable': 'false' }
  const other = { 'fairlead.algorithm': 'maglev' }
  t.ok(taken(all))
  t.notOk(taken(all, no), 'but for those that say no')
  t.notOk(taken(all, {}, no), 'or whose network does')
  t.ok(taken(all, yes, no), 'the service knows better')
  t.notOk(taken(labelled))
  t.ok(taken(labelled, yes))
  t.ok(taken(labelled, other), 'any label of ours will do')
  t.notOk(taken(labelled, { ...other, ...no }))
  t.ok(taken(labelled, {}, yes), 'a network is labelled for all its services')
  t.notOk(taken(labelled, no, yes))
  t.notOk(taken(labelled, { fairlead: 'true', 'com.fairlead.enable': 'true' }))
  t.ok(taken(labelled, {}, {}, 'Vote'), 'named with its network')
  t.ok(taken(labelled, {}, {}, 'shop'), 'named')
  t.notOk(taken(labelled, no, {}, 'shop'))
  t.notOk(taken(none, yes, yes), 'nothing is nothing')
  t.end()
})

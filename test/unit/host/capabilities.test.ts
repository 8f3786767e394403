import t from 'tap'
import { FairleadError } from '../../../src/errors.js'
import { missingCapabilities, requireCapabilities } from '../../../src/host/capabilities.js'

t.test('missing capabilities are read from the effective set', (t) => {
  t.same(missingCapabilities('CapPrm:\t0\nCapEff:\t000001ffffffffff\n'), [])
  t.same(missingCapabilities('CapEff:\t0000000000201000\n'), [])
  t.same(missingCapabilities('CapEff:\t000000c000001000\n'), ['CAP_SYS_ADMIN'])
  t.equal(missingCapabilities('').length, 2)
  t.end()
})

t.test('the error names what is missing, not what is there, and how to grant it', (t) => {
  requireCapabilities([])
  let message = ''
  try {
    requireCapabilities(['CAP_SYS_ADMIN'])
  } catch (error) {
    t.ok(error instanceof FairleadError && error.code === 'CAPABILITY')
    message = String(error)
  }
  t.match(message, /the agent lacks CAP_SYS_ADMIN \(/)
  t.match(message, /CapabilityBoundingSet=.*CAP_SYS_ADMIN/)
  t.notMatch(message.split('. ')[0], /CAP_NET_ADMIN/)
  t.end()
})

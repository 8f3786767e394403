import t from 'tap'
import { quantile } from '../../../src/api/quantile.js'

t.test('as histogram_quantile() of Prometheus', (t) => {
  const bounds = [1, 2, 4]
  t.equal(quantile(bounds, [0, 0, 0, 0], 0.5), undefined)
  t.equal(quantile(bounds, [10, 0, 0, 0], 0.5), 0.5)
  t.equal(quantile(bounds, [5, 5, 0, 0], 0.5), 1)
  t.equal(quantile(bounds, [5, 5, 0, 0], 0.9), 1.8)
  t.equal(quantile(bounds, [0, 0, 4, 0], 0.25), 2.5)
  t.equal(quantile(bounds, [1, 0, 0, 9], 0.9), 4, 'above all bounds')
  t.equal(quantile(bounds, [0, 0, 0, 1], 0), 4)
  t.end()
})

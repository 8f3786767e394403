import ipaddr from 'ipaddr.js'
import t from 'tap'
import {
  canonicalAddress,
  Cidr,
  family,
  formatListen,
  fromBytes,
  fromNumber,
  fromWords,
  isAddress,
  isUnicast,
  parseListen,
  reverseName,
  toBytes,
  toNumber,
  toWords,
} from '../../../src/model/address.js'

t.test('canonical text is RFC 5952', (t) => {
  const cases: [string, string][] = [
    ['10.0.0.1', '10.0.0.1'],
    ['FD00:A::0001', 'fd00:a::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['0:0:0:0:0:0:0:1', '::1'],
    ['1:0:0:0:0:0:0:0', '1::'],
    ['::1.2.3.4', '::102:304'],
    ['64:ff9b::1.2.3.4', '64:ff9b::102:304'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['::FFFF:a00:1', '10.0.0.1'],
  ]
  for (const [given, wanted] of cases) t.equal(canonicalAddress(given), wanted, given)
  t.end()
})

t.test('what is not an address is refused', (t) => {
  for (const text of [
    ...['', ' 10.0.0.1', '10.0.0.1 ', '010.0.0.1', '10.1', '0x0a.0.0.1', '167772161', '10.0.0.256'],
    ...['10.0.0.1/24', 'fe80::1%eth0', '1::2::3', ':', '1:2:3:4:5:6:7', '1:2:3:4:5:6:7:8:9'],
    ...['::ffff:1.2.3', '::1.2.3.04', 'g::', '12345::', 'vote', '10.0.0.-1', '١.٢.٣.٤'],
  ]) {
    t.notOk(isAddress(text), JSON.stringify(text))
    t.throws(() => canonicalAddress(text), { code: 'VALUE' })
  }
  t.end()
})

t.test('words, bytes and numbers go there and back', (t) => {
  t.same(toWords('10.0.0.1'), [0, 0, 0xffff, 0x0a000001])
  t.same(toWords('255.255.255.255'), [0, 0, 0xffff, 0xffffffff])
  t.same(toWords('fd00:a::ffff:ffff'), [0xfd00000a, 0, 0, 0xffffffff])
  t.same([...toBytes('10.0.0.1')], [10, 0, 0, 1])
  t.equal(toBytes('fd00::1').length, 16)
  t.equal(toNumber('0.0.1.0'), 256n)
  t.equal(toNumber('::1:0'), 65536n)
  t.throws(() => fromBytes(new Uint8Array(5)), RangeError)
  let seed = 1
  const random = (): number => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0)
  for (let i = 0; i < 500; i++) {
    // Zero words make runs for :: likely.
    const words = [0, 1, 2, 3].map(() => (random() % 3 === 0 ? random() & 0xffff : random() % 2))
    const text = fromWords(words)
    if (family(text) === 6) {
      const groups = words.flatMap((word) => [word >>> 16, word & 0xffff])
      t.equal(text, new ipaddr.IPv6(groups).toRFC5952String(), 'as ipaddr.js prints it')
    }
    t.same(toWords(text), words)
    t.equal(fromBytes(toBytes(text)), text)
    t.equal(fromNumber(toNumber(text), family(text)), text)
  }
  t.end()
})

t.test('addresses of one host', (t) => {
  const one = ['10.0.0.1', '127.0.0.1', '1.0.0.0', '223.9.9.9', '240.0.0.1', '255.255.255.254']
  for (const address of [...one, '::1', 'ff::1', 'fe8::1', 'fd00::1', 'fec0::1'])
    t.ok(isUnicast(address), address)
  const none = ['0.0.0.0', '0.1.2.3', '224.0.0.1', '239.255.255.250', '255.255.255.255', '::']
  for (const address of [...none, 'ff02::1', 'ff00::', 'fe80::1', 'febf::1'])
    t.notOk(isUnicast(address), address)
  t.end()
})

t.test('reverse names', (t) => {
  t.equal(reverseName('10.0.0.9'), '9.0.0.10.in-addr.arpa')
  t.equal(
    reverseName('2001:db8::567:89ab'),
    'b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa',
    'the example of RFC 3596',
  )
  t.end()
})

t.test('listen addresses', (t) => {
  t.same(parseListen('10.0.0.2', 53), { host: '10.0.0.2', port: 53 })
  t.same(parseListen('10.0.0.2:5353', 53), { host: '10.0.0.2', port: 5353 })
  t.same(parseListen('[FD00:A::2]:53'), { host: 'fd00:a::2', port: 53 })
  t.same(parseListen('[::1]', 9), { host: '::1', port: 9 })
  t.same(parseListen('fd00:a::2', 53), { host: 'fd00:a::2', port: 53 })
  t.equal(formatListen({ host: '::1', port: 9 }), '[::1]:9')
  t.equal(formatListen({ host: '10.0.0.1', port: 9 }), '10.0.0.1:9')
  for (const text of [
    ...['', ':53', '10.0.0.1:', '10.0.0.1:0', '10.0.0.1:65536', '[10.0.0.1]:53', '[::1', '::1]:53'],
    ...['localhost:53', '10.0.0.1:5a', '[::1]53', '10.0.0.1:99999999'],
  ]) {
    t.throws(() => parseListen(text, 53), { code: 'VALUE' }, JSON.stringify(text))
  }
  t.throws(() => parseListen('10.0.0.1'), { code: 'VALUE' }, 'a port is required without default')
  t.end()
})

t.test('ranges', (t) => {
  const four = Cidr.parse('10.0.0.0/24')
  t.equal(four.size, 256n)
  t.ok(four.contains('10.0.0.255'))
  t.notOk(four.contains('10.0.1.0'))
  t.notOk(four.contains('::a00:1'), 'of the other family')
  t.ok(Cidr.parse('0.0.0.0/0').contains('255.255.255.255'))
  const six = Cidr.parse('FD00:A::/64')
  t.equal(String(six), 'fd00:a::/64')
  t.equal(six.size, 1n << 64n)
  t.ok(six.contains('fd00:a::ffff:ffff:ffff:ffff'))
  t.notOk(six.contains('fd00:a:0:1::'))
  t.ok(four.overlaps(Cidr.parse('10.0.0.128/25')))
  t.ok(Cidr.parse('10.0.0.128/25').overlaps(four))
  t.notOk(four.overlaps(Cidr.parse('10.0.1.0/24')))
  t.notOk(four.overlaps(Cidr.parse('::/0')))
  t.ok(four.includes(Cidr.parse('10.0.0.7/32')))
  t.notOk(Cidr.parse('10.0.0.7/32').includes(four))
  t.same([...Cidr.parse('10.0.0.252/30').addresses()].at(-1), '10.0.0.255')
  t.equal([...Cidr.parse('fd00::/126').addresses()].length, 4)
  for (const text of [
    ...['10.0.0.0', '10.0.0.0/33', '::/129', '10.0.0.0/-1', '10.0.0.0/024', '/24', '10.0.0.0/'],
    ...['::ffff:10.0.0.0/120', '10.0.0.0/8/8', '10.0.0.0/1e1'],
  ]) {
    t.throws(() => Cidr.parse(text), { code: 'VALUE' }, text)
  }
  t.throws(() => Cidr.parse('10.0.0.7/24'), { message: /did you mean 10\.0\.0\.0\/24/ })
  t.end()
})

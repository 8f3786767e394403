/** Blocks as the draft has them, byte by byte, and streams that are cut. */
import t from 'tap'
import {
  interfaceBlock,
  packetBlock,
  sectionBlock,
  statisticsBlock,
  WholeBlocks,
} from '../../../src/api/pcapng.js'

const packet = packetBlock({
  interface: 1,
  atNs: 0x1_0000_0002n,
  direction: 'out',
  bytes: 60,
  data: Uint8Array.of(1, 2, 3, 4, 5),
  comment: 'dropped',
})

t.test('every block says its length twice, in units of four', (t) => {
  const blocks = [
    sectionBlock('fairlead'),
    interfaceBlock('veth0', 64),
    packet,
    statisticsBlock(5n, 7),
  ]
  for (const block of blocks) {
    t.equal(block.length % 4, 0)
    t.equal(block.readUInt32LE(4), block.length)
    t.equal(block.readUInt32LE(block.length - 4), block.length)
  }
  t.end()
})

t.test('an enhanced packet block', (t) => {
  const words = [6, packet.length, 1, 1, 2, 5, 60]
  t.same(
    words.map((_, at) => packet.readUInt32LE(at * 4)),
    words,
  )
  t.same([...packet.subarray(28, 36)], [1, 2, 3, 4, 5, 0, 0, 0])
  const flags = [2, 0, 4, 0, 2, 0, 0, 0]
  const comment = [1, 0, 7, 0, ...Buffer.from('dropped'), 0]
  t.same([...packet.subarray(36, -4)], [...flags, ...comment, 0, 0, 0, 0])
  t.end()
})

t.test('whole blocks alone come through, however they were cut', async (t) => {
  const all = Buffer.concat([sectionBlock('x'), packet, packet])
  for (const size of [1, 7, 40, 1000]) {
    const blocks = new WholeBlocks()
    for (let at = 0; at < all.length - 3; at += size)
      blocks.write(all.subarray(at, Math.min(at + size, all.length - 3)))
    blocks.end()
    const through: Buffer[] = []
    for await (const chunk of blocks) through.push(chunk as Buffer)
    t.same(Buffer.concat(through), all.subarray(0, all.length - packet.length), `${size}`)
  }
})

/** A capture as a pcapng stream, which ends with its reader, its count, or its time. */
import { Readable } from 'node:stream'
import type { z } from 'zod'
import { FairleadError } from '../errors.js'
import { canonicalAddress, Cidr, family, isAddress } from '../model/address.js'
import { type Capture, type CapturedPacket, captureText, type Capturer } from '../model/capture.js'
import { interfaceBlock, packetBlock, sectionBlock, statisticsBlock } from './pcapng.js'
import type { pcapParametersSchema } from './schema.js'

type Asked = z.output<typeof pcapParametersSchema>

/** What a reader may be behind; what comes then is left out. */
const BUFFER_BYTES = 4 << 20
const NS_PER_MS = 1_000_000n

/** @throws FairleadError VALUE, REFERENCE, BUSY, HOST */
export async function openPcap(
  capturer: Capturer,
  asked: Asked,
  version: string,
): Promise<Readable> {
  const { service, backend, client, snaplen, rate, count, seconds } = asked
  const question = {
    service: service.toLowerCase(),
    ...(backend !== undefined && { backend: addressOf(backend) }),
    ...(client !== undefined && { client: rangeOf(client) }),
    ...(snaplen !== undefined && { snapBytes: snaplen }),
    packetsPerSecond: rate,
  }
  const stream = new PcapStream(count ?? Infinity)
  const capture = await capturer.capture(question, (packet) => stream.add(packet))
  stream.begin(capture, sectionBlock(`fairlead ${version}`), snaplen ?? 0, seconds * 1000)
  return stream
}

class PcapStream extends Readable {
  /** Those that came before the file's head could be written. */
  #early: CapturedPacket[] | undefined = []
  #left: number
  #skipped = 0
  #capture: Capture | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(count: number) {
    super()
    this.#left = count
  }

  begin(capture: Capture, section: Buffer, snapBytes: number, endsMs: number): void {
    this.#capture = capture
    this.push(section)
    for (const { name } of capture.interfaces) this.push(interfaceBlock(name, snapBytes))
    this.#timer = setTimeout(() => this.#end(), endsMs)
    const early = this.#early ?? []
    this.#early = undefined
    for (const packet of early) this.add(packet)
  }

  add(packet: CapturedPacket): void {
    if (this.#left <= 0) return
    if (this.#early) this.#early.push(packet)
    else if (this.readableLength > BUFFER_BYTES) this.#skipped++
    else {
      this.push(packetBlock({ ...packet, comment: captureText(packet) }))
      if (--this.#left === 0) this.#end()
    }
  }

  override _read(): void {
    // Packets come when they come.
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#stop()
    done(error)
  }

  #end(): void {
    const leftOut = (this.#capture?.leftOut() ?? 0) + this.#skipped
    this.push(statisticsBlock(BigInt(Date.now()) * NS_PER_MS, leftOut))
    this.push(null)
    this.#stop()
  }

  #stop(): void {
    this.#left = 0
    clearTimeout(this.#timer)
    void this.#capture?.close()
  }
}

function addressOf(text: string): string {
  if (!isAddress(text)) throw new FairleadError('VALUE', `backend: not an address: ${text}`)
  return canonicalAddress(text)
}

function rangeOf(text: string): Cidr {
  if (text.includes('/')) return Cidr.parse(text)
  if (!isAddress(text))
    throw new FairleadError('VALUE', `client: not address or address/prefix: ${text}`)
  return Cidr.parse(`${canonicalAddress(text)}/${family(text) === 4 ? 32 : 128}`)
}

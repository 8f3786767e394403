/** `fairlead pcap`: packets of a service, before and after translation, as pcapng. */
import { createWriteStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { type Command, InvalidArgumentError } from 'commander'
import { WholeBlocks } from '../api/pcapng.js'
import type { PcapParameters } from '../api/schema.js'
import { FairleadError } from '../errors.js'
import { client, DEFAULT_SOCKET } from './output.js'

interface PcapOptions extends Omit<PcapParameters, 'service'> {
  readonly socket: string
  readonly write: string
}

/** What has passed when it is ended may be on its way still. */
const GRACE_MS = 150

/** Headers and a client's address are nobody else's business. */
const FILE_MODE = 0o600

export function addPcap(program: Command): void {
  program
    .command('pcap')
    .description('capture packets of a service, as pcapng with comments')
    .argument('<service>', 'network/service')
    .requiredOption('-w, --write <file>', 'where to; - is standard output')
    .option('--backend <address>', 'of connections to this backend')
    .option('--client <range>', 'of clients of this address, or address/prefix')
    .option('--snaplen <bytes>', 'so much of each packet, 64 to 2048; else its headers', number)
    .option('--rate <packets>', 'no more than about so many in a second (1000)', number)
    .option('--count <packets>', 'end after so many', number)
    .option('--seconds <seconds>', 'end after so long (60)', number)
    .option(
      '--socket <path>',
      "the agent's socket; else FAIRLEAD_SOCKET",
      process.env['FAIRLEAD_SOCKET'] ?? DEFAULT_SOCKET,
    )
    .action(async (service: string, { socket, write, ...asked }: PcapOptions) => {
      if (write === '-' && process.stdout.isTTY)
        throw new FairleadError('VALUE', 'standard output is a terminal: name a file')
      const stream = await client({ socket }).pcap({ ...asked, service })
      const file = write === '-' ? process.stdout : createWriteStream(write, { mode: FILE_MODE })
      const blocks = new WholeBlocks()
      const stop = (): void => void setTimeout(() => blocks.end(), GRACE_MS)
      process.once('SIGINT', stop)
      process.once('SIGTERM', stop)
      stream.on('data', (chunk: Buffer) => {
        if (!blocks.writableEnded && !blocks.write(chunk)) stream.pause()
      })
      blocks.on('drain', () => stream.resume())
      stream.once('end', () => blocks.end())
      stream.once('error', (error) => blocks.destroy(error))
      try {
        await pipeline(blocks, file)
      } finally {
        stream.destroy()
      }
    })
}

function number(text: string): number {
  const value = Number(text)
  if (text === '' || !Number.isFinite(value)) throw new InvalidArgumentError('Not a number.')
  return value
}

/** `fairlead import ipvs [FILE]`: a file of what ipvsadm-save says. Works without an agent. */
import { renameSync, writeFileSync } from 'node:fs'
import { type Command, InvalidArgumentError } from 'commander'
import { FairleadError } from '../errors.js'
import type { MarkMeaning, Note } from '../ipvs/convert.js'
import { canonicalAddress, isAddress } from '../model/address.js'
import { MAX_FILE_BYTES, readBounded } from '../sources/file/read.js'
import { type OutputOptions, print, printing } from './output.js'
import { reasonOf } from '../reason.js'

interface ImportOptions extends OutputOptions {
  readonly output?: string
  readonly network: string
  readonly interface: readonly string[]
  readonly fwmark: readonly MarkMeaning[]
}

export function addImport(program: Command): void {
  const command = program.command('import').description("make a file of another balancer's rules")
  printing(command.command('ipvs').description('of what ipvsadm-save -n prints'))
    .argument('[file]', 'the rules; - or none: standard input', '-')
    .option('--output <file>', 'where the file is written, if not to standard output')
    .option('--network <name>', 'name of the network that its services are on', 'ipvs')
    .option(
      '--interface <pattern>',
      'an interface by which clients come in or servers answer; repeatable',
      (name: string, before: readonly string[]) => [...before, name],
      [],
    )
    .option(
      '--fwmark <mark=address[,port[/udp]]...>',
      'what packets with a mark are: a VIP and its ports; repeatable',
      (text: string, before: readonly MarkMeaning[]) => [...before, meaningOf(text)],
      [],
    )
    .action(async (file: string, options: ImportOptions) => {
      const { importRules } = await import('../ipvs/import.js')
      const from = file === '-' ? 'stdin' : file
      const rules = file === '-' ? await standardInput() : readBounded(file).text
      const { network, interface: interfaces, fwmark: marks, output } = options
      const { text, services, notes } = importRules(rules, { from, network, interfaces, marks })
      if (output !== undefined) write(output, text)
      const told = { ...(output === undefined ? { text } : { output }), services, notes }
      if (options.json === true) print(options, told, () => '')
      else if (output === undefined) process.stdout.write(text)
      else print(options, told, () => `${output}: ${services} services, ${notes.length} notes`)
      if (options.json !== true)
        for (const note of notes) process.stderr.write(noteLine(from, note))
    })
}

function noteLine(from: string, { line, kind, text }: Note): string {
  return `fairlead: ${from}:${line}: ${kind}: ${text}\n`
}

/** `256=10.0.0.9`, `7=192.0.2.1,80,443,53/udp` */
function meaningOf(text: string): MarkMeaning {
  const [, mark, address = '', rest = ''] = /^(\d{1,10})=([^,]+)((?:,[^,]+)*)$/.exec(text) ?? []
  if (mark === undefined || !isAddress(address))
    throw new InvalidArgumentError('must be MARK=ADDRESS, or MARK=ADDRESS,PORT[/udp],...')
  const ports = rest
    .split(',')
    .slice(1)
    .map((item) => {
      const [, digits, protocol = 'tcp'] = /^(\d{1,5})(?:\/(tcp|udp))?$/.exec(item) ?? []
      const port = Number(digits)
      if (!(port >= 1 && port <= 65_535)) throw new InvalidArgumentError(`${item} is no port`)
      return { port, protocol: protocol === 'udp' ? ('udp' as const) : ('tcp' as const) }
    })
  return { mark: Number(mark), address: canonicalAddress(address), ports }
}

async function standardInput(): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length > MAX_FILE_BYTES)
      throw new FairleadError('FILE', `stdin: more than ${MAX_FILE_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** Whole or not at all: an agent may be watching. */
function write(path: string, text: string): void {
  const scratch = `${path}.${process.pid}`
  try {
    writeFileSync(scratch, text)
    renameSync(scratch, path)
  } catch (error) {
    const reason = reasonOf(error)
    throw new FairleadError('HOST', `${path}: cannot be written: ${reason}`, { cause: error })
  }
}

/** The same services as a file: what reading it takes, before anything is merged. */
import { parseFile } from '../../src/sources/file/parse.js'
import { services } from './scene.js'
import { timed } from './timed.js'

export interface FileTimes {
  /** Milliseconds. */
  readonly parseCpu: number
  readonly megabytes: number
}

export async function measureFile(count: number): Promise<FileTimes> {
  const text = yamlOf(count)
  const parse = await timed(() => {
    const outcome = parseFile('bench.yaml', text)
    if (!outcome.ok) throw new Error(outcome.mistakes[0]?.reason)
  })
  return { parseCpu: parse.cpu, megabytes: text.length / 1e6 }
}

function yamlOf(count: number): string {
  const entries = services(count).map(({ name, vips, ports, backends }) => {
    const lines = [
      `  - name: ${name}`,
      '    network: net',
      `    vip: ${vips[0] ?? ''}`,
      `    ports: [${ports.map(({ port, targetPort }) => `"${port}:${targetPort}/tcp"`).join(', ')}]`,
      '    backends:',
    ]
    return [...lines, ...backends.map(({ address }) => `      - address: ${address}`)].join('\n')
  })
  return `version: 1\nnetworks:\n  - name: net\n    subnets: [10.0.0.0/8]\nservices:\n${entries.join('\n')}\n`
}

/** A real Prometheus in a namespace, with fairlead's rules, that scrapes agents each second. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
import type { Daemon, Namespace, NetLab } from './netns.js'

export interface Answer {
  readonly status: string
  readonly error?: string
  readonly data: {
    readonly result: readonly {
      readonly metric: Readonly<Record<string, string>>
      readonly value: [number, string]
    }[]
  }
}

/** Asks for each line of stdin (a path) and prints an answer a line; one process for all. */
const asker = `
import sys, urllib.request
for path in sys.stdin.read().splitlines():
    try:
        answer = urllib.request.urlopen('http://127.0.0.1:9090' + path, timeout=10).read()
    except urllib.error.HTTPError as error:
        answer = error.read()
    print(answer.decode().replace('\\n', ' '))
`

export class Prometheus {
  private constructor(
    private readonly space: Namespace,
    readonly process: Daemon,
  ) {}

  /**
   * @param space   where it runs; the targets must be reached from there
   * @param targets address:port of agents' metrics
   * @param rules   a file of rules
   */
  static start(
    lab: NetLab,
    space: Namespace,
    targets: readonly string[],
    rules: string,
  ): Prometheus {
    const folder = mkdtempSync(join(tmpdir(), 'fairlead-prometheus-'))
    lab.atClose(() => rmSync(folder, { recursive: true, force: true }))
    const settings = {
      global: { scrape_interval: '1s', evaluation_interval: '1s' },
      rule_files: [rules],
      scrape_configs: [{ job_name: 'fairlead', static_configs: [{ targets }] }],
    }
    writeFileSync(join(folder, 'prometheus.yml'), stringify(settings))
    const daemon = space.spawn('prometheus', [
      `--config.file=${folder}/prometheus.yml`,
      `--storage.tsdb.path=${folder}/data`,
      '--web.listen-address=127.0.0.1:9090',
    ])
    return new Prometheus(space, daemon)
  }

  async ask<T>(paths: readonly string[]): Promise<T[]> {
    const { stdout } = await this.space.run('python3', ['-c', asker], { input: paths.join('\n') })
    return stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as T)
  }

  query(expressions: readonly string[]): Promise<Answer[]> {
    return this.ask(expressions.map((text) => `/api/v1/query?query=${encodeURIComponent(text)}`))
  }
}

/** Labels that a legend names and that no series with a number has: it would be drawn without. */
export function legendGaps({ data }: Answer, legend: string): string[] {
  const named = [...legend.matchAll(/\{\{(\w+)\}\}/g)].map(([, label = '']) => label)
  const numbers = data.result.filter(({ value }) => Number.isFinite(Number(value[1])))
  return named.filter((label) => !numbers.some(({ metric }) => metric[label] !== undefined))
}

export function hasNumbers({ data }: Answer): boolean {
  return data.result.some(({ value }) => Number.isFinite(Number(value[1])))
}

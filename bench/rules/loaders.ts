/** Who loads rules: each starts with one service, loads many, and adds one. */
import { Agent } from '../../test/lib/agent.js'
import type { RunOptions } from '../../test/lib/netns.js'
import { Model } from '../../src/model/model.js'
import type { ServiceSpec } from '../../src/model/types.js'
import { put, ScaleScene, serviceSpec, snapshot } from '../scale/scene.js'
import type { Stage } from '../frame/stage.js'
import { fails } from '../subjects/commands.js'
import { fairleadServices } from '../subjects/fairlead.js'
import { iptablesMore, iptablesRules, nftMore, nftRules } from '../subjects/netfilter.js'

export interface Prepared {
  load(services: number): Promise<void>
  /** @param services that are there already */
  add(services: number): Promise<void>
  end(): Promise<void>
}

export interface Loader {
  readonly name: string
  unavailable(): Promise<string | undefined>
  prepare(stage: Stage): Promise<Prepared>
}

const PATIENCE_MS = 300_000
const POLL_MS = 2

function byCommand(
  name: string,
  whole: readonly string[],
  more: readonly string[],
  rules: (services: number, backends: readonly string[]) => string,
  extra: (services: number, backend: string) => string,
): Loader {
  const [program = '', ...given] = whole
  const [adder = '', ...addGiven] = more
  const input = (text: string): RunOptions => ({ input: text, timeoutMs: PATIENCE_MS })
  return {
    name,
    unavailable: () => fails(program, given, rules(1, ['10.1.0.10'])),
    prepare: ({ balancer, address }) =>
      Promise.resolve({
        load: async (services) => {
          await balancer.run(program, given, input(rules(services, [address])))
        },
        add: async (services) => {
          await balancer.run(adder, addGiven, input(extra(services, address)))
        },
        end: () => Promise.resolve(),
      }),
  }
}

/** Until what the file says is in the kernel. */
async function applied(agent: Agent, text: string): Promise<void> {
  const before = (await agent.revision()).desired
  agent.write(text)
  for (;;) {
    const { desired, applied } = await agent.revision()
    if (desired > before && applied === desired) return
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}

const fairlead: Loader = {
  name: 'fairlead',
  unavailable: () => Promise.resolve(undefined),
  async prepare(stage) {
    const agent = new Agent(stage.lab, stage.balancer, 'rules')
    const text = (services: number) => agent.text(fairleadServices(stage, services))
    agent.write(text(1))
    agent.start('--detach-on-exit')
    await agent.ready(PATIENCE_MS)
    return {
      load: (services) => applied(agent, text(services)),
      add: (services) => applied(agent, text(services + 1)),
      end: async () => {
        await agent.stop()
      },
    }
  },
}

/** The agent's own way, in this process: from what a source publishes, as engines do, into the kernel. */
const published: Loader = {
  name: 'fairlead-source',
  unavailable: () => Promise.resolve(undefined),
  async prepare() {
    const model = new Model({ sources: ['bench'] })
    const scene = await ScaleScene.open()
    // As a source does that keeps what it knows: what has not changed is the same object.
    const specs: ServiceSpec[] = []
    const load = async (services: number) => {
      while (specs.length < services) specs.push(serviceSpec(specs.length, 1))
      await put(scene, model.publish('bench', snapshot([...specs])))
      if (scene.problems.length > 0) throw new Error(scene.problems[0]?.reason)
    }
    return { load, add: (services) => load(services + 1), end: () => scene.remove() }
  },
}

export const LOADERS: readonly Loader[] = [
  byCommand('nft', ['nft', '-f', '-'], ['nft', '-f', '-'], nftRules, nftMore),
  byCommand(
    'iptables',
    ['iptables-legacy-restore'],
    ['iptables-legacy-restore', '--noflush'],
    iptablesRules,
    iptablesMore,
  ),
  fairlead,
  published,
]

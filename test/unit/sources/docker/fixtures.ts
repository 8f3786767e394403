/** Looks at engines as the API tells them, with what a test does not care about filled in. */
import type { EngineContainer, EngineView } from '../../../../src/sources/docker/engine.js'
import {
  containerShape,
  infoShape,
  networkShape,
  type NetworkAnswer,
} from '../../../../src/sources/docker/shapes.js'

export const NET = 'n1'.padEnd(64, '0')

export interface Place {
  readonly id?: string
  readonly v4?: string
  readonly v6?: string
}

export interface ContainerOptions {
  readonly labels?: Record<string, string>
  readonly places?: readonly Place[]
  readonly created?: number
  readonly running?: boolean
  readonly paused?: boolean
  readonly health?: string
  readonly stopping?: boolean
}

/** @param created seconds since some beginning; the older of two has the smaller */
export function container(name: string, options: ContainerOptions = {}): EngineContainer {
  const { labels = {}, places = [{}], created = 0, running = true, stopping = false } = options
  const networks = places.map(({ id = NET, v4 = '', v6 = '' }) => ({
    NetworkID: id,
    IPAddress: v4,
    GlobalIPv6Address: v6,
    Gateway: v4 === '' ? '' : '10.1.0.1',
    IPv6Gateway: '',
  }))
  const answer = containerShape.parse({
    Id: name.padEnd(64, '0'),
    Name: `/${name}`,
    Created: new Date(created * 1000).toISOString(),
    State: {
      Running: running,
      Paused: options.paused === true,
      ...(options.health !== undefined && { Health: { Status: options.health, Log: null } }),
    },
    Config: { Hostname: name, Labels: labels },
    NetworkSettings: {
      SandboxKey: running ? `/run/docker/netns/${name}` : '',
      Networks: Object.fromEntries(networks.map((network, i) => [`net${i}`, network])),
    },
  })
  return { ...answer, stopping }
}

export function network(fields: object = {}): NetworkAnswer {
  return networkShape.parse({
    Id: NET,
    Name: 'net1',
    Driver: 'bridge',
    Scope: 'local',
    IPAM: { Config: [{ Subnet: '10.1.0.0/24' }, { Subnet: 'fd00:1::/64' }] },
    Options: {},
    Labels: null,
    ...fields,
  })
}

export function view(
  containers: readonly EngineContainer[],
  networks: readonly NetworkAnswer[] = [network()],
): EngineView {
  return {
    info: infoShape.parse({}),
    containers: new Map(containers.map((each) => [each.Id, each])),
    networks: new Map(networks.map((each) => [each.Id, each])),
    leftOut: new Map(),
  }
}

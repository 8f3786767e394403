/** What a swarm wants and has, by its manager's own API: the test's idea of what agents should do. */
import { request } from 'node:http'

async function get<T>(socketPath: string, path: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path: `/v1.41${path}`, agent: false }, (response) => {
      let body = ''
      response
        .setEncoding('utf8')
        .on('data', (part: string) => (body += part))
        .on('end', () => {
          if (response.statusCode === 200) resolve(JSON.parse(body) as T)
          else reject(new Error(`${path}: ${response.statusCode} ${body}`))
        })
        .on('error', reject)
    })
    asked.setTimeout(10_000, () => asked.destroy(new Error(`${path}: no answer`)))
    asked.on('error', reject).end()
  })
}

interface Service {
  readonly ID: string
  readonly Spec: {
    readonly Name: string
    readonly Mode: { readonly Replicated?: { readonly Replicas: number } }
  }
  readonly Endpoint: {
    readonly VirtualIPs?: readonly { readonly NetworkID: string; readonly Addr: string }[]
  }
}

interface Task {
  readonly ID: string
  readonly ServiceID: string
  readonly NodeID: string
  readonly DesiredState: string
  readonly Status: {
    readonly State: string
    readonly ContainerStatus?: { readonly ContainerID: string }
  }
  readonly NetworksAttachments?: readonly {
    readonly Network: { readonly ID: string }
    readonly Addresses: readonly string[]
  }[]
}

interface Node {
  readonly ID: string
  readonly Description: { readonly Hostname: string }
  readonly Spec: { readonly Availability: string }
  readonly Status: { readonly State: string }
}

export interface SwarmTask {
  readonly node: string
  readonly container: string
  /** By id of the network. */
  readonly addresses: ReadonlyMap<string, string>
}

export interface SwarmState {
  /** By name. */
  readonly services: ReadonlyMap<
    string,
    { readonly tasks: readonly SwarmTask[]; readonly vips: ReadonlyMap<string, string> }
  >
}

/** @throws unless all nodes are there and every task that is wanted runs, and no other one */
export async function settledSwarm(socketPath: string, nodeCount: number): Promise<SwarmState> {
  const [services, tasks, nodes] = await Promise.all([
    get<Service[]>(socketPath, '/services'),
    get<Task[]>(socketPath, '/tasks'),
    get<Node[]>(socketPath, '/nodes'),
  ])
  const ready = nodes.filter(({ Status }) => Status.State === 'ready')
  if (ready.length !== nodeCount) throw new Error(`${ready.length} nodes are ready`)
  const active = ready.filter(({ Spec }) => Spec.Availability === 'active').length
  const nameOf = new Map(nodes.map(({ ID, Description }) => [ID, Description.Hostname]))
  const ended = ['shutdown', 'complete', 'failed', 'rejected', 'orphaned', 'remove']
  const alive = tasks.filter(({ Status }) => !ended.includes(Status.State))
  const found = services.map(({ ID, Spec, Endpoint }): [string, Found] => {
    const own = alive.filter(({ ServiceID }) => ServiceID === ID)
    const wanted = Spec.Mode.Replicated?.Replicas ?? active
    const well = own.filter(
      ({ DesiredState, Status }) => DesiredState === 'running' && Status.State === 'running',
    )
    if (well.length !== wanted || own.length !== wanted)
      throw new Error(`${Spec.Name}: ${well.length} of ${own.length} tasks run, not ${wanted}`)
    return [
      Spec.Name,
      {
        vips: new Map((Endpoint.VirtualIPs ?? []).map((each) => [each.NetworkID, host(each.Addr)])),
        tasks: well.map((task) => ({
          node: nameOf.get(task.NodeID) ?? '',
          container: task.Status.ContainerStatus?.ContainerID ?? '',
          addresses: new Map(
            (task.NetworksAttachments ?? []).map(({ Network, Addresses }) => [
              Network.ID,
              host(Addresses[0] ?? ''),
            ]),
          ),
        })),
      },
    ]
  })
  return { services: new Map(found) }
}

type Found = SwarmState['services'] extends ReadonlyMap<string, infer Value> ? Value : never

function host(address: string): string {
  return address.split('/')[0] ?? ''
}

/** Addresses on a node's gateway bridge by container. */
export async function gatewayAddresses(socketPath: string): Promise<Map<string, string>> {
  const { Containers } = await get<{ Containers: Record<string, { IPv4Address: string }> }>(
    ...([socketPath, '/networks/docker_gwbridge'] as const),
  )
  return new Map(Object.entries(Containers).map(([id, { IPv4Address }]) => [id, host(IPv4Address)]))
}

export async function networkId(socketPath: string, name: string): Promise<string> {
  return (await get<{ Id: string }>(socketPath, `/networks/${name}`)).Id
}

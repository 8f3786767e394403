/** Which containers of a network ask fairlead for names where they ask the engine's resolver. Pure. */
import type { NamespaceAsker } from '../../model/types.js'
import type { EngineContainer, EngineView } from './engine.js'
import { enabled, flagOf } from './labels.js'
import type { NetworkAnswer } from './shapes.js'

/** `all` containers of networks that are served, those that a label names, or `none`. */
export type ResolverSetting = 'all' | 'labelled' | 'none'

const STACK = 'com.docker.stack.namespace'
const DEFAULT_BRIDGE = 'com.docker.network.bridge.default_bridge'

/** @param containers those on the network, running or not */
export function askersOf(
  network: NetworkAnswer,
  containers: readonly EngineContainer[],
  { networks }: EngineView,
  setting: ResolverSetting,
): readonly NamespaceAsker[] {
  // There the engine has no resolver of its own.
  if (setting === 'none' || network.Options[DEFAULT_BRIDGE] === 'true') return []
  return containers
    .filter((container) => asks(container, networks, setting))
    .map((container): NamespaceAsker => {
      const stack = container.Config.Labels[STACK]?.toLowerCase()
      return {
        namespace: container.NetworkSettings.SandboxKey,
        rank: rankOf(network, container),
        ...(stack !== undefined && { stack }),
      }
    })
    .sort((a, b) => (a.namespace < b.namespace ? -1 : 1))
}

/** The container's word goes before that of any of its networks, and both before the setting. */
function asks(
  { State, Config, NetworkSettings }: EngineContainer,
  networks: EngineView['networks'],
  setting: ResolverSetting,
): boolean {
  if (!State.Running || NetworkSettings.SandboxKey === '' || enabled(Config.Labels) === false)
    return false
  const said = flagOf(Config.Labels, 'dns')
  if (said !== undefined) return said
  const heard = Object.values(NetworkSettings.Networks).flatMap(
    ({ NetworkID }) => flagOf(networks.get(NetworkID)?.Labels ?? {}, 'dns') ?? [],
  )
  return heard.length > 0 ? heard.includes(true) : setting === 'all'
}

/** The engine looks in overlay networks first, in internal ones last, and prefers those of both families. */
function rankOf(
  { Id, Scope, Internal }: NetworkAnswer,
  { NetworkSettings }: EngineContainer,
): number {
  const endpoint = Object.values(NetworkSettings.Networks).find(({ NetworkID }) => NetworkID === Id)
  const dual = endpoint?.Gateway !== undefined && endpoint.IPv6Gateway !== undefined
  return (Scope === 'swarm' ? 0 : 4) + (Internal ? 2 : 0) + (dual ? 0 : 1)
}

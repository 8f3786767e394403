/** Who of the swarm's agents tells whom: those of managers tell, those of workers listen. */
import type { Log } from '../docker/engine.js'
import type { Info } from '../docker/shapes.js'
import { hostBeforePort } from './address.js'
import { Listener } from './listener.js'
import { Teller } from './teller.js'
import type { Told } from './wire.js'
import { reasonOf } from '../../reason.js'

export interface ExchangeOptions {
  /** On which managers' agents listen; 0: nothing is exchanged. */
  readonly port: number
  /** Another node has told something new. */
  readonly onTold: () => void
  readonly log: Log
}

/** After listening failed: the address may not be there yet, or an earlier agent's still be taken. */
const AGAIN_MS = 5_000

export class Exchange {
  readonly #options: ExchangeOptions
  #teller: { readonly teller: Teller; readonly at: string } | undefined
  #listener: Listener | undefined
  #managers: readonly string[] = []
  #again = 0
  #trouble = ''

  constructor(options: ExchangeOptions) {
    this.#options = options
  }

  /** To be called with each look: a node may be promoted, demoted, or leave. */
  async follow({ Swarm, DockerRootDir: root }: Info): Promise<void> {
    if (this.#options.port === 0) return
    const active = Swarm?.LocalNodeState === 'active'
    const manages = active && Swarm.ControlAvailable
    if (active && !manages) this.#listen(root, Swarm.RemoteManagers)
    else await this.#deafen()
    if (manages) await this.#speak(root, Swarm.NodeAddr)
    else this.#silence()
  }

  /** What this node's store has, which must be well; to be called with each look. */
  tell(told: Told): void {
    this.#teller?.teller.tell(told)
  }

  /** What a manager's agent says now; undefined: none does. */
  get told(): Told | undefined {
    return this.#listener?.told
  }

  /** What one said last. */
  get last(): Told | undefined {
    return this.#listener?.last
  }

  async close(): Promise<void> {
    this.#silence()
    await this.#deafen()
  }

  #listen(root: string, managers: readonly { readonly Addr: string }[]): void {
    this.#managers = managers.flatMap(({ Addr }) => hostBeforePort(Addr) ?? [])
    const { port, onTold, log } = this.#options
    const options = { port, root, onTold, log, managers: () => this.#managers }
    this.#listener ??= new Listener(options)
    this.#listener.start()
  }

  async #deafen(): Promise<void> {
    const listener = this.#listener
    this.#listener = undefined
    await listener?.close()
  }

  async #speak(root: string, address: string): Promise<void> {
    const at = `${root} ${address}`
    if (this.#teller?.at === at || performance.now() < this.#again) return
    this.#silence()
    const { port, log } = this.#options
    const teller = new Teller({ root, address, port, log })
    try {
      await teller.listen()
      this.#teller = { teller, at }
      this.#trouble = ''
    } catch (error) {
      teller.close()
      this.#again = performance.now() + AGAIN_MS
      const reason = reasonOf(error)
      if (reason !== this.#trouble) log.warn({ reason }, 'workers are not told of the swarm')
      this.#trouble = reason
    }
  }

  #silence(): void {
    this.#teller?.teller.close()
    this.#teller = undefined
  }
}

/** What health checks need of the host: sockets and programs within network namespaces. */
import { createSockets } from 'libbpf-ts'
import { FairleadError } from '../errors.js'
import { reasonOf } from '../reason.js'

type Family = 4 | 6

interface Asker {
  readonly resolve: (fd: number) => void
  readonly reject: (error: unknown) => void
}

/** Sockets by one visit. */
const MAX_BATCH = 128
/** Visits at a time: they block threads that files and attachments use, too. */
const MAX_VISITS = 2

/**
 * TCP sockets of namespaces, neither bound nor connected. A visit to a namespace costs milliseconds
 * whatever is made there, so all who ask while visits are under way share the next one. None is
 * kept in stock: a socket keeps its namespace alive, and a path may come to name another one.
 */
class SocketMaker {
  readonly #asking = new Map<string, { namespace?: string; family: Family; askers: Asker[] }>()
  #visits = 0

  /** @throws FairleadError HOST, naming the namespace */
  get(namespace: string | undefined, family: Family): Promise<number> {
    const key = `${family} ${namespace ?? ''}`
    const place = this.#asking.get(key) ?? {
      ...(namespace !== undefined && { namespace }),
      family,
      askers: [],
    }
    this.#asking.set(key, place)
    const asked = new Promise<number>((resolve, reject) => place.askers.push({ resolve, reject }))
    // After all that ask in this turn.
    setImmediate(() => this.#next())
    return asked
  }

  #next(): void {
    if (this.#visits >= MAX_VISITS) return
    const [first] = this.#asking
    if (first === undefined) return
    const [key, place] = first
    const askers = place.askers.splice(0, MAX_BATCH)
    // To the end of the line, if there is more to do.
    this.#asking.delete(key)
    if (place.askers.length > 0) this.#asking.set(key, place)
    this.#visits++
    void this.#visit(place.namespace, place.family, askers).finally(() => {
      this.#visits--
      this.#next()
    })
  }

  async #visit(
    namespace: string | undefined,
    family: Family,
    askers: readonly Asker[],
  ): Promise<void> {
    try {
      const count = askers.length
      const fds = await createSockets({ netns: namespace, family, type: 'tcp', count })
      askers.forEach(({ resolve }, at) => resolve(fds[at] ?? -1))
    } catch (cause) {
      const where = namespace === undefined ? '' : ` in ${namespace}`
      const why = reasonOf(cause)
      const error = new FairleadError('HOST', `no socket${where}: ${why}`, { cause })
      for (const { reject } of askers) reject(error)
    }
  }
}

/** Sockets and programs for checks, from within a namespace (a path; absent: the agent's own). */
export function probeOpener() {
  const maker = new SocketMaker()
  return {
    socket: (namespace: string | undefined, family: Family) => maker.get(namespace, family),
    command: (namespace: string | undefined, command: readonly string[]): readonly string[] =>
      namespace === undefined ? command : ['nsenter', `--net=${namespace}`, '--', ...command],
  }
}

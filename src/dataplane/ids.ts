/**
 * Numbers that stand for networks, services and backends in the kernel. A number that is given back
 * is handed out again only after all others, so that what still refers to it has time to go.
 */

/** Handed out in a circle from 1 on, because 0 means none in every row. */
class Circle {
  readonly #taken: Uint8Array
  #next = 1
  #size = 0

  constructor(readonly last: number) {
    this.#taken = new Uint8Array(last + 1)
  }

  get size(): number {
    return this.#size
  }

  /** undefined when all are taken. */
  take(): number | undefined {
    if (this.#size >= this.last) return undefined
    while (this.#taken[this.#next] === 1) this.#advance(this.#next)
    const id = this.#next
    this.#set(id)
    return id
  }

  isFree(id: number): boolean {
    return id >= 1 && id <= this.last && this.#taken[id] === 0
  }

  /** @param id a free one */
  adopt(id: number): void {
    this.#set(id)
  }

  /** @param id a taken one */
  release(id: number): void {
    this.#taken[id] = 0
    this.#size--
  }

  #set(id: number): void {
    this.#taken[id] = 1
    this.#size++
    if (id >= this.#next) this.#advance(id)
  }

  #advance(from: number): void {
    this.#next = from >= this.last ? 1 : from + 1
  }
}

/** Ids of what has a key of its own. */
export class Ids {
  readonly #circle: Circle
  readonly #byKey = new Map<string, number>()
  readonly #byId = new Map<number, string>()

  /** @param last greatest id */
  constructor(readonly last: number) {
    this.#circle = new Circle(last)
  }

  get size(): number {
    return this.#circle.size
  }

  get(key: string): number | undefined {
    return this.#byKey.get(key)
  }

  keyOf(id: number): string | undefined {
    return this.#byId.get(id)
  }

  entries(): IterableIterator<[string, number]> {
    return this.#byKey.entries()
  }

  /** The id of `key`, a new one if it had none; undefined when all are taken. */
  take(key: string): number | undefined {
    const known = this.#byKey.get(key)
    if (known !== undefined) return known
    const id = this.#circle.take()
    if (id !== undefined) this.#set(key, id)
    return id
  }

  /** Takes over what pinned rows say; false when the id or the key is taken or out of range. */
  adopt(key: string, id: number): boolean {
    if (!this.#circle.isFree(id) || this.#byKey.has(key)) return false
    this.#circle.adopt(id)
    this.#set(key, id)
    return true
  }

  release(key: string): void {
    const id = this.#byKey.get(key)
    if (id === undefined) return
    this.#byKey.delete(key)
    this.#byId.delete(id)
    this.#circle.release(id)
  }

  #set(key: string, id: number): void {
    this.#byKey.set(key, id)
    this.#byId.set(id, key)
  }
}

export interface BackendOf {
  /** Its service's id. */
  readonly service: number
  readonly address: string
}

/**
 * Ids of the backends of services. By service and then by address: a key made of both would have to
 * be put together and hashed anew for each of a hundred thousand.
 */
export class BackendIds {
  readonly #circle: Circle
  readonly #byService = new Map<number, Map<string, number>>()
  /** By id; an address is empty where there is none. */
  readonly #services: Uint32Array
  readonly #addresses: string[]

  /** @param last greatest id */
  constructor(readonly last: number) {
    this.#circle = new Circle(last)
    this.#services = new Uint32Array(last + 1)
    this.#addresses = new Array<string>(last + 1).fill('')
  }

  get size(): number {
    return this.#circle.size
  }

  /** All of a service's, by address. */
  of(service: number): ReadonlyMap<string, number> | undefined {
    return this.#byService.get(service)
  }

  get(service: number, address: string): number | undefined {
    return this.#byService.get(service)?.get(address)
  }

  backendOf(id: number): BackendOf | undefined {
    const address = this.#addresses[id] ?? ''
    return address === '' ? undefined : { service: this.#services[id] ?? 0, address }
  }

  *entries(): Generator<readonly [id: number, backend: BackendOf]> {
    for (const [service, ids] of this.#byService)
      for (const [address, id] of ids) yield [id, { service, address }]
  }

  /** Ids in use above `id`, ascending: at most `count`. */
  after(id: number, count: number): number[] {
    const ids: number[] = []
    for (let next = id + 1; next <= this.last && ids.length < count; next++)
      if (this.#addresses[next] !== '') ids.push(next)
    return ids
  }

  /** The id of a backend that has none yet; undefined when all are taken. */
  add(service: number, address: string): number | undefined {
    const id = this.#circle.take()
    if (id !== undefined) this.#set(service, address, id)
    return id
  }

  /** Takes over what pinned rows say; false when the id or the key is taken or out of range. */
  adopt(service: number, address: string, id: number): boolean {
    if (!this.#circle.isFree(id) || this.get(service, address) !== undefined) return false
    this.#circle.adopt(id)
    this.#set(service, address, id)
    return true
  }

  release(id: number): void {
    const backend = this.backendOf(id)
    if (backend === undefined) return
    this.#addresses[id] = ''
    const ids = this.#byService.get(backend.service)
    ids?.delete(backend.address)
    if (ids?.size === 0) this.#byService.delete(backend.service)
    this.#circle.release(id)
  }

  #set(service: number, address: string, id: number): void {
    let ids = this.#byService.get(service)
    if (ids === undefined) {
      ids = new Map()
      this.#byService.set(service, ids)
    }
    ids.set(address, id)
    this.#services[id] = service
    this.#addresses[id] = address
  }
}

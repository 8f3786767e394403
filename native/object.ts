/** Object files: opened, adjusted, loaded. */
import { addon, type NativeObject, type ObjectMapDefinition } from './addon.js'
import { Btf } from './btf.js'
import * as check from './check.js'
import { codecOf, TypeTable, type Codec, type Value } from './codec.js'
import { bpfError } from './errors.js'
import { attachTypeNumber, type AttachType } from './kinds.js'
import { BpfMap } from './map.js'
import { codecFor } from './mapCodecs.js'
import { Program } from './program.js'

export interface OpenOptions {
  /** Prefix of the data sections' map names; default: the file's name. */
  name?: string | undefined
  /** Where maps with a `pinning` attribute are kept; default /sys/fs/bpf. */
  pinRoot?: string | undefined
}

interface Variable {
  readonly section: string
  readonly offset: number
  readonly codec: Codec
}

/**
 * One BPF object file. Before load(): sizes, read-only data, reuse of maps. After it: `maps` and
 * `programs` work. close() closes those too; what must live on is pinned or attached.
 */
export class BpfObject {
  /** The types in the object's BTF. */
  readonly types: TypeTable
  readonly maps: ReadonlyMap<string, BpfMap>
  readonly programs: ReadonlyMap<string, Program>

  readonly #native: NativeObject
  readonly #btf: Btf
  readonly #variables: ReadonlyMap<string, Variable>
  #loaded = false

  private constructor(
    readonly file: string,
    native: NativeObject,
  ) {
    this.#native = native
    const bytes = native.btf()
    if (bytes === undefined) throw bpfError('open', file, 'EINVAL', 'the object has no BTF')
    this.#btf = new Btf(bytes)
    this.types = new TypeTable(this.#btf)
    this.maps = new Map(native.maps().map((one) => this.#map(one)))
    this.programs = new Map(
      native.programs().map(({ name, type }) => [name, new Program(name, type)]),
    )
    this.#variables = readOnlyVariables(this.#btf, this.maps)
  }

  /**
   * @throws BpfError ENOENT, EACCES; LIBBPF_LIBELF, LIBBPF_FORMAT for what is no object; EINVAL for
   *   one without BTF (`clang -g`)
   */
  static open(file: string, options: OpenOptions = {}): BpfObject {
    check.text(file, 'file')
    const { name, pinRoot } = check.options(options)
    if (name !== undefined && !/^\w{1,15}$/.test(name)) {
      throw new RangeError('name: not 1 to 15 letters, digits and underscores')
    }
    const native = new addon.BpfObject(file, name, pinRoot)
    try {
      return new BpfObject(file, native)
    } catch (error) {
      native.close()
      throw error
    }
  }

  /**
   * Values of `const volatile` variables, all or none.
   *
   * @throws RangeError for an unknown name; TypeError or RangeError for a value that does not fit;
   *   BpfError EBUSY after load
   */
  setRodata(values: Readonly<Record<string, Value>>): void {
    const sections = new Map<string, Uint8Array>()
    for (const [name, value] of Object.entries(check.options(values, 'values'))) {
      const { section, offset, codec } = this.#variable(name)
      const bytes = sections.get(section) ?? this.#native.initialValue(section)
      if (bytes === undefined) throw bpfError('setRodata', section, 'ENOENT')
      sections.set(section, bytes)
      try {
        codec.encode(value, bytes, offset)
      } catch (error) {
        const cause = { cause: error }
        if (error instanceof TypeError) throw new TypeError(`${name}: ${error.message}`, cause)
        if (error instanceof RangeError) throw new RangeError(`${name}: ${error.message}`, cause)
        throw error
      }
    }
    for (const [section, bytes] of sections) this.#native.setInitialValue(section, bytes)
  }

  /** @throws RangeError for an unknown name */
  getRodata(name: string): Value {
    const { section, offset, codec } = this.#variable(name)
    const bytes = this.#native.initialValue(section)
    if (bytes === undefined) throw bpfError('getRodata', section, 'ENOENT')
    return codec.decode(bytes, offset)
  }

  /** @throws RangeError; BpfError EBUSY after load */
  resize(map: string, maxEntries: number): void {
    const entry = this.map(map)
    this.#native.resize(map, check.integer(maxEntries, 'maxEntries', 1, 0xffffffff))
    entry.adjust(maxEntries)
  }

  /**
   * Uses an existing map instead of making one.
   *
   * @throws RangeError; BpfError EBUSY after load; EINVAL with all differences in `log` when type,
   *   sizes, flags or the layout of keys or values are not the same
   */
  reuse(map: string, from: BpfMap): void {
    const own = this.map(map)
    if (!(from instanceof BpfMap)) throw new TypeError('from: not a BpfMap')
    const fd = from.fd
    const differences = compare(own, from)
    if (differences.length > 0) throw bpfError('reuse', map, 'EINVAL', differences.join('\n'))
    this.#native.reuse(map, fd)
  }

  /** @throws RangeError, TypeError; BpfError EBUSY after load */
  setAttachType(program: string, type: AttachType): void {
    this.program(program)
    this.#native.setAttachType(program, attachTypeNumber(type))
  }

  /** Whether load() takes the program along; default: unless its section starts with '?'. */
  autoload(program: string, on: boolean): void {
    this.program(program)
    this.#native.setAutoload(program, on)
  }

  /**
   * Into the kernel, on this thread. An object loads once, also when it fails.
   *
   * @throws BpfError with the verifier's and libbpf's words in `log`; EPERM without CAP_BPF
   */
  load(): void {
    this.#native.load()
    this.#bind()
  }

  /**
   * load() on another thread: the verifier may take its time. Meanwhile the object's methods throw
   * BpfError EBUSY; after a close() meanwhile it rejects with EBADF.
   */
  async loadAsync(): Promise<void> {
    await this.#native.loadAsync()
    this.#bind()
  }

  #bind(): void {
    this.#loaded = true
    for (const [name, map] of this.maps) map.bind(new addon.Map(this.#native.mapFd(name)))
    for (const [name, program] of this.programs) {
      const fd = this.#native.programFd(name)
      if (fd >= 0) program.bind(new addon.Program(fd))
    }
  }

  get loaded(): boolean {
    return this.#loaded
  }

  /** Data sections are under their section's name: '.rodata', '.bss'. @throws RangeError */
  map<K = Value, V = Value>(name: string): BpfMap<K, V> {
    const map = this.maps.get(name)
    if (map === undefined) throw new RangeError(`map: ${this.file} has no ${name}`)
    // The codecs come from BTF; K and V are the caller's names for what they give.
    return map as unknown as BpfMap<K, V>
  }

  /** @throws RangeError */
  program(name: string): Program {
    const program = this.programs.get(name)
    if (program === undefined) throw new RangeError(`program: ${this.file} has no ${name}`)
    return program
  }

  /** Idempotent; closes the maps and programs, too. */
  close(): void {
    for (const map of this.maps.values()) map.close()
    for (const program of this.programs.values()) program.close()
    this.#native.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #map(definition: ObjectMapDefinition): [string, BpfMap] {
    // libbpf calls them prefix.rodata; the section alone is what the source says.
    const { internal } = definition
    const name = internal ? definition.name.slice(definition.name.indexOf('.')) : definition.name
    const valueTypeId = internal ? (this.#btf.find(name) ?? 0) : definition.valueTypeId
    const key = codecFor<Value>(this.#btf, definition.keyTypeId, definition.keySize)
    const value = codecFor<Value>(this.#btf, valueTypeId, definition.valueSize)
    return [name, new BpfMap<Value, Value>({ ...definition, name }, { key, value })]
  }

  #variable(name: string): Variable {
    const variable = this.#variables.get(name)
    if (variable === undefined) throw new RangeError(`${name}: not in .rodata`)
    return variable
  }
}

function readOnlyVariables(btf: Btf, maps: ReadonlyMap<string, BpfMap>): Map<string, Variable> {
  const variables = new Map<string, Variable>()
  for (const section of maps.keys()) {
    const id = /^\.rodata(\.|$)/.test(section) ? btf.find(section) : undefined
    if (id === undefined) continue
    const { type } = btf.resolve(id)
    if (type.kind !== 'section') continue
    for (const member of type.members) {
      const codec = codecOf(btf, member.type)
      variables.set(member.name, { section, offset: member.bitOffset / 8, codec })
    }
  }
  return variables
}

function compare(own: BpfMap, from: BpfMap): string[] {
  const differences: string[] = []
  const same = (what: string, a: string | number, b: string | number): void => {
    if (a !== b) differences.push(`${what}: ${a} in the object, ${b} in the map`)
  }
  same('type', own.type, from.type)
  same('keySize', own.keySize, from.keySize)
  same('valueSize', own.valueSize, from.valueSize)
  same('maxEntries', own.maxEntries, from.maxEntries)
  same('flags', own.flags, from.flags)
  const layouts = [
    ['key', own.keyCodec.describe(), from.keyCodec.describe()],
    ['value', own.valueCodec.describe(), from.valueCodec.describe()],
  ] as const
  for (const [what, a, b] of layouts) {
    // Plain bytes: one side has no BTF, so there is nothing to compare.
    const bare = /^u8\[\d+\]$/
    if (!bare.test(a) && !bare.test(b)) same(what, a, b)
  }
  return differences
}

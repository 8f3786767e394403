/**
 * YAML with places: a file's text as plain data, and where each field of it stands.
 *
 * Bounded against hostile files: depth, repeated aliases and total size have limits, duplicate keys
 * and unknown tags are mistakes, and mappings have no prototype to pollute.
 */
import {
  LineCounter,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  parseDocument,
  type Document,
  type Node,
} from 'yaml'
import type { ErrorCode } from '../../errors.js'
import { shown } from './fields.js'

export type FieldPath = readonly (string | number)[]

export interface Mistake {
  /** `file:line:column field`; without a field for the file's top. */
  readonly place: string
  readonly code: ErrorCode
  readonly reason: string
}

/** Where a field was written, for whoever has to mend it. */
export interface Places {
  place(path: FieldPath): string
  /** Of a field's own name, where the field is unknown. */
  keyPlace(path: FieldPath, key: string): string
}

const MAX_DEPTH = 32
/** Nodes that aliases may add: enough for a list of ports shared by 100,000 services. */
const MAX_ALIASED_NODES = 1_000_000

/** A parsed file. */
export class YamlFile implements Places {
  private constructor(
    /** As messages name it. */
    readonly name: string,
    /** Mappings are objects without a prototype. Undefined when there are `mistakes`. */
    readonly value: unknown,
    readonly mistakes: readonly Mistake[],
    private readonly document: Document,
    private readonly lines: LineCounter,
  ) {}

  static parse(name: string, text: string): YamlFile {
    const lines = new LineCounter()
    const document = parseDocument(text, {
      lineCounter: lines,
      // Both are checked below: the library compares every key with all before it.
      uniqueKeys: false,
      stringKeys: true,
      resolveKnownTags: false,
      prettyErrors: false,
      logLevel: 'error',
    })
    const mistakes = [...document.errors, ...document.warnings].map(({ message, pos }) => ({
      place: spot(name, lines, pos[0]),
      code: 'FILE' as const,
      reason: `is not valid YAML: ${message}`,
    }))
    if (mistakes.length > 0) return new YamlFile(name, undefined, mistakes, document, lines)
    const reader = new Reader(name, document, lines)
    const value = reader.read(document.contents, 0, false)
    return new YamlFile(name, value, reader.mistakes, document, lines)
  }

  /** `file:line:column field` of a field, or of the nearest thing around it that is there. */
  place(path: FieldPath): string {
    const field = fieldName(path)
    const at = spot(this.name, this.lines, this.offset(path))
    return field === '' ? at : `${at} ${field}`
  }

  /** Line and column of each entry of a list at the top, in turns. */
  startsOf(list: string): Uint32Array {
    const node = isMap(this.document.contents) ? this.document.contents.get(list) : undefined
    const top = this.offset([list])
    const items = isSeq(node) ? node.items : []
    const starts = new Uint32Array(items.length * 2)
    items.forEach((item, i) => {
      const { line, col } = this.lines.linePos(startOf(item) ?? top)
      starts.set([line, col], i * 2)
    })
    return starts
  }

  private offset(path: FieldPath): number {
    let node: unknown = this.document.contents
    let offset = startOf(node) ?? 0
    for (const step of path) {
      if (isAlias(node)) node = node.resolve(this.document)
      if (isMap(node)) {
        const pair = node.items.find(({ key }) => isScalar(key) && key.value === step)
        if (pair === undefined) break
        offset = startOf(pair.value) ?? startOf(pair.key) ?? offset
        // An empty value starts after its key; the key is what a reader looks for.
        if (isScalar(pair.value) && pair.value.value === null) offset = startOf(pair.key) ?? offset
        node = pair.value
      } else if (isSeq(node) && typeof step === 'number') {
        node = node.items[step]
        offset = startOf(node) ?? offset
      } else break
    }
    return offset
  }

  /** Where an unknown field's own name stands. */
  keyPlace(path: FieldPath, key: string): string {
    let node: unknown = this.document.contents
    for (const step of path) {
      if (isAlias(node)) node = node.resolve(this.document)
      if (isMap(node)) node = node.items.find((p) => isScalar(p.key) && p.key.value === step)?.value
      else if (isSeq(node) && typeof step === 'number') node = node.items[step]
    }
    if (isAlias(node)) node = node.resolve(this.document)
    const pair = isMap(node)
      ? node.items.find((p) => isScalar(p.key) && p.key.value === key)
      : undefined
    const at = startOf(pair?.key) ?? this.offset(path)
    return `${spot(this.name, this.lines, at)} ${fieldName([...path, key])}`
  }
}

/**
 * Where an entry of a list at the top stands, by its index and named by a field of it if one is given.
 *
 * @param name   the file as messages call it
 * @param starts as YamlFile.startsOf() gives them
 */
export function entryPlaces(
  name: string,
  list: string,
  starts: Uint32Array,
): (index: number, field?: string) => string {
  return (index, field) => {
    const path = [list, index, ...(field === undefined ? [] : [field])]
    const [line = 1, column = 1] = starts.subarray(index * 2)
    return `${name}:${Math.max(1, line)}:${Math.max(1, column)} ${fieldName(path)}`
  }
}

/** `services[3].ports[0].port` */
export function fieldName(path: FieldPath): string {
  return path
    .map((step, index) => {
      if (typeof step === 'number') return `[${step}]`
      const plain = /^[\w-]{1,64}$/.test(step) ? step : shown(step)
      return index === 0 ? plain : `.${plain}`
    })
    .join('')
}

class Reader {
  readonly mistakes: Mistake[] = []
  private aliased = 0

  constructor(
    private readonly name: string,
    private readonly document: Document,
    private readonly lines: LineCounter,
  ) {}

  read(node: unknown, depth: number, inAlias: boolean): unknown {
    if (depth > MAX_DEPTH) return this.refuse(node, `is nested deeper than ${MAX_DEPTH}`)
    if (inAlias && ++this.aliased > MAX_ALIASED_NODES) {
      return this.refuse(node, 'aliases expand to too much')
    }
    if (isScalar(node)) return node.value
    if (isAlias(node)) {
      const target = node.resolve(this.document)
      if (target === undefined) return this.refuse(node, `alias *${node.source} names no anchor`)
      return this.read(target, depth + 1, true)
    }
    if (isSeq(node)) {
      const items: unknown[] = []
      for (const item of node.items) {
        items.push(this.read(item, depth + 1, inAlias))
        if (this.mistakes.length > 0) break
      }
      return items
    }
    if (!isMap(node)) return null
    const result = Object.create(null) as Record<string, unknown>
    for (const { key, value } of node.items) {
      const name = isScalar(key) ? String(key.value) : ''
      if (name in result) return this.refuse(key, `has the key ${shown(name)} twice`)
      result[name] = this.read(value, depth + 1, inAlias)
      if (this.mistakes.length > 0) break
    }
    return result
  }

  private refuse(node: unknown, reason: string): null {
    const place = spot(this.name, this.lines, startOf(node) ?? 0)
    this.mistakes.push({ place, code: 'FILE', reason })
    return null
  }
}

function startOf(node: unknown): number | undefined {
  return (node as Node | null | undefined)?.range?.[0]
}

function spot(name: string, lines: LineCounter, offset: number): string {
  const { line, col } = lines.linePos(offset)
  return `${name}:${Math.max(1, line)}:${Math.max(1, col)}`
}

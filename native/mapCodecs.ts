/** Which codecs a map gets: given ones, those of its BTF, or none better than bytes. */
import { addon, type MapDetails } from './addon.js'
import { Btf } from './btf.js'
import { bytesCodec, codecOf, u32Codec, type Codec } from './codec.js'

export interface Codecs<K, V> {
  readonly key?: Codec<K> | undefined
  readonly value?: Codec<V> | undefined
}

/** @throws RangeError for a codec of another size */
export function pick<T>(
  given: Codec<T> | undefined,
  size: number,
  u32: boolean,
  what: string,
): Codec<T> {
  if (given === undefined) {
    // Without a layout the caller's T can only be bytes, or the number that the kernel demands.
    return (u32 ? u32Codec() : bytesCodec(size)) as unknown as Codec<T>
  }
  if (given.size !== size) throw new RangeError(`${what}: ${size} bytes, the codec's ${given.size}`)
  return given
}

export function withKernelBtf<K, V>(details: MapDetails, given: Codecs<K, V>): Codecs<K, V> {
  if (details.btfId === 0 || (given.key !== undefined && given.value !== undefined)) return given
  const btf = new Btf(addon.kernelBtf(details.btfId))
  return {
    key: given.key ?? codecFor<K>(btf, details.keyTypeId, details.keySize),
    value: given.value ?? codecFor<V>(btf, details.valueTypeId, details.valueSize),
  }
}

/** undefined when there is no type, or one that does not describe the whole */
export function codecFor<T>(btf: Btf, typeId: number, size: number): Codec<T> | undefined {
  if (typeId === 0) return undefined
  const { type } = btf.resolve(typeId)
  if (type.kind === 'void' || type.kind === 'function' || type.kind === 'forward') return undefined
  const codec = codecOf<T>(btf, typeId)
  return codec.size === size ? codec : undefined
}

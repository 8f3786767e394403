/** Checks of arguments that the types already promise, for callers without types. */

/** @throws TypeError or RangeError */
export function integer(value: unknown, name: string, low: number, high: number): number {
  if (typeof value !== 'number') throw new TypeError(`${name}: not a number`)
  if (!Number.isInteger(value) || value < low || value > high) {
    throw new RangeError(`${name}: not an integer from ${low} to ${high}`)
  }
  return value
}

/** @throws TypeError unless it is a string with something in it */
export function text(value: unknown, name: string): string {
  if (typeof value !== 'string') throw new TypeError(`${name}: not a string`)
  if (value === '' || value.includes('\0')) throw new RangeError(`${name}: empty, or contains NUL`)
  return value
}

/** @throws TypeError unless it is an object */
export function options<T extends object>(value: T, name = 'options'): T {
  if (typeof value !== 'object' || (value as unknown) === null) {
    throw new TypeError(`${name}: not an object`)
  }
  return value
}

/** @throws TypeError naming the choices */
export function oneOf<T extends string>(value: T, choices: readonly T[], name: string): T {
  if (!choices.includes(value)) throw new TypeError(`${name}: not one of ${choices.join(', ')}`)
  return value
}

/** @throws TypeError unless it is a boolean */
export function bool(value: unknown, name: string): boolean {
  if (typeof value !== 'boolean') throw new TypeError(`${name}: not a boolean`)
  return value
}

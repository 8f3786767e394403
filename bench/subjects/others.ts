/** The services besides the measured one: their addresses. */

/** @param at from 0; up to 65,535 of them, in 10.64.0.0/16 */
export function otherVip(at: number): string {
  return `10.64.${(at + 1) >> 8}.${(at + 1) & 255}`
}

/** Addresses as engines write them. */
import { canonicalAddress, isAddress } from '../../model/address.js'

/** The address of `10.0.0.9/24`, or of `10.0.0.9`; undefined for what is none (`<nil>`). */
export function hostOf(text: string): string | undefined {
  const address = text.split('/')[0] ?? ''
  return isAddress(address) ? canonicalAddress(address) : undefined
}

/** That of `192.0.2.1:2377` or `[2001:db8::1]:2377`. */
export function hostBeforePort(text: string): string | undefined {
  return hostOf(text.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1'))
}

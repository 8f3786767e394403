/** Numbers and times as people read them. */

const units = ['', 'k', 'M', 'G', 'T'] as const

/** Three figures and a decimal prefix: `0`, `1.25`, `340`, `1.2k`. */
export function short(value: number): string {
  if (value === 0) return '0'
  let scaled = value
  let at = 0
  while (scaled >= 999.5 && at < units.length - 1) {
    scaled /= 1000
    at++
  }
  const digits = scaled >= 99.95 ? 0 : scaled >= 9.995 ? 1 : 2
  const text = scaled.toFixed(digits)
  return `${text.includes('.') ? text.replace(/\.?0+$/, '') : text}${units[at] ?? ''}`
}

/** Bits in a second. @param bits its value */
export function bitRate(bits: number): string {
  const text = short(bits)
  return /[kMGT]$/.test(text) ? `${text.slice(0, -1)} ${text.slice(-1)}bit/s` : `${text} bit/s`
}

/** `3 d 4 h`, `2 h 5 min`, `12 min`, `40 s`. */
export function duration(seconds: number): string {
  const minutes = Math.floor(seconds / 60)
  const hours = Math.floor(minutes / 60)
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`
  if (hours === 0) return `${minutes} min`
  if (hours < 24) return `${hours} h ${minutes % 60} min`
  return `${Math.floor(hours / 24)} d ${hours % 24} h`
}

/** A short time: `0.3 ms`, `1.2 s`. */
export function brief(seconds: number): string {
  return seconds < 0.9995 ? `${short(seconds * 1000)} ms` : `${short(seconds)} s`
}

const clock = new Intl.DateTimeFormat('en-GB', { timeStyle: 'medium' })
const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' })

/** `14:03:22`; with the day if that is another one. */
export function timeOf(at: string | number): string {
  const date = new Date(at)
  const text = clock.format(date)
  return date.toDateString() === new Date().toDateString() ? text : `${day.format(date)}, ${text}`
}

export function plural(count: number, noun: string): string {
  return `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`
}

/** `10.0.0.9:80`, `[fd00::9]:53/udp`. */
export function endpoint(address: string, port: number, protocol: string): string {
  const host = address.includes(':') ? `[${address}]` : address
  return `${host}:${port}${protocol === 'udp' ? '/udp' : ''}`
}

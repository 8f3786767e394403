/** Small drawings that stand in for numbers beside them. */

interface States {
  readonly active: number
  readonly draining: number
  readonly down: number
}

/** More would be a bar code. */
const MAX_PIPS = 16

/** A mark for each backend: full, half, or open. What they say is in text beside them. */
export function Pips({ active, draining, down }: States) {
  const all = active + draining + down
  const scale = all > MAX_PIPS ? MAX_PIPS / all : 1
  const marks = [
    ...Array<string>(Math.round(active * scale)).fill('active'),
    ...Array<string>(Math.ceil(draining * scale)).fill('draining'),
    ...Array<string>(Math.ceil(down * scale)).fill('down'),
  ]
  return (
    <svg class="pips" width={marks.length * 8} height="14" aria-hidden="true">
      {marks.map((state, at) => (
        <rect key={at} class={state} x={at * 8 + 0.75} y="0.75" width="4.5" height="12.5" rx="1" />
      ))}
    </svg>
  )
}

const WIDTH = 88
const HEIGHT = 18

/** @param length of a full line; what is missing at its left has not been seen */
export function Spark({ values, length }: { values: readonly number[]; length: number }) {
  const top = Math.max(1, ...values)
  const step = WIDTH / (length - 1)
  const first = WIDTH - (values.length - 1) * step
  const points = values.map((value, at) => {
    const y = HEIGHT - 1.5 - (value / top) * (HEIGHT - 3)
    return `${(first + at * step).toFixed(1)},${y.toFixed(1)}`
  })
  return (
    <svg class="spark" width={WIDTH} height={HEIGHT} aria-hidden="true">
      {values.length > 1 && <polyline points={points.join(' ')} />}
    </svg>
  )
}

/** A part of the whole, and a tick where it should be. */
export function Share({ part, due }: { part: number; due: number | undefined }) {
  return (
    <svg class="share" width="72" height="12" aria-hidden="true">
      <rect class="ground" x="0" y="3" width="72" height="6" rx="1" />
      <rect class="part" x="0" y="3" width={72 * Math.min(1, part)} height="6" rx="1" />
      {due !== undefined && (
        <rect class="due" x={Math.max(0, 72 * due - 1)} y="0" width="1.5" height="12" />
      )}
    </svg>
  )
}

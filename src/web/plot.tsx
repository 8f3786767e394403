/** A plot over time, drawn by uPlot; its newest values stand beside the title, for eye and ear. */
import { useEffect, useRef } from 'preact/hooks'
import uPlot from 'uplot'

export interface Line {
  readonly label: string
  /** A custom property of the style sheet. */
  readonly colour: string
  readonly values: readonly (number | null)[]
  readonly fill?: boolean
}

interface PlotProps {
  readonly title: string
  readonly times: readonly number[]
  readonly lines: readonly Line[]
  readonly format: (value: number) => string
  readonly height?: number
  /** Top of the scale, if nothing is above. */
  readonly least?: number
  /** Without axes and title. */
  readonly bare?: boolean
}

export function Plot({
  title,
  times,
  lines,
  format,
  height = 190,
  least = 1,
  bare = false,
}: PlotProps) {
  const place = useRef<HTMLDivElement>(null)
  const readout = useRef<HTMLParagraphElement>(null)
  const plot = useRef<uPlot>(undefined)
  const data = [times, ...lines.map(({ values }) => values)] as unknown as uPlot.AlignedData
  const names = lines.map(({ label, colour }) => `${label} ${colour}`).join('|')
  const latest = useRef({ lines, format, data })
  latest.current = { lines, format, data }

  useEffect(() => {
    const box = place.current
    if (!box) return
    const make = (): void => {
      plot.current?.destroy()
      const tell = (self: uPlot): void => showReadout(readout.current, self, latest.current)
      const options = optionsFor(box, latest.current, { height, bare, least, tell })
      plot.current = new uPlot(options, latest.current.data, box)
    }
    make()
    const resized = new ResizeObserver(() => {
      plot.current?.setSize({ width: Math.max(40, box.clientWidth), height })
    })
    resized.observe(box)
    const themes = new MutationObserver(make)
    themes.observe(document.documentElement, { attributeFilter: ['data-theme'] })
    const dark = matchMedia('(prefers-color-scheme: dark)')
    dark.addEventListener('change', make)
    return () => {
      resized.disconnect()
      themes.disconnect()
      dark.removeEventListener('change', make)
      plot.current?.destroy()
      plot.current = undefined
    }
  }, [names, height, bare, least])
  useEffect(() => plot.current?.setData(data))

  const told = lines
    .map(({ label, values }) => `${label} ${valueText(values.at(-1), format)}`)
    .join(', ')
  return (
    <figure class={bare ? 'plot bare' : 'plot'}>
      {!bare && (
        <figcaption>
          <h2>{title}</h2>
          <p ref={readout} class="readout" aria-hidden="true">
            &nbsp;
          </p>
        </figcaption>
      )}
      <div ref={place} class="canvas" role="img" aria-label={`${title}: now ${told}`} />
    </figure>
  )
}

function valueText(value: number | null | undefined, format: (value: number) => string): string {
  return value === null || value === undefined ? 'unknown' : format(value)
}

interface Shown {
  readonly lines: readonly Line[]
  readonly format: (value: number) => string
}

/** What is under the pointer, else the newest. */
function showReadout(place: HTMLElement | null, plot: uPlot, { lines, format }: Shown): void {
  if (!place) return
  const [times] = plot.data
  const at = plot.cursor.idx ?? times.length - 1
  const time = times[at]
  const when = plot.cursor.idx === null || time === undefined ? [] : [part(timeText(time))]
  const texts = lines.map(({ label, colour, values }, line) => {
    const value = (plot.data[line + 1] ?? values)[at]
    return part(`${label} ${valueText(value, format)}`, colour)
  })
  // More than a few would not fit; the table has them.
  const sum = lines.reduce((total, _, line) => total + (plot.data[line + 1]?.[at] ?? 0), 0)
  const shown = texts.length > 3 ? [part(`all ${format(sum)}`)] : texts
  place.replaceChildren(...when, ...shown)
}

/** @param colour of the line that it is about */
function part(text: string, colour?: string): HTMLElement {
  const span = document.createElement('span')
  if (colour !== undefined) {
    const key = document.createElement('i')
    key.style.background = `var(${colour})`
    span.append(key)
  }
  span.append(text)
  return span
}

function timeText(seconds: number): string {
  return new Date(seconds * 1000).toLocaleTimeString('en-GB')
}

interface Look {
  readonly height: number
  readonly bare: boolean
  readonly least: number
  readonly tell: (plot: uPlot) => void
}

function optionsFor(
  box: HTMLElement,
  shown: Shown,
  { height, bare, least, tell }: Look,
): uPlot.Options {
  const colour = coloursOf(box)
  const width = Math.max(40, box.clientWidth)
  const scales = { x: { range: aMinuteAtLeast }, y: { range: rangeFromZero(least) } }
  const series = shown.lines.map(({ label, colour: name, fill }) => ({
    ...{ label, stroke: colour(name), width: 1.5, points: { show: isShort, size: 4 } },
    ...(fill && { fill: colour(`${name}-wash`) }),
  }))
  const base = { width, height, scales, series: [{}, ...series], legend: { show: false } }
  const hooks = { setCursor: [tell], setData: [tell] }
  if (bare) return { ...base, padding: [2, 0, 0, 0], cursor: { show: false }, axes: noAxes }
  const axis = {
    ...{ stroke: colour('--dim'), font: '12px "Inter Variable", system-ui, sans-serif' },
    ...{ grid: { stroke: colour('--rule'), width: 1 }, ticks: { show: false }, gap: 6 },
  }
  const values = (_plot: uPlot, splits: number[]): string[] => splits.map(shown.format)
  const times = (_plot: uPlot, splits: number[]): string[] => splits.map(timeText)
  const axes = [
    { ...axis, grid: { show: false }, values: times, space: 90, size: 26 },
    { ...axis, values, size: 74, space: 36 },
  ]
  const cursor = { points: { size: 6 }, y: false, drag: { x: false, y: false } }
  return { ...base, axes, cursor, hooks, padding: [8, 8, 0, 0] }
}

const noAxes = [{ show: false }, { show: false }]

/** One or two would make no line. */
function isShort(plot: uPlot): boolean {
  return plot.data[0].length < 3
}

/** What has just begun grows from the right. */
function aMinuteAtLeast(_plot: uPlot, min: number | null, max: number | null): uPlot.Range.MinMax {
  const end = max ?? Date.now() / 1000
  return [Math.min(min ?? end, end - 60), end]
}

/** From zero: a quiet line must look quiet. */
function rangeFromZero(least: number): uPlot.Scale.Range {
  return (_plot: uPlot, _min: number | null, max: number | null) => {
    return [0, Math.max(least, (max ?? 0) * 1.15)]
  }
}

/** A canvas knows no custom properties. */
function coloursOf(box: HTMLElement): (name: string) => string {
  return (name) => {
    const probe = document.createElement('span')
    probe.style.color = `var(${name})`
    box.append(probe)
    const { color } = getComputedStyle(probe)
    probe.remove()
    return color
  }
}

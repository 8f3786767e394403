/** Plots of the results, as SVG. Pure: the same results give the same bytes. */
import { BarChart, CustomChart, LineChart } from 'echarts/charts'
import { GridComponent, LegendComponent, TitleComponent } from 'echarts/components'
import { type EChartsCoreOption, init, use } from 'echarts/core'
import { SVGRenderer } from 'echarts/renderers'
import type { AxesDocument } from '../axes/run.js'
import type { DnsRow } from '../dns/run.js'
import type { Spread } from '../frame/statistics.js'
import type { CaseName } from '../guest/cases.js'
import type { GuestDocument } from '../guest/document.js'
import type { HostDocument } from '../host/document.js'
import { SUBJECTS } from '../subjects/subjects.js'

use([BarChart, LineChart, CustomChart, GridComponent, LegendComponent, TitleComponent, SVGRenderer])

const WIDTH = 860
const BAR_HEIGHT = 26
const MARGIN = 90
const OURS = '#2a6f97'
const OTHERS = '#a9b4bd'
const RANGE = '#33414c'
const FONT = { fontFamily: 'sans-serif', color: '#22303a' }

export interface Plot {
  /** Of the file, without its ending. */
  readonly name: string
  readonly title: string
  readonly svg: string
}

function draw(name: string, title: string, height: number, option: EChartsCoreOption): Plot {
  const chart = init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height })
  chart.setOption({
    ...{ animation: false, backgroundColor: '#ffffff', textStyle: FONT },
    title: { text: title, left: 12, top: 8, textStyle: { ...FONT, fontSize: 15 } },
    ...option,
  })
  const svg = renumbered(chart.renderToSVGString())
  chart.dispose()
  return { name, title, svg: `${svg}\n` }
}

/** The library counts charts and classes of a process; here each plot begins anew. */
function renumbered(svg: string): string {
  const names = new Map<string, string>()
  return svg.replaceAll(/zr\d+-\w+(-?\d+)?/g, (name) => {
    const known = names.get(name) ?? `n${names.size}`
    names.set(name, known)
    return known
  })
}

interface Bar {
  readonly label: string
  readonly ours: boolean
  readonly value: Spread
}

/** Horizontal bars of medians, with a line from the least to the most. */
function bars(name: string, title: string, unit: string, all: readonly Bar[]): Plot[] {
  if (all.length === 0) return []
  const height = MARGIN + all.length * BAR_HEIGHT
  return [
    draw(name, title, height, {
      grid: { left: 270, right: 40, top: 44, bottom: 44 },
      xAxis: { type: 'value', name: unit, nameLocation: 'middle', nameGap: 26 },
      yAxis: {
        ...{ type: 'category', inverse: true, data: all.map(({ label }) => label) },
        axisLabel: { interval: 0, width: 250, overflow: 'truncate' },
      },
      series: [
        {
          type: 'bar',
          barWidth: '62%',
          data: all.map(({ value, ours }) => ({
            value: value.median,
            itemStyle: { color: ours ? OURS : OTHERS },
          })),
        },
        {
          type: 'custom',
          data: all.map(({ value }, at) => [at, value.min, value.max]),
          renderItem: rangeLine,
          z: 3,
        },
      ],
    }),
  ]
}

interface Drawing {
  value(dimension: number): number
  coord(point: readonly [number, number]): readonly [number, number]
}

function rangeLine(_: unknown, api: Drawing): object {
  const [x1, y1] = api.coord([api.value(1), api.value(0)])
  const [x2, y2] = api.coord([api.value(2), api.value(0)])
  return { type: 'line', shape: { x1, y1, x2, y2 }, style: { stroke: RANGE, lineWidth: 1.5 } }
}

function titleOf(name: string): string {
  return SUBJECTS.find((one) => one.name === name)?.title ?? name
}

function isOurs(name: string): boolean {
  return name.startsWith('fairlead')
}

export function guestPlots({ rows, cases }: GuestDocument): Plot[] {
  const told: readonly CaseName[] = ['frames', 'arrived', 'fresh', 'connect']
  return cases
    .filter(({ name }) => told.includes(name))
    .flatMap(({ name, title, unit }) =>
      bars(
        `guest-${name}`,
        title,
        `guest instructions per ${unit}`,
        rows
          .filter((row) => row.case === name && row.services === 1)
          .map(({ subject, instructions: value }) => ({
            ...{ label: titleOf(subject), ours: isOurs(subject), value },
          })),
      ),
    )
}

export function hostPlots({ rows, cases }: HostDocument): Plot[] {
  return cases.flatMap(({ name, title, unit }) =>
    bars(
      `host-${name}`,
      title,
      unit,
      rows
        .filter((row) => row.case === name)
        .map(({ subject, figure: value }) => ({
          ...{ label: titleOf(subject), ours: isOurs(subject), value },
        })),
    ),
  )
}

export function axesPlots({ rows, axes }: AxesDocument): Plot[] {
  return axes.flatMap(({ name: axis, title, counts }) => {
    const own = rows.filter((row) => row.axis === axis)
    return [...new Set(own.map((row) => row.case))].map((of) => {
      const lines = own.filter((row) => row.case === of)
      const subjects = [...new Set(lines.map(({ subject }) => subject))]
      return draw(`axes-${axis}-${of}`, `${of}: by the number of ${title}`, 380, {
        legend: { bottom: 8, itemGap: 18, data: subjects.map(titleOf) },
        grid: { left: 80, right: 40, top: 64, bottom: 90 },
        xAxis: {
          ...{ type: 'category', data: counts.map((count) => count.toLocaleString('en')) },
          ...{ name: axis, nameLocation: 'middle', nameGap: 28 },
        },
        yAxis: { type: 'log', name: 'ns', nameGap: 8, scale: true },
        series: subjects.map((subject) => ({
          ...{ name: titleOf(subject), type: 'line' },
          data: counts.map(
            (count) =>
              lines.find((row) => row.subject === subject && row.count === count)?.nanoseconds
                .median ?? null,
          ),
        })),
      })
    })
  })
}

export function dnsPlots(rows: readonly DnsRow[]): Plot[] {
  return bars(
    'dns',
    "answers a second of the server's CPU time",
    'answers/s',
    rows.map(({ subject, perCpuSecond: value }) => ({
      ...{ label: subject, ours: subject === 'fairlead', value },
    })),
  )
}

interface RuleRow {
  readonly subject: string
  readonly what: string
  readonly milliseconds: Spread
}

export function rulesPlots(rows: readonly RuleRow[]): Plot[] {
  return ['load', 'add'].flatMap((what) =>
    bars(
      `rules-${what}`,
      what === 'load' ? 'loading many services' : 'one service more',
      'ms',
      rows
        .filter((row) => row.what === what)
        .map(({ subject, milliseconds: value }) => ({
          ...{ label: titleOf(subject), ours: isOurs(subject), value },
        })),
    ),
  )
}

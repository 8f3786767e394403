/** Text tables: columns as wide as their widest cell, nothing ever cut off. */
import { type Colour, paint } from './output.js'

export type Cell = string | number | { readonly text: string; readonly colour: Colour }

export interface Column {
  readonly title: string
  /** Numbers are set to the right. */
  readonly align?: 'left' | 'right'
}

/** @returns lines without trailing spaces; the titles first */
export function table(columns: readonly Column[], rows: readonly (readonly Cell[])[]): string {
  const widths = columns.map(({ title }, at) =>
    Math.max(title.length, ...rows.map((row) => textOf(row[at] ?? '').length)),
  )
  const line = (cells: readonly Cell[]): string =>
    columns
      .map(({ align }, at) => {
        const cell = cells[at] ?? ''
        const gap = ' '.repeat((widths[at] ?? 0) - textOf(cell).length)
        const text = paint(textOf(cell), typeof cell === 'object' ? cell.colour : undefined)
        return align === 'right' ? gap + text : text + gap
      })
      .join('  ')
      .trimEnd()
  const titles = columns.map(({ title }) => ({ text: title, colour: 'bold' as const }))
  return [titles, ...rows].map(line).join('\n')
}

/** Lines of `name  value`, the values in one column. */
export function pairs(rows: readonly (readonly [string, Cell])[]): string {
  const width = Math.max(...rows.map(([name]) => name.length))
  return rows
    .map(([name, value]) => {
      const colour = typeof value === 'object' ? value.colour : undefined
      return `${paint(name.padEnd(width), 'dim')}  ${paint(textOf(value), colour)}`.trimEnd()
    })
    .join('\n')
}

function textOf(cell: Cell): string {
  return typeof cell === 'object' ? cell.text : String(cell)
}

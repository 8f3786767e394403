/** Panels as this project has them: one look, and nothing without a unit, a legend and a description. */
import {
  VizLegendOptionsBuilder,
  VizTooltipOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/common'
import {
  BigValueColorMode,
  BigValueGraphMode,
  LegendDisplayMode,
  LegendPlacement,
  SortOrder,
  StackingMode,
  TooltipDisplayMode,
} from '@grafana/grafana-foundation-sdk/common'
import {
  ReduceDataOptionsBuilder,
  StackingConfigBuilder,
} from '@grafana/grafana-foundation-sdk/common'
import {
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DashboardLinkType,
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  ThresholdsConfigBuilder,
  ThresholdsMode,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard'
import { DataqueryBuilder } from '@grafana/grafana-foundation-sdk/prometheus'
import { PanelBuilder as StatBuilder } from '@grafana/grafana-foundation-sdk/stat'
import { PanelBuilder as TimeseriesBuilder } from '@grafana/grafana-foundation-sdk/timeseries'

/** Chosen by the variable of each dashboard. */
export const datasource = { type: 'prometheus', uid: '${datasource}' }

/** What every selector begins with. */
export const agents = 'job=~"$job",instance=~"$instance"'

export interface PanelSettings {
  readonly title: string
  /** What it tells, and what to do if it looks wrong. */
  readonly description: string
  /** As Grafana names it. */
  readonly unit: string
  /** Expression by legend. */
  readonly queries: Readonly<Record<string, string>>
  /** In 24ths of the page's width; default 8. */
  readonly span?: number
}

export interface GraphSettings extends PanelSettings {
  readonly stacked?: boolean
  readonly max?: number
}

export interface StatSettings extends PanelSettings {
  /** Colour from a value on; the first is for what is below all others. */
  readonly steps?: readonly (readonly [number | null, string])[]
}

function targets({ queries }: PanelSettings): DataqueryBuilder[] {
  return Object.entries(queries).map(([legend, expr], at) =>
    new DataqueryBuilder()
      .datasource(datasource)
      .refId(String.fromCharCode(65 + at))
      .expr(expr)
      .legendFormat(legend),
  )
}

export function graph(settings: GraphSettings): TimeseriesBuilder {
  const { title, description, unit, span = 8, stacked = false, max } = settings
  const legend = new VizLegendOptionsBuilder()
    .displayMode(LegendDisplayMode.Table)
    .placement(LegendPlacement.Bottom)
    .calcs(['lastNotNull', 'max'])
    .showLegend(true)
  const panel = new TimeseriesBuilder()
    .title(title)
    .description(description)
    .datasource(datasource)
    .unit(unit)
    .min(0)
    .span(span)
    .height(8)
    .lineWidth(1)
    .fillOpacity(stacked ? 30 : 8)
    .legend(legend)
    .tooltip(
      new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi).sort(SortOrder.Descending),
    )
    .targets(targets(settings))
  if (stacked) panel.stacking(new StackingConfigBuilder().mode(StackingMode.Normal).group('A'))
  if (max !== undefined) panel.max(max)
  return panel
}

export function stat(settings: StatSettings): StatBuilder {
  const { title, description, unit, span = 4, steps = [[null, 'blue']] } = settings
  return new StatBuilder()
    .title(title)
    .description(description)
    .datasource(datasource)
    .unit(unit)
    .span(span)
    .height(4)
    .graphMode(BigValueGraphMode.Area)
    .colorMode(BigValueColorMode.Value)
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']))
    .thresholds(
      new ThresholdsConfigBuilder()
        .mode(ThresholdsMode.Absolute)
        .steps(steps.map(([value, color]) => ({ value, color }))),
    )
    .targets(targets(settings))
}

/** Nothing is well but 0. */
export const zeroIsWell = [
  [null, 'green'],
  [1, 'red'],
] as const

/** Nothing is well but something. */
export const zeroIsBad = [
  [null, 'red'],
  [1, 'green'],
] as const

export function dashboard(uid: string, title: string, description: string): DashboardBuilder {
  const others = new DashboardLinkBuilder('fairlead')
    .type(DashboardLinkType.Dashboards)
    .tags(['fairlead'])
    .asDropdown(true)
    .includeVars(true)
    .keepTime(true)
  return new DashboardBuilder(`fairlead / ${title}`)
    .uid(`fairlead-${uid}`)
    .description(description)
    .tags(['fairlead'])
    .refresh('30s')
    .time({ from: 'now-1h', to: 'now' })
    .timezone('browser')
    .tooltip(DashboardCursorSync.Crosshair)
    .readonly()
    .link(others)
    .withVariable(
      new DatasourceVariableBuilder('datasource').label('Data source').type('prometheus'),
    )
    .withVariable(choice('job', 'Job', 'label_values(fairlead_build_info, job)'))
    .withVariable(
      choice('instance', 'Agent', 'label_values(fairlead_build_info{job=~"$job"}, instance)')
        // Those too that have never answered.
        .allValue('.*'),
    )
}

/** A variable of which several values, or all, can be chosen. */
export function choice(name: string, label: string, query: string): QueryVariableBuilder {
  return variable(name, label, query).multi(true).includeAll(true).current({
    text: 'All',
    value: '$__all',
  })
}

export function variable(name: string, label: string, query: string): QueryVariableBuilder {
  return new QueryVariableBuilder(name)
    .label(label)
    .datasource(datasource)
    .query({ query, refId: name })
    .refresh(VariableRefresh.OnTimeRangeChanged)
    .sort(VariableSort.AlphabeticalAsc)
}

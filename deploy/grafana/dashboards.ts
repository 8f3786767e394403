/** The dashboards, and the text that is committed. */
import type { DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard'
import { dataplane } from './dataplane.js'
import { dns } from './dns.js'
import { overview } from './overview.js'
import { service } from './service.js'

/** By the name of the file. */
export const dashboards: Readonly<Record<string, () => DashboardBuilder>> = {
  overview,
  service,
  dataplane,
  dns,
}

/** @returns JSON, newline-terminated */
export function dashboardText(make: () => DashboardBuilder): string {
  const made = make().build()
  const panels = made.panels?.map((panel, at) => ({ ...panel, id: at + 1 }))
  return `${JSON.stringify({ ...made, panels }, null, 2)}\n`
}

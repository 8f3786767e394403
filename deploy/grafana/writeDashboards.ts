/** Writes the dashboards beside their sources; a unit test fails while a committed one is stale. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { dashboards, dashboardText } from './dashboards.js'

// Seen from dist/deploy/grafana.
const folder = join(import.meta.dirname, '../../../deploy/grafana/dashboards')

for (const [name, make] of Object.entries(dashboards))
  writeFileSync(join(folder, `${name}.json`), dashboardText(make))

/** What is committed is what its sources make, and every panel says what it shows. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { dashboards, dashboardText } from '../../../deploy/grafana/dashboards.js'
import { definitions } from '../../../src/metrics/definitions.js'
import { panelsOf, type Dashboard, type Panel } from '../../lib/dashboards.js'

const deploy = join(import.meta.dirname, '../../../../deploy')
const folder = join(deploy, 'grafana/dashboards')
const read = (name: string): string => readFileSync(join(deploy, name), 'utf8')

t.test('committed dashboards are fresh', (t) => {
  t.same(
    readdirSync(folder).sort(),
    Object.keys(dashboards)
      .map((name) => `${name}.json`)
      .sort(),
  )
  for (const [name, make] of Object.entries(dashboards))
    t.ok(
      read(`grafana/dashboards/${name}.json`) === dashboardText(make),
      `${name}: npm run dashboards`,
    )
  t.end()
})

const made = Object.entries(dashboards).map(
  ([name, make]) => [name, JSON.parse(dashboardText(make)) as Dashboard] as const,
)

t.test('each panel has a title, a description, a unit, legends and a data source', (t) => {
  for (const [name, dashboard] of made) {
    const panels = panelsOf(dashboard)
    t.ok(panels.length >= 10, `${name}: ${panels.length} panels`)
    const titles = panels.map(({ title }) => title)
    for (const { title, description, fieldConfig, targets, datasource } of panels) {
      t.match(title, /^[A-Z]/, name)
      t.match(description, /^.{20,}\.$/s, `${name}: ${title}: description`)
      t.match(fieldConfig.defaults.unit, /^[a-z]+$/, `${name}: ${title}: unit`)
      t.same(datasource, { type: 'prometheus', uid: '${datasource}' })
      t.ok(targets.length > 0, title)
      for (const { legendFormat, expr, refId } of targets) {
        t.match(legendFormat, /\S/, `${name}: ${title}: legend`)
        t.match(expr, /fairlead_|\bup\b/, `${name}: ${title}: ${refId}`)
      }
      t.equal(new Set(targets.map(({ refId }) => refId)).size, targets.length, title)
    }
    t.equal(new Set(titles).size, titles.length, `${name}: titles are distinct`)
    t.equal(new Set(panels.map(({ id }) => id)).size, panels.length, `${name}: ids are distinct`)
  }
  t.end()
})

t.test('panels do not lie over one another', (t) => {
  for (const [name, dashboard] of made) {
    const taken = new Map<string, string>()
    for (const { gridPos, title } of dashboard.panels.filter(({ type }) => type !== 'row')) {
      t.ok(gridPos.x + gridPos.w <= 24, `${name}: ${title}`)
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++)
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          const other = taken.get(`${x} ${y}`)
          if (other !== undefined) t.fail(`${name}: ${title} lies over ${other}`)
          taken.set(`${x} ${y}`, title)
        }
    }
  }
  t.end()
})

/** Beside those that prom-client makes, whose names a test of the reference page looks at. */
const known = new Set(Object.values(definitions).map(({ name }) => name as string))

function unknownIn(expression: string): string[] {
  const named = expression.match(/\bfairlead_[a-z0-9_]+/g) ?? []
  return named.filter(
    (name) =>
      !known.has(name.replace(/_(bucket|sum|count)$/, '')) &&
      !known.has(name) &&
      !/^fairlead_(process|nodejs)_/.test(name),
  )
}

t.test('queries name metrics that there are, and labels that they have', (t) => {
  const labelsOf = new Map<string, readonly string[]>(
    Object.values(definitions).map(({ name, labels }) => [name, labels]),
  )
  for (const [name, dashboard] of made)
    for (const { title, targets } of panelsOf(dashboard))
      for (const { expr } of targets) {
        t.same(unknownIn(expr), [], `${name}: ${title}`)
        for (const [, metric = '', selector = ''] of expr.matchAll(/(fairlead_\w+)\{([^}]*)\}/g)) {
          const has = labelsOf.get(metric.replace(/_bucket$/, ''))
          const used = [...selector.matchAll(/(\w+)(?:=~|!=|!~|=)"/g)].map(([, label]) => label)
          const free = ['job', 'instance', 'le']
          if (has !== undefined)
            t.same(
              used.filter((label) => !free.includes(label ?? '') && !has.includes(label ?? '')),
              [],
            )
          t.ok(used.includes('job') && used.includes('instance'), `${name}: ${title}: ${metric}`)
        }
      }
  t.end()
})

/** What a label may say, where an enum of the programs has it. */
const maps = readFileSync(join(deploy, '../bpf/maps.h'), 'utf8')
const enumerated = (prefix: string): string[] =>
  [...maps.matchAll(new RegExp(`^\\t${prefix}_([A-Z_]+)[,=; ]`, 'gm'))].map(([, name = '']) =>
    name.toLowerCase(),
  )
const values: Readonly<Record<string, readonly string[]>> = {
  drops_total: enumerated('DROP'),
  connections_closed_total: enumerated('END'),
  connections_ended_total: enumerated('END'),
  map_entries: [...maps.matchAll(/^\} (\w+) SEC\("\.maps"\)/gm)].map(([, name = '']) => name),
}

/** Patterns of reasons and maps that nothing has. */
function strangers(expression: string): string[] {
  const selectors = expression.matchAll(/fairlead_(\w+)\{([^}]*)\}/g)
  return [...selectors].flatMap(([, metric = '', selector = '']) => {
    const [, wanted] = /(?:reason|map)=~?"([^"]+)"/.exec(selector) ?? []
    const known = values[metric]
    if (wanted === undefined || known === undefined) return []
    return wanted.split('|').filter((each) => {
      return !known.some((name) => new RegExp(`^(?:${each})$`).test(name))
    })
  })
}

t.test('panels and alerts ask for reasons and maps that there are', (t) => {
  for (const known of Object.values(values)) t.ok(known.length >= 5)
  const rules = parse(read('prometheus/fairlead.rules.yml')) as { groups: { rules: Rule[] }[] }
  const alerts = rules.groups.flatMap((group) => group.rules.map(({ expr }) => expr))
  const panels = made.flatMap(([, dashboard]) =>
    panelsOf(dashboard).flatMap(({ targets }) => targets.map(({ expr }) => expr)),
  )
  for (const expr of [...alerts, ...panels]) t.same(strangers(expr), [], expr)
  t.same(strangers('fairlead_drops_total{reason=~"no_route|odd"}'), ['odd'])
  t.end()
})

t.test('alerts name metrics that there are, and say what to do', (t) => {
  const rules = parse(read('prometheus/fairlead.rules.yml')) as { groups: { rules: Rule[] }[] }
  const tests = read('prometheus/fairlead.rules.test.yml')
  const alerts = rules.groups.flatMap((group) => group.rules)
  t.ok(alerts.length > 10)
  const guide = readFileSync(join(deploy, '../docs/guides/monitoring.md'), 'utf8')
  t.same(
    [...guide.matchAll(/^\| `(Fairlead\w+)`/gm)].map(([, name]) => name).toSorted(),
    alerts.flatMap(({ alert = [] }) => alert).toSorted(),
    'the guide lists them',
  )
  for (const { alert, record, expr, labels, annotations } of alerts) {
    t.same(unknownIn(expr), [], alert ?? record ?? '')
    if (alert === undefined) continue
    t.match(labels?.severity, /^(warning|critical)$/, alert)
    t.match(annotations?.summary, /\{\{ \$labels/, `${alert}: summary`)
    t.match(annotations?.description, /^.{40,}\.$/s, `${alert}: description`)
    const quiet = new RegExp(`alertname: ${alert}, exp_alerts: \\[\\]`)
    t.match(tests, quiet, `${alert} is tested to stay quiet`)
    t.match(tests, new RegExp(`alertname: ${alert}\\n +exp_alerts:\\n +- `), `${alert} to fire`)
  }
  t.end()
})

interface Rule {
  readonly alert?: string
  readonly record?: string
  readonly expr: string
  readonly labels?: { readonly severity: string }
  readonly annotations?: { readonly summary: string; readonly description: string }
}

t.test('the compose file starts both on these files, by pinned images', (t) => {
  const compose = parse(read('grafana/compose.yaml')) as {
    services: Record<string, { image: string; volumes: string[]; ports: string[] }>
  }
  t.same(Object.keys(compose.services), ['prometheus', 'grafana'])
  for (const { image, volumes, ports } of Object.values(compose.services)) {
    t.match(image, /^[a-z]+\/[a-z]+:v?\d+\.\d+\.\d+$/)
    for (const port of ports) t.match(port, /^127\.0\.0\.1:/)
    for (const source of volumes.map((volume) => volume.split(':')[0] ?? ''))
      if (source.startsWith('.'))
        t.ok(readdirSync(join(deploy, 'grafana', source)).length > 0, source)
  }
  const provider = parse(read('grafana/provisioning/dashboards/fairlead.yaml')) as {
    providers: { options: { path: string } }[]
  }
  const place = provider.providers[0]?.options.path ?? ''
  t.ok(compose.services['grafana']?.volumes.includes(`./dashboards:${place}:ro`))
  const sources = parse(read('grafana/provisioning/datasources/prometheus.yaml')) as {
    datasources: { type: string; url: string }[]
  }
  t.match(sources.datasources, [{ type: 'prometheus', url: 'http://prometheus:9090' }])
  const settings = parse(read('prometheus/prometheus.yml')) as {
    rule_files: string[]
    scrape_configs: { job_name: string }[]
  }
  t.same(settings.rule_files, ['fairlead.rules.yml'])
  t.same(
    settings.scrape_configs.map(({ job_name }) => job_name),
    ['fairlead'],
  )
  t.end()
})

t.test('panels fit in what a person reads', (t) => {
  const longest = (panel: Panel): number =>
    Math.max(...panel.targets.map(({ expr }) => expr.length))
  for (const [name, dashboard] of made)
    for (const panel of panelsOf(dashboard)) t.ok(longest(panel) < 900, `${name}: ${panel.title}`)
  t.end()
})

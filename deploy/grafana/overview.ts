/** The whole fleet on a page: is it well, what does it carry, do changes arrive. */
import { type DashboardBuilder, RowBuilder } from '@grafana/grafana-foundation-sdk/dashboard'
import { agents, dashboard, graph, stat, zeroIsBad, zeroIsWell } from './panels.js'

export function overview(): DashboardBuilder {
  const page = dashboard(
    'overview',
    'Overview',
    'All agents: whether they are well, what they carry, and how quickly changes are in force.',
  )
  withHealth(page)
  withTraffic(page)
  withChanges(page)
  withAgents(page)
  return page
}

function withHealth(page: DashboardBuilder): void {
  page
    .withRow(new RowBuilder('Is it well?'))
    .withPanel(
      stat({
        title: 'Agents',
        description: 'Agents that answer. Traffic goes on without them, but nothing changes then.',
        unit: 'short',
        steps: zeroIsBad,
        queries: { agents: `count(fairlead_build_info{${agents}})` },
      }),
    )
    .withPanel(
      stat({
        title: 'Agents silent',
        description: 'Agents that Prometheus knows and that do not answer.',
        unit: 'short',
        steps: zeroIsWell,
        queries: { silent: `count(up{${agents}} == 0) or vector(0)` },
      }),
    )
    .withPanel(
      stat({
        title: 'Services',
        description: 'Services in the desired state, of the agent that has the most.',
        unit: 'short',
        queries: { services: `max(fairlead_services{${agents}})` },
      }),
    )
    .withPanel(
      stat({
        title: 'Backends not active',
        description: 'Backends that are draining or down: by their source, or by their checks.',
        unit: 'short',
        steps: [
          [null, 'green'],
          [1, 'orange'],
        ],
        queries: {
          backends: `sum(max by (network, service, state) (fairlead_service_backends{${agents},state!="active"})) or vector(0)`,
        },
      }),
    )
    .withPanel(
      stat({
        title: 'Problems',
        description:
          'Items that a source gave and that are not in force; fairlead problems lists them.',
        unit: 'short',
        steps: zeroIsWell,
        queries: { problems: `sum(fairlead_problems{${agents}}) or vector(0)` },
      }),
    )
    .withPanel(
      stat({
        title: 'Sources not followed',
        description:
          'Sources that cannot be read or understood: what they said last stays in force.',
        unit: 'short',
        steps: zeroIsWell,
        queries: { sources: `count(fairlead_source_current{${agents}} == 0) or vector(0)` },
      }),
    )
}

function withTraffic(page: DashboardBuilder): void {
  const rate = (name: string): string => `rate(fairlead_${name}{${agents}}[$__rate_interval])`
  page
    .withRow(new RowBuilder('What it carries'))
    .withPanel(
      graph({
        title: 'Bits by agent',
        description:
          'Bits in both directions through VIPs. UDP of local processes is not seen: their packets carry no VIP.',
        unit: 'bps',
        queries: {
          'in {{instance}}': `sum by (instance) (${rate('node_incoming_bytes_total')}) * 8`,
          'out {{instance}}': `sum by (instance) (${rate('node_outgoing_bytes_total')}) * 8`,
        },
      }),
    )
    .withPanel(
      graph({
        title: 'New connections by agent',
        description: 'Flows that were given a backend, in a second.',
        unit: 'cps',
        queries: { '{{instance}}': `sum by (instance) (${rate('node_connections_total')})` },
      }),
    )
    .withPanel(
      graph({
        title: 'Active connections by agent',
        description: 'Connections that have not ended.',
        unit: 'short',
        queries: { '{{instance}}': `sum by (instance) (fairlead_connections_active{${agents}})` },
      }),
    )
    .withPanel(
      graph({
        title: 'Busiest services',
        description: 'The ten services with the most new connections.',
        unit: 'cps',
        queries: {
          '{{network}}/{{service}}': `topk(10, sum by (network, service) (${rate('connections_total')}))`,
        },
      }),
    )
    .withPanel(
      graph({
        title: 'Drops by reason',
        description:
          'Packets and calls that were not carried. no_backend and no_port are refusals that the client sees at once.',
        unit: 'short',
        queries: { '{{reason}}': `topk(10, sum by (reason) (${rate('drops_total')}))` },
      }),
    )
    .withPanel(
      graph({
        title: 'Connections ended by reason',
        description:
          'fin and reset are the ends that clients and backends make; evicted means that a flow table is too small.',
        unit: 'cps',
        queries: { '{{reason}}': `sum by (reason) (${rate('connections_ended_total')})` },
      }),
    )
}

function withChanges(page: DashboardBuilder): void {
  const quantile = (q: number): string =>
    `histogram_quantile(${q}, sum by (le, reached) (rate(fairlead_change_lag_seconds_bucket{${agents}}[$__range])))`
  page
    .withRow(new RowBuilder('Do changes arrive?'))
    .withPanel(
      graph({
        title: 'From a change to the kernel and DNS',
        description:
          'How long changes took from being seen by their source until kernel maps, and names, had them; over the whole range.',
        unit: 's',
        queries: { 'p50 {{reached}}': quantile(0.5), 'p99 {{reached}}': quantile(0.99) },
      }),
    )
    .withPanel(
      graph({
        title: 'Revisions that the kernel does not hold yet',
        description:
          'More than 0 for long: rows are refused, or more is to be written than can be.',
        unit: 'short',
        queries: {
          '{{instance}}': `fairlead_state_revision{${agents}} - fairlead_reconcile_applied_revision{${agents}}`,
        },
      }),
    )
    .withPanel(
      graph({
        title: 'Sources followed',
        description:
          '1: what is in force is what the source says. 0: it cannot be read or understood.',
        unit: 'short',
        max: 1,
        queries: { '{{instance}} {{source}}': `fairlead_source_current{${agents}}` },
      }),
    )
}

function withAgents(page: DashboardBuilder): void {
  page
    .withRow(new RowBuilder('What the agents cost'))
    .withPanel(
      graph({
        title: 'CPU',
        description:
          'Share of one core that each agent uses. Packets are not among it: the kernel carries them.',
        unit: 'percentunit',
        queries: {
          '{{instance}}': `rate(fairlead_process_cpu_seconds_total{${agents}}[$__rate_interval])`,
        },
      }),
    )
    .withPanel(
      graph({
        title: 'Memory',
        description: 'Resident memory of each agent, without the kernel maps.',
        unit: 'bytes',
        queries: { '{{instance}}': `fairlead_process_resident_memory_bytes{${agents}}` },
      }),
    )
    .withPanel(
      graph({
        title: 'Event loop',
        description: 'How late the event loop ran (99th percentile): a DNS query waits as long.',
        unit: 's',
        queries: { '{{instance}}': `fairlead_nodejs_eventloop_lag_p99_seconds{${agents}}` },
      }),
    )
}

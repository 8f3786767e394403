/** A node's kernel side: drops, maps, sweeps, reconciling, programs. */
import { type DashboardBuilder, RowBuilder } from '@grafana/grafana-foundation-sdk/dashboard'
import { agents, dashboard, graph, stat, zeroIsBad, zeroIsWell } from './panels.js'

export function dataplane(): DashboardBuilder {
  const page = dashboard(
    'dataplane',
    'Node & dataplane',
    'The kernel side of nodes: drops, maps, flow tables, reconciling and programs.',
  )
  withSummary(page)
  withPackets(page)
  withMaps(page)
  withReconciling(page)
  withPrograms(page)
  return page
}

function rate(name: string): string {
  return `rate(fairlead_${name}{${agents}}[$__rate_interval])`
}

function quantile(q: number, name: string): string {
  return `histogram_quantile(${q}, sum by (le) (rate(fairlead_${name}_bucket{${agents}}[$__range])))`
}

function withSummary(page: DashboardBuilder): void {
  page
    .withRow(new RowBuilder('At a glance'))
    .withPanel(
      stat({
        title: 'Fullest map',
        description:
          'Entries of the fullest kernel map over its capacity. agent.limits sets sizes.',
        unit: 'percentunit',
        steps: [
          [null, 'green'],
          [0.8, 'orange'],
          [0.9, 'red'],
        ],
        queries: { fullest: `max(fairlead_map_pressure_ratio{${agents}})` },
      }),
    )
    .withPanel(
      stat({
        title: 'Programs attached',
        description: 'Places where a program is attached.',
        unit: 'short',
        steps: zeroIsBad,
        queries: { places: `sum(fairlead_attachments{${agents}})` },
      }),
    )
    .withPanel(
      stat({
        title: 'Drift',
        description: 'Rows in the range that somebody else had changed, and that were put right.',
        unit: 'short',
        steps: zeroIsWell,
        queries: {
          rows: `sum(increase(fairlead_reconcile_repaired_rows_total{${agents}}[$__range]))`,
        },
      }),
    )
    .withPanel(
      stat({
        title: 'Failed cycles',
        description:
          'Reconcile cycles in the range that did not succeed; fairlead status has the last error.',
        unit: 'short',
        steps: zeroIsWell,
        queries: {
          cycles: `sum(increase(fairlead_reconcile_failures_total{${agents}}[$__range]))`,
        },
      }),
    )
    .withPanel(
      stat({
        title: 'Flows',
        description: 'Rows of the flow tables, of both families and of both ends.',
        unit: 'short',
        queries: { rows: `sum(fairlead_map_entries{${agents},map=~"flows4|flows6|snats"})` },
      }),
    )
    .withPanel(
      stat({
        title: 'Evicted flows',
        description:
          'Connections in the range whose row made room for another: the tables are too small.',
        unit: 'short',
        steps: zeroIsWell,
        queries: {
          flows: `sum(increase(fairlead_connections_ended_total{${agents},reason="evicted"}[$__range]))`,
        },
      }),
    )
}

function withPackets(page: DashboardBuilder): void {
  page
    .withRow(new RowBuilder('Packets'))
    .withPanel(
      graph({
        title: 'Packets by path',
        description:
          'In both directions. sock: segments of local sockets, counted when they close.',
        unit: 'pps',
        queries: {
          'in {{path}}': `sum by (path) (${rate('node_incoming_packets_total')})`,
          'out {{path}}': `sum by (path) (${rate('node_outgoing_packets_total')})`,
        },
      }),
    )
    .withPanel(
      graph({
        title: 'Drops by reason and path',
        description:
          'Packets and calls that were not carried; the reference of metrics explains reasons.',
        unit: 'pps',
        queries: {
          '{{reason}} {{path}}': `topk(12, sum by (reason, path) (${rate('drops_total')}))`,
        },
      }),
    )
    .withPanel(
      graph({
        title: 'Events',
        description: 'What programs did besides: answers for VIPs, collisions, refusals, repairs.',
        unit: 'ops',
        queries: { '{{event}}': `topk(12, sum by (event) (${rate('events_total')}))` },
      }),
    )
}

function withMaps(page: DashboardBuilder): void {
  page
    .withRow(new RowBuilder('Maps and flow tables'))
    .withPanel(
      graph({
        title: 'Map pressure',
        description:
          'The fullest maps. Tables of flows evict the oldest row when they are full; others refuse what is new.',
        unit: 'percentunit',
        max: 1,
        queries: {
          '{{map}} {{instance}}': `topk(8, fairlead_map_pressure_ratio{${agents}})`,
        },
      }),
    )
    .withPanel(
      graph({
        title: 'Flow tables',
        description: 'Rows by table. Embryonic ones have had one packet of their client.',
        unit: 'short',
        queries: {
          '{{map}}': `sum by (map) (fairlead_map_entries{${agents},map=~"flows.|embryonic.*|snats|overflows"})`,
        },
      }),
    )
    .withPanel(
      graph({
        title: 'Ends of connections',
        description: 'By reason and path. gone: the backend was removed.',
        unit: 'cps',
        queries: {
          '{{reason}} {{path}}': `sum by (reason, path) (${rate('connections_ended_total')})`,
        },
      }),
    )
    .withPanel(
      graph({
        title: 'Duration of sweeps',
        description:
          'Over the flow tables, on a thread beside everything else; over the whole range.',
        unit: 's',
        queries: {
          p50: quantile(0.5, 'flow_sweep_duration_seconds'),
          p99: quantile(0.99, 'flow_sweep_duration_seconds'),
        },
      }),
    )
    .withPanel(
      graph({
        title: 'Rows swept',
        description:
          'Rows that sweeps deleted in a second: idle for too long, or without a backend.',
        unit: 'ops',
        queries: { '{{instance}}': `sum by (instance) (${rate('flow_sweep_deleted_rows_total')})` },
      }),
    )
    .withPanel(
      graph({
        title: 'Mended counts',
        description:
          'Active connections by which counts were put right in a second; evictions make them drift.',
        unit: 'ops',
        queries: {
          '{{instance}}': `sum by (instance) (${rate('flow_sweep_mended_connections_total')})`,
        },
      }),
    )
}

function withReconciling(page: DashboardBuilder): void {
  page
    .withRow(new RowBuilder('Reconciling'))
    .withPanel(
      graph({
        title: 'Duration of cycles',
        description: 'From a state to the rows of the kernel; over the whole range.',
        unit: 's',
        queries: {
          p50: quantile(0.5, 'reconcile_duration_seconds'),
          p99: quantile(0.99, 'reconcile_duration_seconds'),
        },
      }),
    )
    .withPanel(
      graph({
        title: 'Cycles',
        description: 'Reconcile cycles in a second, and those that failed.',
        unit: 'ops',
        queries: {
          'all {{instance}}': `sum by (instance) (${rate('reconcile_cycles_total')})`,
          'failed {{instance}}': `sum by (instance) (${rate('reconcile_failures_total')})`,
        },
      }),
    )
    .withPanel(
      graph({
        title: 'Rows repaired',
        description: 'Rows in a second found different from what was written, and put right.',
        unit: 'ops',
        queries: { '{{instance}}': `sum by (instance) (${rate('reconcile_repaired_rows_total')})` },
      }),
    )
}

function withPrograms(page: DashboardBuilder): void {
  page
    .withRow(new RowBuilder('Programs and the agent'))
    .withPanel(
      graph({
        title: 'Attachments',
        description: 'Places where programs are attached, by hook.',
        unit: 'short',
        stacked: true,
        queries: {
          '{{hook}} {{program}}': `sum by (hook, program) (fairlead_attachments{${agents}})`,
        },
      }),
    )
    .withPanel(
      graph({
        title: "Modes at the node's edge",
        description:
          'How programs are attached to interfaces that lead outside: generic is slower than native.',
        unit: 'short',
        queries: {
          '{{instance}} {{interface}} {{hook}} {{mode}}': `max by (instance, interface, hook, mode) (fairlead_interface_mode{${agents}})`,
        },
      }),
    )
    .withPanel(
      graph({
        title: 'CPU of the agent',
        description: 'Share of one core, by whom it was spent.',
        unit: 'percentunit',
        queries: {
          'user {{instance}}': rate('process_cpu_user_seconds_total'),
          'system {{instance}}': rate('process_cpu_system_seconds_total'),
        },
      }),
    )
    .withPanel(
      graph({
        title: 'Memory of the agent',
        description: 'Resident memory, and the part of it that JavaScript uses.',
        unit: 'bytes',
        queries: {
          'resident {{instance}}': `fairlead_process_resident_memory_bytes{${agents}}`,
          'heap {{instance}}': `fairlead_nodejs_heap_size_used_bytes{${agents}}`,
        },
      }),
    )
    .withPanel(
      graph({
        title: 'Lag of the event loop',
        description: 'How late the event loop ran: a DNS query waits as long.',
        unit: 's',
        queries: {
          'p99 {{instance}}': `fairlead_nodejs_eventloop_lag_p99_seconds{${agents}}`,
          'max {{instance}}': `fairlead_nodejs_eventloop_lag_max_seconds{${agents}}`,
        },
      }),
    )
    .withPanel(
      graph({
        title: 'Reading the kernel',
        description:
          'How long it took to read kernel maps for a scrape; other work goes on meanwhile.',
        unit: 's',
        queries: { '{{instance}}': `fairlead_readback_duration_seconds{${agents}}` },
      }),
    )
}

/** One service: its backends, whether they share as they should, and what goes wrong. */
import { type DashboardBuilder, RowBuilder } from '@grafana/grafana-foundation-sdk/dashboard'
import { agents, dashboard, graph, stat, variable, zeroIsBad, zeroIsWell } from './panels.js'

const own = `${agents},network="$network",service="$service"`
/** Without what backends that have left had counted. */
const present = `${own},backend!="retired"`

export function service(): DashboardBuilder {
  const page = dashboard(
    'service',
    'Service',
    'One service: its backends, how they share, and what goes wrong.',
  )
    .withVariable(
      variable('network', 'Network', 'label_values(fairlead_service_info{job=~"$job"}, network)'),
    )
    .withVariable(
      variable(
        'service',
        'Service',
        'label_values(fairlead_service_info{job=~"$job",network="$network"}, service)',
      ),
    )
  withSummary(page)
  withBackends(page)
  withBalance(page)
  withHealth(page)
  return page
}

function rate(name: string, selector: string): string {
  return `rate(fairlead_${name}{${selector}}[$__rate_interval])`
}

function withSummary(page: DashboardBuilder): void {
  page
    .withRow(new RowBuilder('$network/$service'))
    .withPanel(
      stat({
        title: 'Active backends',
        description: 'Backends that take new connections.',
        unit: 'short',
        steps: zeroIsBad,
        queries: { active: `max(fairlead_service_backends{${own},state="active"})` },
      }),
    )
    .withPanel(
      stat({
        title: 'Draining or down',
        description: 'Backends that take no new connections.',
        unit: 'short',
        steps: [
          [null, 'green'],
          [1, 'orange'],
        ],
        queries: {
          backends: `sum(max by (state) (fairlead_service_backends{${own},state!="active"}))`,
        },
      }),
    )
    .withPanel(
      stat({
        title: 'Used although failing',
        description: 'Families of which all backends fail their checks and are used all the same.',
        unit: 'short',
        steps: zeroIsWell,
        queries: { families: `sum(max by (family) (fairlead_health_fail_open{${own}}))` },
      }),
    )
    .withPanel(
      stat({
        title: 'New connections',
        description: 'Flows that were given a backend, in a second, over all agents.',
        unit: 'cps',
        queries: { connections: `sum(${rate('connections_total', own)})` },
      }),
    )
    .withPanel(
      stat({
        title: 'Active connections',
        description: 'Connections that have not ended, over all agents.',
        unit: 'short',
        queries: { connections: `sum(fairlead_connections_active{${own}})` },
      }),
    )
    .withPanel(
      stat({
        title: 'Traffic',
        description: 'Bits in both directions, over all agents.',
        unit: 'bps',
        queries: { bits: `sum(${rate('bytes_total', own)}) * 8` },
      }),
    )
}

function withBackends(page: DashboardBuilder): void {
  const byBackend = (expression: string): string => `sum by (backend) (${expression})`
  page
    .withRow(new RowBuilder('Backends'))
    .withPanel(
      graph({
        title: 'New connections by backend',
        description: 'By backend. Of backends with one weight the lines lie together.',
        unit: 'cps',
        stacked: true,
        queries: { '{{backend}}': byBackend(rate('connections_total', present)) },
      }),
    )
    .withPanel(
      graph({
        title: 'Active connections by backend',
        description: 'By backend. One that rises alone answers slowly, or keeps its clients.',
        unit: 'short',
        queries: { '{{backend}}': byBackend(`fairlead_connections_active{${present}}`) },
      }),
    )
    .withPanel(
      graph({
        title: 'Ended and remembered connections',
        description: 'By backend, as InActConn of ipvsadm: rows that only see off what has ended.',
        unit: 'short',
        queries: { '{{backend}}': byBackend(`fairlead_connections_inactive{${present}}`) },
      }),
    )
    .withPanel(
      graph({
        title: 'Bits to backends',
        description: 'From clients, by backend; from the IP header on.',
        unit: 'bps',
        queries: {
          '{{backend}}': `${byBackend(rate('bytes_total', `${present},direction="in"`))} * 8`,
        },
      }),
    )
    .withPanel(
      graph({
        title: 'Bits from backends',
        description: 'To clients, by backend. With DSR backends answer by themselves, unseen.',
        unit: 'bps',
        queries: {
          '{{backend}}': `${byBackend(rate('bytes_total', `${present},direction="out"`))} * 8`,
        },
      }),
    )
    .withPanel(
      graph({
        title: 'Packets',
        description: 'In both directions, by backend.',
        unit: 'pps',
        queries: {
          'in {{backend}}': byBackend(rate('packets_total', `${present},direction="in"`)),
          'out {{backend}}': byBackend(rate('packets_total', `${present},direction="out"`)),
        },
      }),
    )
}

function withBalance(page: DashboardBuilder): void {
  const connections = `sum by (backend) (${rate('connections_total', present)})`
  const weight = `max by (backend) (fairlead_backend_weight{${own}})`
  page
    .withRow(new RowBuilder('Balance'))
    .withPanel(
      graph({
        title: 'Load over weight',
        description:
          "Each backend's share of new connections over its share of weight: 1 is exactly its part. " +
          'Affinity, locality and priorities move it away from 1 on purpose, and clients of one family ' +
          'double it where the service has both.',
        unit: 'short',
        queries: {
          '{{backend}}': `(${connections} / scalar(sum(${connections}))) / (${weight} / scalar(sum(${weight})))`,
        },
      }),
    )
    .withPanel(
      graph({
        title: 'Weight',
        description: 'Weights as they are in force.',
        unit: 'short',
        queries: { '{{backend}}': weight },
      }),
    )
    .withPanel(
      graph({
        title: 'New connections by path and agent',
        description: 'Which hook handled them: sock at connect(), tc at a veth, xdp at the edge.',
        unit: 'cps',
        queries: {
          '{{path}} {{instance}}': `sum by (path, instance) (${rate('connections_total', own)})`,
        },
      }),
    )
}

function withHealth(page: DashboardBuilder): void {
  page
    .withRow(new RowBuilder('Errors'))
    .withPanel(
      graph({
        title: 'Healthy by checks',
        description: '1 healthy, 0 failing, of the agent that thinks worst of it.',
        unit: 'short',
        max: 1,
        queries: { '{{backend}}': `min by (backend) (fairlead_backend_healthy{${own}})` },
      }),
    )
    .withPanel(
      graph({
        title: 'Checks by result',
        description: 'Checks in a second, over all agents. All but ok are failures.',
        unit: 'ops',
        queries: { '{{result}}': `sum by (result) (${rate('health_checks_total', own)})` },
      }),
    )
    .withPanel(
      graph({
        title: 'Unanswered packets',
        description:
          'Packets to a backend in a second beyond twice what it sends: one that is dead or cut off stands out. ' +
          'Not of the socket path, which sees no packet.',
        unit: 'pps',
        queries: {
          '{{backend}}':
            `clamp_min(sum by (backend) (${rate('packets_total', `${present},path!="sock",direction="in"`)}) - ` +
            `2 * sum by (backend) (${rate('packets_total', `${present},path!="sock",direction="out"`)}), 0)`,
        },
      }),
    )
}

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
  withHandshakes(page)
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

function withHandshakes(page: DashboardBuilder): void {
  const median = (name: string, by: string): string =>
    `histogram_quantile(0.5, sum by (${by}le) (${rate(`${name}_bucket`, own)}))`
  const mean = (name: string): string =>
    `sum by (backend) (${rate(`${name}_sum`, present)}) / sum by (backend) (${rate(`${name}_count`, present)})`
  page
    .withRow(new RowBuilder('Handshakes and ends'))
    .withPanel(
      graph({
        title: 'Handshake by backend',
        description:
          "Mean time from a client's SYN to the backend's SYN-ACK: the way there, and a host that is too busy.",
        unit: 's',
        queries: { '{{backend}}': mean('handshake_seconds') },
      }),
    )
    .withPanel(
      graph({
        title: 'Handshake, backends and clients',
        description: "Medians: SYN to the backend's SYN-ACK, and from there to the client's ACK.",
        unit: 's',
        queries: {
          backends: median('handshake_seconds', ''),
          clients: median('client_handshake_seconds', ''),
        },
      }),
    )
    .withPanel(
      graph({
        title: 'Connections closed, by reason',
        description:
          'By backend: fin is how they should end; reset by one that refuses; gone with a backend that is down.',
        unit: 'cps',
        queries: {
          '{{reason}} {{backend}}': `sum by (reason, backend) (${rate('connections_closed_total', present)})`,
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

/** Names: what is asked, what is answered, how long that takes, and the upstreams. */
import { type DashboardBuilder, RowBuilder } from '@grafana/grafana-foundation-sdk/dashboard'
import { agents, dashboard, graph, stat, zeroIsWell } from './panels.js'

export function dns(): DashboardBuilder {
  const page = dashboard('dns', 'DNS', 'Names: questions, answers, how long they take, upstreams.')
  withSummary(page)
  withAnswers(page)
  withUpstreams(page)
  return page
}

function rate(name: string, more = ''): string {
  return `rate(fairlead_dns_${name}{${agents}${more}}[$__rate_interval])`
}

function quantile(q: number, name: string, by: string, more = ''): string {
  return `histogram_quantile(${q}, sum by (le, ${by}) (${rate(`${name}_bucket`, more)}))`
}

function withSummary(page: DashboardBuilder): void {
  const all = `sum(${rate('answers_total')})`
  page
    .withRow(new RowBuilder('At a glance'))
    .withPanel(
      stat({
        title: 'Replies',
        description: 'Replies in a second, over all agents.',
        unit: 'reqps',
        span: 6,
        queries: { replies: all },
      }),
    )
    .withPanel(
      stat({
        title: 'Failures',
        description: 'Share of replies that are SERVFAIL: no upstream answered, or one failed.',
        unit: 'percentunit',
        span: 6,
        steps: [
          [null, 'green'],
          [0.01, 'orange'],
          [0.05, 'red'],
        ],
        queries: {
          SERVFAIL: `(sum(${rate('answers_total', ',rcode="SERVFAIL"')}) or vector(0)) / ${all}`,
        },
      }),
    )
    .withPanel(
      stat({
        title: 'Waiting for an upstream',
        description: 'Forwarded queries that have no reply yet. Local answers never wait for them.',
        unit: 'short',
        span: 6,
        queries: { waiting: `sum(fairlead_dns_forward_in_flight{${agents}})` },
      }),
    )
    .withPanel(
      stat({
        title: 'Upstreams silent',
        description: 'Upstreams whose last exchange ended without a reply.',
        unit: 'short',
        span: 6,
        steps: zeroIsWell,
        queries: {
          upstreams: `count(fairlead_dns_upstream_answering{${agents}} == 0) or vector(0)`,
        },
      }),
    )
}

function withAnswers(page: DashboardBuilder): void {
  const by = (label: string): Record<string, string> => ({
    [`{{${label}}}`]: `sum by (${label}) (${rate('answers_total')})`,
  })
  page
    .withRow(new RowBuilder('Answers'))
    .withPanel(
      graph({
        title: 'By type',
        description: 'Replies by type of the question. Types that are rare are other.',
        unit: 'reqps',
        stacked: true,
        queries: by('type'),
      }),
    )
    .withPanel(
      graph({
        title: 'By rcode',
        description: 'NXDOMAIN is usual: resolvers try search domains. SERVFAIL is not.',
        unit: 'reqps',
        stacked: true,
        queries: by('rcode'),
      }),
    )
    .withPanel(
      graph({
        title: 'By source',
        description: 'local: from the state. forwarded: by an upstream. refused: nobody to ask.',
        unit: 'reqps',
        stacked: true,
        queries: by('source'),
      }),
    )
    .withPanel(
      graph({
        title: 'By network',
        description: "Replies by the listener's network; host is the host's listener.",
        unit: 'reqps',
        stacked: true,
        queries: by('network'),
      }),
    )
    .withPanel(
      graph({
        title: 'Time to answer',
        description: 'From the arrival of a query to its reply.',
        unit: 's',
        queries: {
          'p50 {{source}}': quantile(0.5, 'answer_duration_seconds', 'source'),
          'p99 {{source}}': quantile(0.99, 'answer_duration_seconds', 'source'),
        },
      }),
    )
    .withPanel(
      graph({
        title: 'By transport',
        description: 'TCP is for answers that do not fit a datagram.',
        unit: 'reqps',
        stacked: true,
        queries: by('transport'),
      }),
    )
}

function withUpstreams(page: DashboardBuilder): void {
  page
    .withRow(new RowBuilder('Upstreams and what got no reply'))
    .withPanel(
      graph({
        title: 'Exchanges by outcome',
        description: 'An rcode, or why there was no reply.',
        unit: 'reqps',
        queries: {
          '{{upstream}} {{outcome}}': `sum by (upstream, outcome) (${rate('forwarded_total')})`,
        },
      }),
    )
    .withPanel(
      graph({
        title: 'Time of upstreams',
        description: 'From sending to the reply, or to giving up.',
        unit: 's',
        queries: {
          'p50 {{upstream}}': quantile(0.5, 'forward_duration_seconds', 'upstream'),
          'p99 {{upstream}}': quantile(0.99, 'forward_duration_seconds', 'upstream'),
        },
      }),
    )
    .withPanel(
      graph({
        title: 'Queries without a reply',
        description: 'By reason: malformed ones, and what limits keep out.',
        unit: 'reqps',
        queries: { '{{reason}}': `sum by (reason) (${rate('dropped_total')})` },
      }),
    )
}

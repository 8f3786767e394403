/** Counts what the DNS sink reports. Called for every query: nothing here may be slow or throw. */
import type { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { DnsAnswered, DnsForwarded, DnsObserver } from '../model/observe.js'
import { definitions } from './definitions.js'
import { BoundedLabel } from './labels.js'
import { counter, gauge, histogram } from './series.js'

// Clients choose the type: only those worth a series of their own have one.
const queryTypes = (
  'A AAAA ANY AXFR CAA CNAME DNSKEY DS HTTPS IXFR MX NAPTR NS NSEC NSEC3 NULL OPT PTR RRSIG ' +
  'SOA SRV SSHFP SVCB TLSA TXT'
).split(' ')

export class DnsMetrics implements DnsObserver {
  readonly #answers: Counter
  readonly #answerDuration: Histogram
  readonly #dropped: Counter
  readonly #forwarded: Counter
  readonly #forwardDuration: Histogram
  readonly #inFlight: Gauge
  readonly #answering: Gauge
  readonly #types = new BoundedLabel(queryTypes.length, queryTypes)
  readonly #rcodes = new BoundedLabel(32)
  readonly #networks = new BoundedLabel(1024)
  readonly #reasons = new BoundedLabel(64)
  readonly #upstreams = new BoundedLabel(64)
  readonly #outcomes = new BoundedLabel(64)

  constructor(registry: Registry) {
    this.#answers = counter(definitions.dnsAnswers, registry)
    this.#answerDuration = histogram(definitions.dnsAnswerDuration, registry)
    this.#dropped = counter(definitions.dnsDropped, registry)
    this.#forwarded = counter(definitions.dnsForwarded, registry)
    this.#forwardDuration = histogram(definitions.dnsForwardDuration, registry)
    this.#inFlight = gauge(definitions.dnsInFlight, registry)
    this.#answering = gauge(definitions.dnsUpstreamAnswering, registry)
  }

  answered(answer: DnsAnswered): void {
    const { source, transport } = answer
    this.#answers.inc({
      network: this.#networks.of(answer.network),
      type: this.#types.of(answer.type),
      rcode: this.#rcodes.of(answer.rcode),
      source,
      transport,
    })
    this.#answerDuration.observe({ source, transport }, answer.seconds)
  }

  dropped(reason: string): void {
    this.#dropped.inc({ reason: this.#reasons.of(reason) })
  }

  forwarded(exchange: DnsForwarded): void {
    const upstream = this.#upstreams.of(exchange.upstream)
    this.#forwarded.inc({ upstream, outcome: this.#outcomes.of(exchange.outcome) })
    this.#forwardDuration.observe({ upstream }, exchange.seconds)
    this.#answering.set({ upstream }, isReply(exchange.outcome) ? 1 : 0)
  }

  inFlight(count: number): void {
    this.#inFlight.set(count)
  }
}

/** An rcode is in upper case, a reason why there was none is not. */
function isReply(outcome: string): boolean {
  return outcome === outcome.toUpperCase()
}

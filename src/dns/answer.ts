/** What we say to a question: a pure function of zone, question and asker. */

import type { Answer as Rr } from 'dns-packet'
import { family } from '../model/address.js'
import type { Backend, Family, Service } from '../model/types.js'
import { addressLabel, fitsWire } from './name.js'
import {
  NAMESERVER_LABEL,
  type Asker,
  type Found,
  type Resolution,
  type ServicePort,
  type Zone,
} from './zone.js'

export type { Rr }

export interface Question {
  /** Lower-case, no dot at the end. */
  readonly name: string
  /** As dns-packet spells it: `A`, `UNKNOWN_64`. */
  readonly type: string
}

/** Records in a settled order; they are shuffled when they are written. */
export interface Reply {
  readonly rcode: 'NOERROR' | 'NXDOMAIN' | 'REFUSED'
  readonly answers: readonly Rr[]
  readonly authorities: readonly Rr[]
  readonly additionals: readonly Rr[]
}

/** Transfers and the mail group of RFC 1035: never served, never passed on. */
const REFUSED_TYPES = new Set(['AXFR', 'IXFR', 'UNKNOWN_253', 'UNKNOWN_254'])
const REFUSED: Reply = { rcode: 'REFUSED', answers: [], authorities: [], additionals: [] }

/** @returns undefined when the name is not ours and may be forwarded */
export function answer(zone: Zone, question: Question, asker: Asker): Reply | undefined {
  if (REFUSED_TYPES.has(question.type)) return REFUSED
  const resolution = zone.resolve(question.name, asker)
  if (resolution === undefined) return undefined
  const { answers, additionals } = recordsOf(zone, question, resolution)
  if (answers.length > 0) return { rcode: 'NOERROR', answers, authorities: [], additionals }
  return {
    rcode: resolution.found.kind === 'absent' ? 'NXDOMAIN' : 'NOERROR',
    answers: [],
    authorities: [soa(zone, resolution)],
    additionals: [],
  }
}

interface Records {
  readonly answers: readonly Rr[]
  readonly additionals: readonly Rr[]
}
const NONE: Records = { answers: [], additionals: [] }

function recordsOf(zone: Zone, { name, type }: Question, resolution: Resolution): Records {
  const { found } = resolution
  if (found.kind === 'absent') return NONE
  switch (type) {
    case 'A':
    case 'AAAA': {
      const { ttlSeconds, addresses } = addressesOf(zone, found, type === 'A' ? 4 : 6)
      return only(addresses.map((data) => ({ name, type, ttl: ttlSeconds, data })))
    }
    case 'PTR':
      if (found.kind !== 'pointer') return NONE
      return only(
        found.names.filter(fitsWire).map((data) => ({ name, type, ttl: found.ttlSeconds, data })),
      )
    case 'SRV':
      return found.kind === 'port' ? serviceRecords(zone, name, found.ports) : NONE
    case 'SOA':
      return found.kind === 'apex' ? only([soa(zone, resolution)]) : NONE
    case 'NS':
      return found.kind === 'apex' ? nameservers(zone, name, resolution) : NONE
    case 'ANY':
      // RFC 8482: one small record says that the rest must be asked for by type.
      if (found.kind === 'empty') return NONE
      return only([
        {
          name,
          type: 'HINFO',
          ttl: zone.options.negativeTtlSeconds,
          data: { cpu: 'RFC8482', os: '' },
        },
      ])
    default:
      return NONE
  }
}

function only(answers: readonly Rr[]): Records {
  return { answers, additionals: [] }
}

function addressesOf(
  zone: Zone,
  found: Found,
  of: Family,
): { ttlSeconds: number; addresses: readonly string[] } {
  switch (found.kind) {
    case 'service': {
      const ttlSeconds = Math.min(...found.services.map((service) => service.ttlSeconds))
      const addresses = found.services.flatMap((service) => {
        if (found.tasks) return addressList(named(service.backends, of))
        if (service.mode === 'vip') return service.vips.filter((vip) => family(vip) === of)
        return addressList(chosen(service.backends, of))
      })
      return { ttlSeconds, addresses: [...new Set(addresses)] }
    }
    case 'backends': {
      const addresses = addressList(named(found.backends, of))
      return { ttlSeconds: found.ttlSeconds, addresses: [...new Set(addresses)] }
    }
    case 'nameserver':
      return {
        ttlSeconds: zone.options.negativeTtlSeconds,
        addresses: found.addresses.filter((address) => family(address) === of),
      }
    default:
      return { ttlSeconds: 0, addresses: [] }
  }
}

function addressList(backends: readonly Backend[]): string[] {
  return backends.map(({ address }) => address)
}

/** The active ones; the draining ones if nothing else is left; never those that are down. */
function named(backends: readonly Backend[], of: Family): readonly Backend[] {
  const own = backends.filter(({ address }) => family(address) === of)
  const active = own.filter(({ state }) => state === 'active')
  return active.length > 0 ? active : own.filter(({ state }) => state === 'draining')
}

/** Of those named, the ones that take new flows: weight 0 only if all have it. */
function chosen(backends: readonly Backend[], of: Family): readonly Backend[] {
  const candidates = named(backends, of)
  const weighted = candidates.filter(({ weight }) => weight > 0)
  return weighted.length > 0 ? weighted : candidates
}

interface Target {
  readonly ttl: number
  readonly port: number
  readonly weight: number
  readonly addresses: string[]
}

function serviceRecords(zone: Zone, name: string, ports: readonly ServicePort[]): Records {
  const targets = new Map<string, Target>()
  for (const { service, port, tasks } of ports) {
    const ttl = service.ttlSeconds
    if (!tasks) {
      const target = zone.qualify(service.name, service.network)
      targets.set(target, { ttl, port: port.port, weight: 0, addresses: [...service.vips] })
      continue
    }
    for (const backend of [...named(service.backends, 4), ...named(service.backends, 6)]) {
      const target = zone.qualify(taskName(backend, service), service.network)
      const known = targets.get(target)
      if (known !== undefined) known.addresses.push(backend.address)
      else {
        const { weight, address } = backend
        targets.set(target, { ttl, port: port.targetPort, weight, addresses: [address] })
      }
    }
  }
  const usable = [...targets].filter(([target, { addresses }]) => {
    return fitsWire(target) && addresses.length > 0
  })
  return {
    answers: usable.map(([target, { ttl, port, weight }]) => ({
      name,
      type: 'SRV',
      ttl,
      data: { priority: 0, weight, port, target },
    })),
    additionals: usable.flatMap(([target, { ttl, addresses }]) =>
      addresses.map((data) => addressRecord(target, ttl, data)),
    ),
  }
}

function taskName({ slot, hostname, address }: Backend, service: Service): string {
  return `${slot ?? hostname ?? addressLabel(address)}.${service.name}`
}

function addressRecord(name: string, ttl: number, data: string): Rr {
  return { name, type: family(data) === 4 ? 'A' : 'AAAA', ttl, data }
}

function nameserverName(zone: Zone, { network }: Resolution): string {
  return zone.qualify(NAMESERVER_LABEL, network)
}

function nameservers(zone: Zone, name: string, resolution: Resolution): Records {
  const target = nameserverName(zone, resolution)
  const ttl = zone.options.negativeTtlSeconds
  const glue = zone.resolve(target, { networks: [resolution.network] })?.found
  const addresses =
    glue === undefined
      ? []
      : [...addressesOf(zone, glue, 4).addresses, ...addressesOf(zone, glue, 6).addresses]
  return {
    answers: [{ name, type: 'NS', ttl, data: target }],
    additionals: addresses.map((address) => addressRecord(target, ttl, address)),
  }
}

function soa(zone: Zone, resolution: Resolution): Rr {
  const ttl = zone.options.negativeTtlSeconds
  const mname = nameserverName(zone, resolution)
  return {
    name: resolution.apex,
    type: 'SOA',
    ttl,
    data: {
      mname: fitsWire(mname) ? mname : '.',
      rname: fitsWire(`hostmaster.${mname}`) ? `hostmaster.${mname}` : '.',
      serial: zone.revision >>> 0,
      refresh: 3600,
      retry: 600,
      expire: 86_400,
      minimum: ttl,
    },
  }
}

/** From counts to words: what an operator asks first. */
import type { OverviewServiceView } from '../api/liveSchema.js'
import type { Feed } from './feed.js'
import { plural } from './format.js'

/** `out`: nobody answers; `less`: some do not; `idle`: it has no backends at all. */
export type Standing = 'whole' | 'less' | 'out' | 'idle'

export function standingOf({ backends, failOpen }: OverviewServiceView): Standing {
  const { active, draining, down } = backends
  if (active + draining + down === 0) return 'idle'
  if (active === 0) return 'out'
  return down > 0 || draining > 0 || failOpen ? 'less' : 'whole'
}

const rank: Record<Standing, number> = { out: 0, less: 1, idle: 2, whole: 3 }

/** What needs a look comes first. */
export function byNeed(a: OverviewServiceView, b: OverviewServiceView): number {
  return rank[standingOf(a)] - rank[standingOf(b)]
}

export function standingText(service: OverviewServiceView): string {
  const { active, draining, down } = service.backends
  const all = active + draining + down
  if (all === 0) return 'no backends'
  if (service.failOpen) return `all ${all} fail their checks; used all the same`
  const rest = [down > 0 && `${down} down`, draining > 0 && `${draining} draining`].filter(Boolean)
  if (rest.length === 0) return all === 1 ? '1 active' : `all ${all} active`
  return `${active} of ${all} active, ${rest.join(', ')}`
}

export interface Headline {
  readonly text: string
  readonly tone: 'ok' | 'warn' | 'bad'
}

export function headline({ services = [], state, problems }: Feed): Headline {
  const count = (standing: Standing): number =>
    services.filter((service) => standingOf(service) === standing).length
  const [out, less] = [count('out'), count('less')]
  if (services.length === 0) return { text: 'There are no services.', tone: 'ok' }
  if (out > 0) {
    const text = `${plural(out, 'service')} ${out === 1 ? 'has' : 'have'} no backend that answers.`
    return { text, tone: 'bad' }
  }
  if (state?.lastError !== undefined)
    return { text: 'The kernel does not take what it should.', tone: 'bad' }
  if (less > 0)
    return {
      text: `${less} of ${plural(services.length, 'service')} ${less === 1 ? 'is' : 'are'} not whole.`,
      tone: 'warn',
    }
  if (problems.length > 0)
    return { text: `${plural(problems.length, 'problem')} to look at.`, tone: 'warn' }
  const all = services.length === 1 ? 'The one service is' : `All ${services.length} services are`
  return { text: `${all} whole.`, tone: 'ok' }
}

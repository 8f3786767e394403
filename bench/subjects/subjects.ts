/** All subjects, in the order in which they stand in tables. */
import type { Subject } from '../frame/subject.js'
import { bound } from './bound.js'
import { fairlead } from './fairlead.js'
import { ipvs } from './ipvs.js'
import { netfilter } from './netfilter.js'
import { none } from './none.js'
import { proxies } from './proxies.js'

export const SUBJECTS: readonly Subject[] = [
  ...none,
  ...bound,
  ...ipvs,
  ...netfilter,
  ...fairlead,
  ...proxies,
]

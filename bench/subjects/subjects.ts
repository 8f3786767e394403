/** All subjects, in the order in which they stand in tables. */
import type { Subject } from '../frame/subject.js'
import { fairlead } from './fairlead.js'
import { ipvs } from './ipvs.js'
import { netfilter } from './netfilter.js'
import { direct } from './none.js'

export const SUBJECTS: readonly Subject[] = [direct, ...ipvs, ...netfilter, ...fairlead]

/** No balancer: the client dials the backend, and the node only routes. */
import type { Subject } from '../frame/subject.js'

function direct(name: string, title: string): Subject {
  return {
    ...{ name, title },
    what: 'the node routes; the client dials the backend itself',
    family: 'none',
    shape: 'local',
    unavailable: () => Promise.resolve(undefined),
    setUp: (stage) => Promise.resolve({ dial: stage.address, tearDown: () => Promise.resolve() }),
  }
}

export const none: readonly Subject[] = [
  direct('direct', 'no balancer'),
  // What subjects are compared with that need whole checksums where the others do not.
  { ...direct('direct-whole', 'no balancer, tx off'), wholeChecksums: true },
]

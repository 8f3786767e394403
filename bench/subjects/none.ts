/** No balancer: the client dials the backend, and the node only routes. */
import type { Subject } from '../frame/subject.js'

export const direct: Subject = {
  name: 'direct',
  title: 'no balancer',
  what: 'the node routes; the client dials the backend itself',
  family: 'none',
  shape: 'local',
  unavailable: () => Promise.resolve(undefined),
  setUp: (stage) => Promise.resolve({ dial: stage.address, tearDown: () => Promise.resolve() }),
}

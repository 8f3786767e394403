/** A bound for what works in tc: the least program, past the whole stack. No balancer. */
import { join } from 'node:path'
import { run } from '../../test/lib/netns.js'
import { BACKEND_LINK, NIC, PLACES, PORT } from '../frame/stage.js'
import type { Subject } from '../frame/subject.js'

const BENCH = join(import.meta.dirname, '..')

export const bound: readonly Subject[] = [
  {
    name: 'least-tc',
    title: 'least tc, past the stack',
    what: 'constant addresses, no table: from the NIC into the container by bpf_redirect_peer, and back; no bridge, no routing, no netfilter',
    family: 'none',
    shape: 'local',
    unavailable: () => Promise.resolve(undefined),
    async setUp({ client, balancer, backend, address }) {
      await run(join(BENCH, 'shortcut'), [
        ...[join(BENCH, 'shortcut.bpf.o'), balancer.path, PLACES.vip, address, `${PORT}`],
        ...[NIC, await balancer.mac(NIC), await client.mac(NIC)],
        ...[BACKEND_LINK, await balancer.mac(BACKEND_LINK), await backend.mac(NIC)],
      ])
      return { tearDown: () => Promise.resolve() }
    },
  },
]

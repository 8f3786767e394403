/**
 * Instructions of a guest kernel, per packet and per connection. The emulated processor's clock is a
 * count of instructions, so what the host does meanwhile changes nothing.
 */
import { existsSync } from 'node:fs'
import { basename, join } from 'node:path'
import { bootGuest, type GuestFiles } from '../../test/lib/guest/boot.js'
import type { GuestKernel } from '../../test/lib/guest/kernel.js'
import { modulesOf } from '../../test/lib/guest/modules.js'
import { addFolder, addProgram, GUEST_HOME, treeFiles } from '../../test/lib/guest/tree.js'
import { installed } from '../subjects/commands.js'
import { type Line, linesOf, type Plan, PLAN_FILE } from './plan.js'

const BENCH = new URL('..', import.meta.url).pathname
const MODULES = '/modules'
const XTABLES = '/usr/lib/x86_64-linux-gnu/xtables'

const WANTED =
  /^(ip_vs|ip_vs_rr|veth|bridge|sch_ingress|cls_bpf|nf_tables|nft_(chain_nat|ct|nat|masq|numgen)|iptable_(nat|mangle)|xt_(mark|nat|ipvs|MASQUERADE|tcpudp|conntrack))$/

/** Tables that do not get crowded: a chain's length is not what is compared. */
const PARAMETERS: Readonly<Record<string, string>> = {
  'nf_conntrack.ko': 'hashsize=131072',
  'ip_vs.ko': 'conn_tab_bits=17',
}

const PROGRAMS = [
  'ip',
  'bridge',
  'flock',
  'setpriv',
  'nsenter',
  'ethtool',
  'nft',
  'ipvsadm',
  'bpftool',
]
const TABLES = ['iptables-legacy', 'iptables-legacy-restore']
const APPLETS = ['ping', 'sysctl']

const SCRIPT = `
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp
busybox mount -t bpf bpf /sys/fs/bpf
busybox mount -t cgroup2 cgroup /sys/fs/cgroup
while read -r module parameters; do busybox insmod ${MODULES}/$module $parameters; done < ${MODULES}/order
sysctl -q -w net.netfilter.nf_conntrack_max=1000000
cd ${GUEST_HOME}
node --no-memory-reducer dist/bench/guest/inside.js
`

async function filesOf({ modules }: GuestKernel, plan: Plan): Promise<GuestFiles> {
  const files = treeFiles(['test/lib', 'bench'], true)
  const order = modulesOf(modules, WANTED)
  const lines = order.map((path) => `${basename(path)} ${PARAMETERS[basename(path)] ?? ''}\n`)
  files.set(`${MODULES}/order`, Buffer.from(lines.join('')))
  for (const path of order) files.set(`${MODULES}/${basename(path)}`, path)
  for (const name of [...PROGRAMS, ...TABLES]) {
    const path = await installed(name)
    if (path !== undefined) addProgram(files, path)
  }
  if (existsSync(XTABLES)) addFolder(files, XTABLES, XTABLES, /\.so$/)
  for (const name of APPLETS)
    files.set(`/bin/${name}`, Buffer.from(`#!/bin/busybox sh\nexec busybox ${name} "$@"\n`))
  for (const name of ['traffic', 'shortcut'])
    addProgram(files, join(BENCH, name), `${GUEST_HOME}/dist/bench/${name}`)
  for (const name of ['frames.bpf.o', 'shortcut.bpf.o'])
    files.set(`${GUEST_HOME}/dist/bench/${name}`, join(BENCH, name))
  files.set(PLAN_FILE, Buffer.from(JSON.stringify(plan)))
  return files
}

export interface GuestOptions {
  readonly limitSeconds: number
  /** Gets what the guest is at. */
  readonly progress?: (lines: readonly Line[]) => void
}

/**
 * One boot.
 * @param stop ends the guest early
 * @throws Error with the end of what it said, when that does not end as it should
 */
export async function countInGuest(
  plan: Plan,
  stop: AbortSignal,
  { limitSeconds, progress }: GuestOptions,
): Promise<Line[]> {
  const options = {
    ...{ megabytes: 2048, counted: true, limitSeconds },
    ...(progress && { onOutput: (said: string) => progress(linesOf(said)) }),
  }
  const { said, console } = await bootGuest(
    (kernel) => filesOf(kernel, plan),
    SCRIPT,
    stop,
    options,
  )
  const lines = linesOf(said)
  if (lines.at(-1)?.kind !== 'end')
    throw new Error(`the guest ended early: ${said.slice(-3000)}\n${console.slice(-2000)}`)
  return lines
}

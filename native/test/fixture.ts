/** What the tests share: objects, namespaces, pins; all removed at the end of the test. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { BpfObject, capabilities, BpfError } from '../index.js'

export const OBJECT = fileURLToPath(new URL('basic.bpf.o', import.meta.url))

/** Tests of the kernel skip without CAP_BPF, but never in CI. */
export const skip =
  capabilities().has('CAP_BPF') || process.env['CI'] !== undefined ? false : 'needs CAP_BPF'

let counter = 0

export function uniqueName(): string {
  return `fl${process.pid}n${counter++}`
}

export function openBasic(t: Test): BpfObject {
  const object = BpfObject.open(OBJECT)
  t.teardown(() => object.close())
  return object
}

export function loadBasic(t: Test): BpfObject {
  const object = openBasic(t)
  object.load()
  return object
}

export function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', timeout: 10_000 })
}

/** A namespace with the pair a0 - b0, up, and a loopback. @returns its path */
export function makeNetns(t: Test): string {
  const name = uniqueName()
  run('ip', 'netns', 'add', name)
  t.teardown(() => run('ip', 'netns', 'del', name))
  run('ip', '-n', name, 'link', 'add', 'a0', 'type', 'veth', 'peer', 'name', 'b0')
  for (const device of ['a0', 'b0', 'lo']) run('ip', '-n', name, 'link', 'set', device, 'up')
  return `/run/netns/${name}`
}

/** A directory of the test's own on the bpffs. */
export function makePinDirectory(t: Test): string {
  if (!readFileSync('/proc/mounts', 'utf8').includes(' /sys/fs/bpf bpf ')) {
    run('mount', '-t', 'bpf', 'bpf', '/sys/fs/bpf')
  }
  const path = `/sys/fs/bpf/${uniqueName()}`
  mkdirSync(path)
  t.teardown(() => rmSync(path, { recursive: true }))
  return path
}

/** A directory of the test's own in the cgroup v2 hierarchy. */
export function makeCgroup(t: Test): string {
  const mount = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .find((line) => line.split(' ')[2] === 'cgroup2')
    ?.split(' ')[1]
  if (mount === undefined) throw new Error('no cgroup v2 hierarchy is mounted')
  const path = `${mount}/${uniqueName()}`
  mkdirSync(path)
  t.teardown(() => run('rmdir', path))
  return path
}

/** What the test knows to be there. */
export function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('absent')
  return value
}

/** For t.throws(). */
export function failsWith(code: string): { name: string; code: string } {
  return { name: 'BpfError', code }
}

/** The code of the BpfError that `work` throws; else its name, or 'nothing'. */
export function codeOf(work: () => unknown): string {
  try {
    work()
    return 'nothing'
  } catch (error) {
    return nameOf(error)
  }
}

export async function rejectionOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'nothing',
    (error: unknown) => nameOf(error),
  )
}

function nameOf(error: unknown): string {
  if (error instanceof BpfError) return error.code
  return error instanceof Error ? error.name : typeof error
}

/** Open descriptors of this process. */
export function descriptors(): string[] {
  return readdirSync('/proc/self/fd')
}

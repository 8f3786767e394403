/** What stages are made of, namespaces, pins, folders and mounts, as far as their names say so. */
import { readdirSync, readFileSync } from 'node:fs'

/** @param pattern over paths */
export function leftovers(pattern: RegExp): string[] {
  const list = (folder: string): string[] => {
    try {
      return readdirSync(folder).map((name) => `${folder}/${name}`)
    } catch {
      return []
    }
  }
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n')
  return [
    ...['/run/netns', '/etc/netns', '/sys/fs/bpf', '/tmp'].flatMap(list),
    ...mounts.map((line) => line.split(' ')[1] ?? ''),
  ].filter((path) => pattern.test(path))
}

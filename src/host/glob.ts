/** Globs over names and over paths: `*` and `?`, never across a `/`. */
import { readdir } from 'node:fs/promises'

const SPECIAL = /[.+^${}()|[\]\\]/g

export function isGlob(pattern: string): boolean {
  return /[*?]/.test(pattern)
}

/** A matcher of whole names. */
export function globToRegExp(pattern: string): RegExp {
  const source = pattern.replace(SPECIAL, '\\$&').replaceAll('*', '[^/]*').replaceAll('?', '[^/]')
  return new RegExp(`^${source}$`)
}

export function matchesAny(patterns: readonly string[], name: string): boolean {
  return patterns.some((pattern) => globToRegExp(pattern).test(name))
}

/** The directory below which everything that `pattern` can match lies. */
export function globRoot(pattern: string): string {
  const parts = pattern.split('/')
  const first = parts.findIndex(isGlob)
  return parts.slice(0, first === -1 ? -1 : first).join('/') || '/'
}

/** Existing entries that match an absolute path pattern, sorted; unreadable directories are empty. */
export async function expandGlob(pattern: string): Promise<string[]> {
  let paths = ['']
  for (const part of pattern.split('/').slice(1)) {
    if (!isGlob(part)) {
      paths = paths.map((path) => `${path}/${part}`)
      continue
    }
    const matcher = globToRegExp(part)
    const found = await Promise.all(paths.map(async (path) => matchingEntries(path, matcher)))
    paths = found.flat()
  }
  return paths.sort()
}

async function matchingEntries(directory: string, matcher: RegExp): Promise<string[]> {
  const names = await readdir(directory === '' ? '/' : directory).catch(() => [])
  return names.filter((name) => matcher.test(name)).map((name) => `${directory}/${name}`)
}

/** The web page's files, as they were built: read once, and served from memory. */
import type { FastifyInstance } from 'fastify'
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { extname } from 'node:path'
import { FairleadError } from '../errors.js'

const builtFolder = new URL('../web/', import.meta.url)

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
  '.woff2': 'font/woff2',
}

/** Nothing but what the agent itself serves, and nothing written into the page. */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "font-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
].join('; ')

interface PageFile {
  /** `/` for the page itself. */
  readonly path: string
  readonly type: string
  readonly tag: string
  readonly body: Buffer
}

/** @throws FairleadError HOST if the page has not been built */
export async function readPageFiles(folder: URL = builtFolder): Promise<PageFile[]> {
  const found = await readdir(folder).catch(() => [])
  const names = found.filter((name) => extname(name) in types).sort()
  if (!names.includes('index.html'))
    throw new FairleadError(
      'HOST',
      `the web page is not there: no index.html in ${folder.pathname}`,
    )
  return Promise.all(
    names.map(async (name) => {
      const body = await readFile(new URL(name, folder))
      const tag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`
      const type = types[extname(name)] ?? 'application/octet-stream'
      return { path: name === 'index.html' ? '/' : `/${name}`, type, tag, body }
    }),
  )
}

/** They tell nothing of the node, so they need no token. */
export function addPage(app: FastifyInstance, files: readonly PageFile[]): void {
  for (const { path, type, tag, body } of files) {
    app.get(path, { config: { open: true } }, (request, reply) => {
      reply.headers({
        'content-type': type,
        etag: tag,
        'cache-control': 'no-cache',
        'content-security-policy': contentSecurityPolicy,
      })
      if (request.headers['if-none-match'] === tag) return reply.code(304).send()
      return reply.send(body)
    })
  }
}

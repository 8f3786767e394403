/** The secret that a request by TCP has to bring along. */
import { createHash, timingSafeEqual } from 'node:crypto'
import { open } from 'node:fs/promises'
import { FairleadError } from '../errors.js'
import { reasonOf } from '../reason.js'

/** As RFC 6750 writes a token; 32 characters of hex are 128 bits. */
const TOKEN = /^[A-Za-z0-9._~+/-]{32,512}=*$/
const MAX_FILE_BYTES = 1024
const OTHERS = 0o077

export class Token {
  readonly #digest: Buffer

  /** @throws FairleadError CONFIG for one that is too short, or not of RFC 6750's characters */
  constructor(text: string) {
    if (!TOKEN.test(text))
      throw new FairleadError('CONFIG', 'a token has 32 to 512 letters, digits and . _ ~ + / -')
    this.#digest = digestOf(text)
  }

  /**
   * Reads it from a file that nobody else may read.
   *
   * @throws FairleadError FILE if it cannot be read, CONFIG if others may read it or it is no token
   */
  static async read(path: string): Promise<Token> {
    const wrong = (why: string): FairleadError => new FairleadError('CONFIG', `${path}: ${why}`)
    const file = await open(path, 'r').catch((cause: unknown) => {
      throw new FairleadError('FILE', `the token cannot be read: ${reasonOf(cause)}`, { cause })
    })
    try {
      // Of what is open, not of the path: it may be another file by now.
      const { mode, uid, size } = await file.stat()
      if (![0, process.geteuid?.()].includes(uid)) throw wrong(`belongs to another user (${uid})`)
      if ((mode & OTHERS) !== 0)
        throw wrong(`others may read it: chmod 600 (it is ${(mode & 0o777).toString(8)})`)
      if (size > MAX_FILE_BYTES) throw wrong('is too large for a token')
      const text = await file.readFile('utf8')
      try {
        return new Token(text.trim())
      } catch (error) {
        throw error instanceof FairleadError ? wrong(error.message) : error
      }
    } finally {
      await file.close()
    }
  }

  /**
   * Takes as long whatever it is compared with.
   *
   * @param header `Authorization`
   */
  grants(header: string | undefined): boolean {
    const [, text = ''] = /^Bearer +(\S+)$/i.exec(header ?? '') ?? []
    return timingSafeEqual(digestOf(text), this.#digest)
  }
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

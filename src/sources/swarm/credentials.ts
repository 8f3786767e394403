/**
 * What a node proves with that it belongs to its swarm: the certificate that the swarm gave it. Read
 * anew for each use, because the swarm renews it.
 */
import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { FairleadError } from '../../errors.js'
import { reasonOf } from '../../reason.js'

export interface Credentials {
  readonly cert: string
  readonly key: string
  readonly ca: string
  /** Of the swarm: the certificates' O. */
  readonly swarm: string
}

/** The names that the swarm's CA gives by role. */
export const MANAGER = 'swarm-manager'
export const WORKER = 'swarm-worker'

/**
 * @param root the engine's data root
 * @throws FairleadError ENGINE: not there, or the key is locked
 */
export async function readCredentials(root: string): Promise<Credentials> {
  const folder = join(root, 'swarm/certificates')
  const read = async (name: string): Promise<string> => readFile(join(folder, name), 'utf8')
  try {
    const [cert, key, ca] = await Promise.all([
      read('swarm-node.crt'),
      read('swarm-node.key'),
      read('swarm-root-ca.crt'),
    ])
    if (key.includes('ENCRYPTED')) throw new Error('the key is locked')
    const swarm = organization(new X509Certificate(cert).subject)
    return { cert, key: withoutHeaders(key), ca, swarm }
  } catch (cause) {
    const why = reasonOf(cause)
    throw new FairleadError('ENGINE', `the swarm's certificate of this node: ${why}`, { cause })
  }
}

function organization(subject: string): string {
  return /^O=(.*)$/m.exec(subject)?.[1] ?? ''
}

/** The engine keeps notes in the PEM block, which OpenSSL does not expect there. */
export function withoutHeaders(pem: string): string {
  return pem.replace(/^(-----BEGIN [^\n]*\n)(?:[\w-]+: [^\n]*\n)+\n?/m, '$1')
}

/** An initramfs: a cpio archive of the `newc` kind (Documentation/driver-api/early-userspace). */
import { lstatSync, readFileSync } from 'node:fs'
import { dirname } from 'node:path'

const DIRECTORY = 0o040755
const FILE = 0o100755

function header(inode: number, mode: number, size: number, name: string): Buffer {
  const fields = [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, Buffer.byteLength(name) + 1, 0]
  const text = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`
  return padded(Buffer.from(`${text}${name}\0`))
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)])
}

/** @param files path in the archive → path of a file here, or its contents */
export function cpio(files: ReadonlyMap<string, string | Buffer>): Buffer {
  const parts: Buffer[] = []
  const made = new Set<string>(['.', '/'])
  let inode = 1
  const add = (name: string, mode: number, body: Buffer) => {
    parts.push(header(inode++, mode, body.length, name), padded(body))
  }
  const addDirectory = (name: string) => {
    if (made.has(name)) return
    addDirectory(dirname(name))
    made.add(name)
    add(name, DIRECTORY, Buffer.alloc(0))
  }
  for (const [path, from] of files) {
    const name = path.replace(/^\//, '')
    addDirectory(dirname(name))
    // A file's links are followed: in the archive it is where it is looked for.
    const body = typeof from === 'string' ? readFileSync(from) : from
    if (typeof from === 'string' && lstatSync(from).isDirectory())
      throw new Error(`${from}: EISDIR`)
    add(name, FILE, body)
  }
  for (const name of ['dev', 'proc', 'sys', 'tmp', 'run']) addDirectory(name)
  add('TRAILER!!!', 0, Buffer.alloc(0))
  return Buffer.concat(parts)
}

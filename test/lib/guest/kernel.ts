/** Debian's kernel for the guest, from its package, unpacked and not installed. */
import { execFileSync } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
} from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { basename, join } from 'node:path'

const META_PACKAGE = 'linux-image-cloud-amd64'

/** Of its modules those that may be asked for, by path. */
const KEPT = /kernel\/net\/|\/(veth|libcrc32c|crc32c_generic)\.ko$/

function run(command: string, args: string[], cwd?: string): string {
  return execFileSync(command, args, {
    encoding: 'utf8',
    timeout: 120_000,
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(cwd !== undefined && { cwd }),
  })
}

/** @returns the name of the package that the meta package stands for; undefined without lists */
function packageName(): string | undefined {
  const depends = run('apt-cache', ['depends', META_PACKAGE])
  return /Depends: (linux-image-\S+)/.exec(depends)?.[1]
}

export interface GuestKernel {
  /** Path of a vmlinuz. */
  readonly image: string
  /** Its modules that have to do with networks, in one folder. */
  readonly modules: string
}

/** Kept between runs in the user's cache. */
export function guestKernel(): GuestKernel {
  let name = packageName()
  if (name === undefined) {
    run('apt-get', ['update', '-qq'])
    name = packageName()
  }
  if (name === undefined) throw new Error(`apt knows of no ${META_PACKAGE}`)
  const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'fairlead')
  const image = join(cache, `vmlinuz-${name}`)
  const modules = join(cache, `net-modules-${name}`)
  if (existsSync(image) && existsSync(modules)) return { image, modules }
  const scratch = mkdtempSync(join(tmpdir(), 'fairlead-kernel-'))
  try {
    const download = () =>
      run('apt-get', ['download', '-o', 'APT::Sandbox::User=root', name], scratch)
    try {
      download()
    } catch {
      // Lists that are too old name a package that is there no more.
      run('apt-get', ['update', '-qq'])
      download()
    }
    const [archive] = readdirSync(scratch).filter((file) => file.endsWith('.deb'))
    if (archive === undefined) throw new Error(`${name} was not downloaded`)
    run('dpkg-deb', ['-x', join(scratch, archive), join(scratch, 'tree')])
    const boot = join(scratch, 'tree/boot')
    const [found] = readdirSync(boot).filter((file) => file.startsWith('vmlinuz-'))
    if (found === undefined) throw new Error(`${name} has no kernel`)
    mkdirSync(cache, { recursive: true })
    keep(image, (path) => copyFileSync(join(boot, found), path))
    keep(modules, (path) => {
      mkdirSync(path)
      const tree = join(scratch, 'tree/lib/modules')
      for (const module of readdirSync(tree, { recursive: true, encoding: 'utf8' }))
        if (module.endsWith('.ko') && KEPT.test(module))
          copyFileSync(join(tree, module), join(path, basename(module)))
    })
    return { image, modules }
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

/** Whole or not at all, also when two runs make it at a time. */
function keep(path: string, make: (path: string) => void): void {
  if (existsSync(path)) return
  const scratch = `${path}.${process.pid}`
  make(scratch)
  try {
    renameSync(scratch, path)
  } catch (error) {
    rmSync(scratch, { recursive: true, force: true })
    if (!existsSync(path)) throw error
  }
}

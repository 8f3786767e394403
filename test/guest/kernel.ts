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
import { join } from 'node:path'

const META_PACKAGE = 'linux-image-cloud-amd64'

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

/** @returns path of a vmlinuz, kept between runs in the user's cache */
export function guestKernel(): string {
  let name = packageName()
  if (name === undefined) {
    run('apt-get', ['update', '-qq'])
    name = packageName()
  }
  if (name === undefined) throw new Error(`apt knows of no ${META_PACKAGE}`)
  const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'fairlead')
  const kernel = join(cache, `vmlinuz-${name}`)
  if (existsSync(kernel)) return kernel
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
    const [image] = readdirSync(boot).filter((file) => file.startsWith('vmlinuz-'))
    if (image === undefined) throw new Error(`${name} has no kernel`)
    mkdirSync(cache, { recursive: true })
    copyFileSync(join(boot, image), `${kernel}.${process.pid}`)
    renameSync(`${kernel}.${process.pid}`, kernel)
    return kernel
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

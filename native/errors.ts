/** The error class of everything that the kernel, or libbpf, refuses. */
import { constants } from 'node:os'
import { getSystemErrorMap } from 'node:util'

/** Above the kernel's errnos: libbpf's own, in its order from 4000 on. */
const LIBBPF = [
  'LIBELF',
  'FORMAT',
  'KVERSION',
  'ENDIAN',
  'INTERNAL',
  'RELOC',
  'LOAD',
  'VERIFY',
  'PROG2BIG',
  'KVER',
  'PROGTYPE',
  'WRNGPID',
  'INVSEQ',
  'NLPARSE',
]
const LIBBPF_START = 4000

const names = new Map<number, string>()
for (const [name, errno] of Object.entries(constants.errno)) names.set(errno, name)
// Two names share a number; these are the ones that bpf(2) uses. The last is the kernel's own.
names.set(constants.errno.EAGAIN, 'EAGAIN')
names.set(constants.errno.EOPNOTSUPP, 'EOPNOTSUPP')
names.set(524, 'ENOTSUPP')
LIBBPF.forEach((name, index) => names.set(LIBBPF_START + index, `LIBBPF_${name}`))

const texts = getSystemErrorMap()

function describe(errno: number): string {
  const code = names.get(errno) ?? `errno ${errno}`
  const text = texts.get(-errno)?.[1]
  return text === undefined ? code : `${code}, ${text}`
}

/** The last line of a log that says something: the verifier's or libbpf's reason. */
function reason(log: string): string {
  const lines = log
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !/^(--|processed \d|libbpf: (prog|failed to load))/.test(line))
  return (lines.at(-1) ?? '').slice(0, 200)
}

export class BpfError extends Error {
  override readonly name = 'BpfError'
  /** 'EPERM', 'ENOENT', ...; 'LIBBPF_FORMAT', ... for libbpf's own. Stable; messages are not. */
  readonly code: string

  /**
   * @param operation what was tried: 'load', 'set', 'attachXdp', ...
   * @param subject   on what: a file, a map, an interface
   * @param errno     positive
   * @param log       the verifier's or libbpf's words, at most 256 KiB, or a short explanation
   */
  constructor(
    readonly operation: string,
    readonly subject: string,
    readonly errno: number,
    readonly log?: string,
  ) {
    const why = log === undefined ? '' : reason(log)
    super(`${operation} ${subject}: ${describe(errno)}${why === '' ? '' : ` (${why})`}`)
    this.code = names.get(errno) ?? `ERRNO_${errno}`
  }
}

/** For failures that are found on this side of the addon. */
export function bpfError(
  operation: string,
  subject: string,
  code: 'EBADF' | 'EINVAL' | 'EOPNOTSUPP' | 'EBUSY' | 'ENOENT',
  log?: string,
): BpfError {
  return new BpfError(operation, subject, constants.errno[code], log)
}

/** Sockets that a test holds open towards echo.js, of a process without any library between. */
import type { Daemon, Namespace } from './netns.js'

/** A backend's id; or what the socket said: `ECONNRESET`, `EOF`, `timeout`, ... */
export type Answer = string

/**
 * Obeys lines of JSON: [number, command, name, ...]; answers [number, text]. Every open socket is
 * asked at once after it is connected, so that its flow is beyond the handshake.
 */
const PROGRAM = `
import errno, json, socket, sys
socks = {}
def ask(sock, seconds=3):
    sock.settimeout(seconds)
    sock.send(b'ask\\n')
    data = sock.recv(200)
    return data.decode().split(' ')[0] if data else 'EOF'
def wait(sock, seconds):
    sock.settimeout(seconds)
    data = sock.recv(200)
    return data.decode() if data else 'EOF'
def obey(command, name, *rest):
    if command == 'open':
        kind, host, port = rest
        kind = socket.SOCK_STREAM if kind == 'tcp' else socket.SOCK_DGRAM
        sock = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, kind)
        sock.settimeout(3)
        sock.connect((host, port))
        socks[name] = sock
        return ask(sock)
    if command == 'ask':
        return ask(socks[name])
    if command == 'wait':
        return wait(socks[name], rest[0])
    if command == 'local':
        return str(socks[name].getsockname()[1])
    socks.pop(name).close()
    return 'closed'
for line in sys.stdin:
    number, *command = json.loads(line)
    try:
        answer = obey(*command)
    except socket.timeout:
        answer = 'timeout'
    except OSError as error:
        answer = errno.errorcode[error.errno]
    print(json.dumps([number, answer]), flush=True)
`

export class HeldSockets {
  readonly #process: Daemon
  #asked = 0

  constructor(space: Namespace) {
    this.#process = space.spawn('python3', ['-u', '-c', PROGRAM])
  }

  /** Connects, asks once, and tells who answered. */
  async open(name: string, kind: 'tcp' | 'udp', host: string, port = 7): Promise<Answer> {
    return this.#command('open', name, kind, host, port)
  }

  /** Sends a line and waits for the answer, for three seconds at most. */
  async ask(name: string): Promise<Answer> {
    return this.#command('ask', name)
  }

  /** Sends nothing: what does the socket hear within so long? */
  async wait(name: string, seconds: number): Promise<Answer> {
    return this.#command('wait', name, seconds)
  }

  /** The socket's own port. */
  async localPort(name: string): Promise<number> {
    return Number(await this.#command('local', name))
  }

  async close(name: string): Promise<void> {
    await this.#command('close', name)
  }

  /** Ends the process, and so all sockets. */
  async stop(): Promise<void> {
    await this.#process.stop()
  }

  async #command(...command: (string | number)[]): Promise<Answer> {
    const number = ++this.#asked
    this.#process.child.stdin?.write(`${JSON.stringify([number, ...command])}\n`)
    const [, answer] = await this.#process.printed(
      new RegExp(String.raw`^\[${number}, "(.*)"\]$`, 'm'),
      90_000,
    )
    return answer ?? ''
  }
}

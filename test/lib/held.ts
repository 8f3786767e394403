/** A TCP connection that is held open while other things change, one step at a time. */
import type { Daemon, Namespace } from './netns.js'

/** A request to peer.js that is never whole until `end`: each step is a header, and its ACK. */
const PROGRAM = `
import fcntl, socket, struct, sys, termios, time
s = socket.create_connection((sys.argv[1], 80), timeout=10)
s.sendall(b'GET / HTTP/1.1\\r\\nHost: held\\r\\n')
print('open', flush=True)
def pending():
  return struct.unpack('i', fcntl.ioctl(s, termios.TIOCOUTQ, b'\\0' * 4))[0]
for line in sys.stdin:
  try:
    if line == 'end\\n':
      s.sendall(b'\\r\\n')
      reply = b''
      while part := s.recv(4096): reply += part
      print(line.strip(), reply.split()[-1].decode(), flush=True)
      break
    s.sendall(b'X-Step: ' + line.encode().strip() + b'\\r\\n')
    until = time.time() + 8
    while pending() and time.time() < until:
      error = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
      if error: raise OSError(error, '')
      time.sleep(0.01)
    print(line.strip(), 'stuck' if pending() else 'acknowledged', flush=True)
  except OSError as e:
    print(line.strip(), type(e).__name__, flush=True)
`

export class Held {
  private constructor(private readonly process: Daemon) {}

  /** Dials port 80 of `host`, an address, from `space`. */
  static async open(space: Namespace, host: string): Promise<Held> {
    const held = new Held(space.spawn('python3', ['-c', PROGRAM, host]))
    await held.process.printed(/open/)
    return held
  }

  /**
   * @param name another one each time
   * @returns `acknowledged`, `stuck`, or the Python exception that the connection ended with
   */
  async step(name: string): Promise<string> {
    return this.#say(name)
  }

  /** Ends the request; the id of the backend that answers. */
  async end(): Promise<string> {
    return this.#say('end')
  }

  async #say(word: string): Promise<string> {
    this.process.child.stdin?.write(`${word}\n`)
    const [, result = ''] = await this.process.printed(new RegExp(`^${word} (.*)$`, 'm'))
    return result
  }
}

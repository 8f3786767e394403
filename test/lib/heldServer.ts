/** A backend's side of connections that a test holds open: what each of its sockets hears, and when. */
import type { Answer } from './heldSockets.js'
import { type Daemon, type Namespace, until } from './netns.js'

/**
 * Answers the first line of each connection to its port with its id, then waits in a read; prints the
 * address of its client with what ended that: `EOF`, `ECONNRESET`, ...
 */
const PROGRAM = `
import errno, os, socket, sys, threading
ident, port, *hosts = sys.argv[1:]
def serve(sock, peer):
    try:
        sock.recv(200)
        sock.send(ident.encode() + b' here\\n')
        text = 'data' if sock.recv(200) else 'EOF'
    except OSError as error:
        text = errno.errorcode[error.errno]
    # In one piece: others write at the same moment.
    os.write(1, ('end %s %s\\n' % (peer, text)).encode())
def accept(listener):
    while True:
        sock, peer = listener.accept()
        threading.Thread(target=serve, args=(sock, peer[0]), daemon=True).start()
for host in hosts:
    listener = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if ':' in host:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind((host, int(port)))
    listener.listen(100)
    threading.Thread(target=accept, args=(listener,), daemon=True).start()
print('ready', flush=True)
for line in sys.stdin:
    pass
`

export class HeldServer {
  readonly #process: Daemon

  private constructor(process: Daemon) {
    this.#process = process
  }

  /** @param hosts addresses to listen on; none: all */
  static async start(
    space: Namespace,
    id: string,
    port = 7,
    hosts: readonly string[] = ['0.0.0.0', '::'],
  ): Promise<HeldServer> {
    const process = space.spawn('python3', ['-u', '-c', PROGRAM, id, String(port), ...hosts])
    await process.printed(/ready/)
    return new HeldServer(process)
  }

  /** What ended the connections of a client, in the order of their ends. */
  ends(client: string): Answer[] {
    return [...this.#process.stdout.matchAll(/^end (\S+) (\S+)$/gm)]
      .filter(([, peer]) => peer === client)
      .map(([, , text = '']) => text)
  }

  /** The same once there are so many. */
  async ended(client: string, count = 1, timeoutMs = 20_000): Promise<Answer[]> {
    const enough = () => this.ends(client).length >= count
    await until(`${count} connections of ${client} to end`, enough, timeoutMs)
    return this.ends(client)
  }
}

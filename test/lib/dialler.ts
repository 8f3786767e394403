/** A client's process that connects from ports that it is told, says who answered, and keeps its sockets. */
import { createInterface } from 'node:readline'
import type { Daemon, Namespace } from './netns.js'

const PROGRAM = `
import json, socket, sys
held = {}
def dial(to):
    s = socket.socket(socket.AF_INET6 if ':' in to['host'] else socket.AF_INET,
                      socket.SOCK_STREAM if to['protocol'] == 'tcp' else socket.SOCK_DGRAM)
    s.settimeout(to.get('timeout', 5))
    s.bind(('', to['from']))
    held[(to['protocol'], to['from'])] = s
    s.connect((to['host'], to['port']))
    if to['protocol'] == 'udp':
        s.send(b'x')
        return s.recv(99).split()[0].decode()
    return 'connected'
def ask(to):
    s = held[(to['protocol'], to['from'])]
    if to['protocol'] == 'udp':
        s.send(b'x')
        return s.recv(99).split()[0].decode()
    s.sendall(b'GET / HTTP/1.1\\r\\nhost: web\\r\\n\\r\\n')
    data = b''
    while True:
        part = s.recv(4096)
        if not part: return data.split(b'backend-')[1][:1].decode().join(['backend-', ''])
        data += part
def close(to):
    held.pop((to['protocol'], to['from'])).close()
    return 'closed'
for line in sys.stdin:
    to = json.loads(line)
    try:
        said = {'dial': dial, 'ask': ask, 'close': close}[to['what']](to)
    except (OSError, IndexError) as error:
        said = type(error).__name__
    print(to['id'], said, flush=True)
`

export interface Dial {
  readonly protocol: 'tcp' | 'udp'
  readonly host: string
  readonly port: number
  readonly from: number
  readonly timeout?: number
}

export class Dialler {
  readonly #process: Daemon
  readonly #waiting = new Map<string, (said: string) => void>()
  #asked = 0

  constructor(space: Namespace) {
    this.#process = space.spawn('python3', ['-c', PROGRAM])
    const { stdout } = this.#process.child
    if (stdout === null) throw new Error('the process has no output')
    createInterface(stdout).on('line', (line) => {
      const [id = '', said = ''] = line.split(' ')
      this.#waiting.get(id)?.(said)
      this.#waiting.delete(id)
    })
  }

  /** TCP: `connected`; UDP: who answered; or the name of an error: `ConnectionRefusedError`, `timeout`. */
  dial(to: Dial): Promise<string> {
    return this.#tell('dial', to)
  }

  /** Who answers on a socket that was dialled. The server of a TCP one closes its side then. */
  ask(to: Dial): Promise<string> {
    return this.#tell('ask', to)
  }

  close(to: Dial): Promise<string> {
    return this.#tell('close', to)
  }

  #tell(what: string, to: Dial): Promise<string> {
    const id = `#${++this.#asked}`
    const said = new Promise<string>((resolve) => this.#waiting.set(id, resolve))
    const ended = this.#process.exited.then((code) => {
      throw new Error(`the client ended: ${code}\n${this.#process.stderr}`)
    })
    this.#process.child.stdin?.write(`${JSON.stringify({ ...to, what, id })}\n`)
    return Promise.race([said, ended])
  }
}

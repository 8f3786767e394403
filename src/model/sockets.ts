/** What needs a socket in a network's namespace asks for it so; `host/` opens it. */

export interface SocketRequest {
  /** Path of a network namespace; absent: the agent's own. */
  readonly namespace?: string
  readonly transport: 'udp' | 'tcp'
  /** Canonical. */
  readonly address: string
  /** 1..65535 */
  readonly port: number
}

/**
 * @returns a descriptor, non-blocking and bound, for tcp listening as well; for `dgram.bind({fd})`
 *          or `net.listen({fd})`, which take it over. Until then it is the caller's to close
 * @throws  whatever says why not
 */
export type SocketOpener = (request: SocketRequest) => Promise<number>

/** Ports of 127.0.0.11, within a namespace, at which its questions are answered. */
export interface ResolverPorts {
  readonly udp: number
  readonly tcp: number
}

/**
 * Leads what a namespace's processes ask of 127.0.0.11:53 to another port there, for as long as this
 * process is well; sockets that are bound to 127.0.0.11 themselves are let by. The dataplane does it.
 */
export interface ResolverRedirect {
  /**
   * @param namespace path
   * @throws whatever says why not
   */
  lead(namespace: string, ports: ResolverPorts): void
  /** Nothing, if it was not led; the namespace may be gone. */
  leave(namespace: string): void
  /** Nothing is led any more until `lead` is called; answers under way arrive as ever. */
  pause(): void
}

/**
 * @param namespace path
 * @returns         descriptor of an IPv4 TCP socket there, neither bound nor connected, the caller's
 * @throws          whatever says why not
 */
export type StreamOpener = (namespace: string) => Promise<number>

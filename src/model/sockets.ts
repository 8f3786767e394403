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

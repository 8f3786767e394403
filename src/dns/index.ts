export { DnsServer } from './server.js'
export type { DnsConfig, DnsServerOptions, ListenerStatus } from './server.js'
export type {
  Answered,
  DnsObserver,
  DropReason,
  Forwarded,
  Transport,
  UpstreamOutcome,
} from './observer.js'
export type { SocketOpener, SocketRequest } from './socket.js'

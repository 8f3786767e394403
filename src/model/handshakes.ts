/**
 * Bounds of the histograms of handshakes, in seconds, ascending; as many as the kernel's records have room
 * for. From a backend on the same node to one that answers the third SYN.
 */
export const HANDSHAKE_BOUNDS_SECONDS = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5,
] as const

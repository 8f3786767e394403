/** The one error class of fairlead's own; kernel refusals arrive as libbpf-ts's BpfError in `cause`. */

export type ErrorCode =
  | 'CONFIG' // the agent's own settings
  | 'FILE' // a file cannot be read or is not YAML
  | 'SCHEMA' // a field is missing, unknown or of the wrong type
  | 'VALUE' // a field's value makes no sense
  | 'DUPLICATE' // a name or address is taken
  | 'REFERENCE' // something is named that is not there
  | 'POOL_EXHAUSTED' // no VIP is left
  | 'MAP_FULL' // a kernel map has no room
  | 'LAYOUT' // pinned maps are of another version
  | 'CAPABILITY' // a Linux capability is missing
  | 'HOST' // a namespace, link or listener
  | 'ENGINE' // the container engine does not answer, or answered with an error
  | 'BUSY' // as many do it already as may
  | 'AGENT' // the agent does not answer, or answered with an error

export class FairleadError extends Error {
  override readonly name = 'FairleadError'

  /**
   * @param code    stable; messages are not
   * @param message for a person; names the place
   */
  constructor(
    readonly code: ErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options)
  }
}

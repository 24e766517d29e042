/** The other end of a connection. One object for each connection: whoever shares something out compares them. */

export interface Peer {
  /** The IP address that the connection comes from; empty if it broke before that was asked. */
  readonly address: string
}

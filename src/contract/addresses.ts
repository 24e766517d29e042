/** Default addresses: where a server listens and a client connects, unless told otherwise. */

import type { Role } from './operations.ts'

export const DEFAULT_HOST = '127.0.0.1'
export const DEFAULT_PORTS: Readonly<Record<Role, number>> = { seller: 7101, buyer: 7102 }

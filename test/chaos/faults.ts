/** The faults, by number. */

import type { Fault } from './fault.ts'
import { F7, F8, F9, F10, F16, F17 } from './faults/clients.ts'
import { F2, F3, F4, F5, F12 } from './faults/database.ts'
import { F11 } from './faults/disk.ts'
import { F6 } from './faults/link.ts'
import { F14, F15 } from './faults/races.ts'
import { F1, F13 } from './faults/servers.ts'

export const FAULTS = {
  F1,
  F2,
  F3,
  F4,
  F5,
  F6,
  F7,
  F8,
  F9,
  F10,
  F11,
  F12,
  F13,
  F14,
  F15,
  F16,
  F17,
} as const satisfies Record<string, Fault>

export type FaultName = keyof typeof FAULTS
export const FAULT_NAMES = Object.keys(FAULTS) as FaultName[]

#!/usr/bin/env node
/** souk-load as people start it: something to see at once, for reading its parts takes a while. */

import { progress } from '../process/progress.ts'

progress.begin('starting')
await import('../loadgen.ts')

#!/usr/bin/env node
/** souk-server as people start it: something to see at once, for reading its parts takes a while. */

import { progress } from '../program.ts'

progress.begin('starting')
await import('../server.ts')

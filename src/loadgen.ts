#!/usr/bin/env node
/**
 * souk-load: measures a marketplace. `run` carries out one scenario, `study` a
 * part of the study on all systems, `report` writes the reports of studies
 * again. Everything runs on databases of its own.
 *
 * Loading the commands takes a while: the progress line is shown first.
 */

import { progress } from './process/progress.ts'

progress.begin('starting')
const { main } = await import('./loadgen/commands.ts')
progress.end()
await main()

#!/usr/bin/env node
/**
 * souk-load: measures a marketplace. `run` carries out one scenario, `study`
 * the report's three experiments against all systems, `report` writes the
 * tables of a study again.
 */

import { cac } from 'cac'
import { type Bench, openBench } from './load/bench.ts'
import { createProgress } from './load/progress.ts'
import { type Experiment, loadStudy, newestStudy, type Run, saveStudy, writeWhole } from './load/record.ts'
import { renderRuns, renderStudy } from './load/report.ts'
import { callsOf, PROFILES, runStudy, scenarioOf, stepsOf } from './load/study.ts'
import { SYSTEM_NAMES, type SystemName } from './load/systems.ts'
import { OPERATIONS } from './load/workload.ts'
import { SetUpError } from './mariadbd.ts'
import { fail, VERSION } from './program.ts'
import { loadDotEnv, readSettings } from './settings.ts'

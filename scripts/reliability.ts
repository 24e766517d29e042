/** Writes docs/reliability.md anew, from the records of runs; with --print to standard output, which changes no file. */

import { writeFileSync } from 'node:fs'
import { PAGE_PATH, readRecords, renderPage } from '../test/support/reliability.ts'

const page = renderPage(readRecords())
if (process.argv.includes('--print')) process.stdout.write(page)
else writeFileSync(PAGE_PATH, page)

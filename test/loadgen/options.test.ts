/** The options of souk-load: what the help says of them, and what becomes of what is typed. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { checkOptions, describeOptions, findPart, RUN_OPTIONS, STUDY_OPTIONS } from '../../src/loadgen/options.ts'
import { parseArgv, UsageError } from '../../src/process/command-line.ts'

function check(typed: readonly string[]) {
  const { options, problems } = parseArgv({ commands: [], args: [], options: describeOptions(RUN_OPTIONS) }, typed)
  return checkOptions(RUN_OPTIONS, options, problems)
}

describe('an option of souk-load', () => {
  test('is in the help with its bounds and its default', () => {
    const options = describeOptions({ ...RUN_OPTIONS, ...STUDY_OPTIONS })
    const help = options.map(({ usage, about }) => `${usage}  ${about}`)
    assert.ok(help.includes('--runs <n>  number of runs: 1 to 100 (3)'), help.join('\n'))
    assert.ok(help.some((line) => /^--full {2}.*[^)]$/.test(line)))
    assert.ok(help.some((line) => /^--scenario <name> {2}one of get_seller_rating, .* \(all\)$/.test(line)))
  })

  test('has its default unless it is typed, and is a number if it counts something', () => {
    const { clients, runs, calls, seconds } = check(['--clients', '007', '--seconds=2.50'])
    assert.deepEqual([clients, runs, calls, seconds], [7, 3, undefined, 2.5])
  })

  test('that is a number is decimal digits within its bounds, and all that are wrong are named', () => {
    const wrong = ['', ' ', '0', '1001', '0x10', '1e2', ' 7', '7 ', '+7', '-7', '1_0', '1.0', 'Infinity', 'NaN', '٣']
    for (const word of wrong) {
      const target = '--target: must be souk, queue-off, threads, pinned or null'
      const clients = '--clients: must be a whole number from 1 to 1000'
      assert.throws(
        () => check([`--clients=${word}`, `--target=${word}`]),
        (error) => error instanceof UsageError && error.message === `${target}\n${clients}`,
        word,
      )
    }
    for (const word of ['', ' ', '0', '600.1', '.5', '1.', '1e1', '+1', '-1', '1,5']) {
      assert.throws(
        () => check([`--seconds=${word}`]),
        { message: '--seconds: must be a number from 0.01 to 600' },
        word,
      )
    }
  })
})

describe('the part of a study', () => {
  test('is the replication by default, and by its old name', () => {
    assert.deepEqual([undefined, 'replication', 'report', 'market', 'markt', '0'].map(findPart), [
      'replication',
      'replication',
      'replication',
      'market',
      undefined,
      undefined,
    ])
  })
})

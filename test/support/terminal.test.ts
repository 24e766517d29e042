/** The terminal that other tests use: input arrives, output shows on the screen, and no process is left behind. */

import assert from 'node:assert/strict'
import { tmpdir } from 'node:os'
import { afterEach, describe, it } from 'node:test'
import { openTerminal, type Terminal } from './terminal.ts'

let terminal: Terminal
afterEach(() => terminal.close())

/** The kernel may drop output that is written while a terminal closes: scripts that end by themselves wait a moment. */
const LINGER = '; sleep 0.2'

function sh(script: string, columns = 80, rows = 24): Terminal {
  terminal = openTerminal({ command: 'sh', args: ['-c', script], cwd: tmpdir(), env: { GIVEN: 'yes' }, columns, rows })
  return terminal
}

describe('a terminal', () => {
  it('shows the final screen: redrawn lines in their last state, wrapped and scrolled at its size', async () => {
    const { ended, screen } = sh(String.raw`printf 'one\ntwo\nthree\n123456789\r\033[K123456789012'${LINGER}`, 10, 3)
    assert.equal(await ended, 0)
    assert.equal(screen(), 'three\n1234567890\n12')
    assert.equal(terminal.raw, 'one\r\ntwo\r\nthree\r\n123456789\r\x1b[K123456789012')
  })

  it('gives the program the typed text and pressed keys, an environment of its own, and the size', async () => {
    const { type, press, shows, ended, resize } = sh(
      `read line; echo "[$line $GIVEN$HOME]"; stty size; read line; stty size; printf %090d 7${LINGER}`,
    )
    type('ab')
    press('backspace')
    type('ü')
    press('enter')
    assert.ok(await shows(/^\[aü yes\]\n24 80$/m))
    resize(100, 30)
    press('enter')
    assert.ok(await shows(/^30 100$/m))
    assert.equal(await ended, 0)
    await shows(/^0{89}7$/m)
  })

  it('handles Ctrl-C and Ctrl-D as terminals do, and reports how the program ended', async () => {
    const { shows, press, ended } = sh('echo ready; cat; echo read; exec sleep 1000')
    await shows(/ready/)
    press('ctrl-d')
    await shows(/read$/m)
    press('ctrl-c')
    assert.equal(await ended, 130)
  })

  it('answers a program that asks for the position of the cursor', async () => {
    const { shows } = sh(String.raw`stty raw -echo; printf 'ab\033[6n'; dd bs=6 count=1 2>/dev/null | tail -c 5`)
    await shows(/\[1;3R/)
  })

  it('rejects with the screen when the program ends without showing the expected text', async () => {
    const { shows } = sh(`echo something else${LINGER}`)
    await assert.rejects(shows(/never/), /ended without \/never\/:\nsomething else/)
  })

  it('ends a program that still runs when it is closed', async () => {
    const { pid, shows, close, ended } = sh('trap "" HUP INT TERM; echo ready; while :; do sleep 1; done')
    await shows(/ready/)
    await close()
    assert.equal(await ended, 137)
    assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' })
  })
})

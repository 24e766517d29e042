/**
 * Completion in the shells that people use: a real bash, zsh or fish in a
 * terminal, which has read souk's script, and a person who presses Tab.
 */

import assert from 'node:assert/strict'
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { temporaryHome } from '../support/marketplace.ts'
import { openTerminal, type Terminal } from '../support/terminal.ts'

const SOUK = fileURLToPath(new URL('../../dist/souk.js', import.meta.url))

const SHELLS = {
  bash: { args: ['--norc', '--noprofile'], source: 'source <(souk completion bash)' },
  zsh: { args: ['-f'], source: 'autoload -Uz compinit; compinit -u; source <(souk completion zsh)' },
  fish: { args: ['--no-config'], source: 'souk completion fish | source' },
} as const

/** The only text on the screen that is the shell's own. */
const PROMPT = 'ready:'

let home: string
let terminal: Terminal

before(() => {
  home = temporaryHome()
  for (const folder of ['bin', 'work']) mkdirSync(join(home, folder))
  chmodSync(SOUK, 0o755)
  symlinkSync(SOUK, join(home, 'bin', 'souk'))
  writeFileSync(join(home, 'work', 'password.txt'), 'precious\n')
})
after(() => rmSync(home, { recursive: true, force: true }))
afterEach(() => terminal.close())

/** Opens the shell, which has then read the script that many times. */
async function openShell(shell: keyof typeof SHELLS, times = 1): Promise<void> {
  const { args, source } = SHELLS[shell]
  const path = `${join(home, 'bin')}:${process.env.PATH}`
  const env = { PATH: path, HOME: home, LANG: 'C.UTF-8', PS1: `${PROMPT} `, fish_greeting: '' }
  terminal = openTerminal({ command: shell, args, cwd: join(home, 'work'), env, columns: 120 })
  if (shell === 'fish')
    terminal.type(`set -g fish_autosuggestion_enabled 0; function fish_prompt; echo '${PROMPT} '; end\r`)
  for (let time = 0; time < times; time += 1) {
    terminal.type(`clear; ${source}; echo read-${time}\r`)
    await terminal.shows(new RegExp(`^read-${time}\n${PROMPT}$`, 'm'))
  }
}

/** Types on an empty line, and presses Tab when the text is on the screen. */
async function tab(typed: string): Promise<void> {
  terminal.press('ctrl-e', 'ctrl-u', 'ctrl-l')
  await terminal.shows(new RegExp(`^${PROMPT}$`))
  terminal.type(typed)
  await terminal.shows(new RegExp(`^${PROMPT} ${escapeRegExp(typed.trimEnd())}$`))
  terminal.press('tab')
}

function escapeRegExp(text: string): string {
  return text.replace(/[^\w ]/g, '\\$&')
}

for (const shell of Object.keys(SHELLS) as (keyof typeof SHELLS)[]) {
  describe(`in ${shell}`, () => {
    it('Tab completes roles, commands, options, values of options, and files', async () => {
      await openShell(shell)
      for (const [typed, completed] of [
        ['souk bu', 'souk buyer'],
        ['souk buyer sea', 'souk buyer search-items'],
        ['souk buyer vote 1 u', 'souk buyer vote 1 up'],
        ['souk seller register-item-for-sale x --cond', 'souk seller register-item-for-sale x --condition'],
        ['souk seller register "a b" --condition u', 'souk seller register "a b" --condition used'],
        ['souk completion f', 'souk completion fish'],
        ['souk buyer login ann --password-file p', 'souk buyer login ann --password-file password.txt'],
      ] as const) {
        await tab(typed)
        await terminal.shows(new RegExp(`^${PROMPT} ${escapeRegExp(completed)}$`))
      }
    })

    it('Tab lists the choices', async () => {
      await openShell(shell)
      for (const [typed, words] of [
        ['souk seller register-item-for-sale x --condition ', ['new', 'used']],
        ['souk completion ', ['bash', 'fish', 'zsh']],
      ] as const) {
        await tab(typed)
        if (shell === 'bash') {
          await sleep(50) // so that two don't come as one piece
          terminal.press('tab')
        }
        for (const word of words) await terminal.shows(new RegExp(`^.*\n[\\s\\S]*\\b${word}\\b`))
      }
    })

    it('the script can be read twice without any output', async () => {
      await openShell(shell, 2)
      assert.match(terminal.screen(), new RegExp(`^read-1\n${PROMPT}$`))
    })

    it('Tab runs nothing of the line that is being typed', async () => {
      await openShell(shell)
      for (const typed of [
        'souk buyer search $(touch made) ',
        'souk buyer cart > password.txt ',
        'souk seller `touch made` ',
      ]) {
        await tab(typed)
        await sleep(50)
        await tab('souk bu')
        await terminal.shows(new RegExp(`^${PROMPT} souk buyer$`))
        assert.equal(existsSync(join(home, 'work', 'made')), false)
        assert.equal(readFileSync(join(home, 'work', 'password.txt'), 'utf8'), 'precious\n')
      }
    })
  })
}

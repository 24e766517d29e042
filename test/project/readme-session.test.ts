/**
 * The session in the README is a real one: what it types is typed here in a
 * terminal, which must then show what the README shows.
 */

import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Wire } from '../support/clients.ts'
import { startTestMarketplace, type TestMarketplace, temporaryHome } from '../support/marketplace.ts'
import { openTerminal, type Terminal } from '../support/terminal.ts'

const root = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url))
const PATIENCE_MS = 20_000
const PASSWORD = 'correct horse'
/** What a person types stands behind a prompt, or unseen behind a hidden one. */
const PROMPT = /^(\$|(?:\w+@)?(?:buyer|seller)>) (.*)$/
const HIDDEN = /^(New password|Repeat password|Password):$/

/** The code blocks of one section of the README, each as its lines. */
function readBlocks(section: string): string[][] {
  const [, text = ''] = readFileSync(root('README.md'), 'utf8').split(`\n## ${section}\n`)
  const [lines = ''] = text.split('\n## ')
  const blocks = lines.split(/\n(?! {4})/).map((block) => block.split('\n').filter((line) => line.startsWith('    ')))
  return blocks.filter((block) => block.length > 0).map((block) => block.map((line) => line.slice(4)))
}

describe('the session in the README', () => {
  let marketplace: TestMarketplace
  let home: string
  let ports: Record<'seller' | 'buyer', number>
  let terminal: Terminal

  before(async () => {
    marketplace = await startTestMarketplace()
    const [seller, buyer] = await Promise.all([marketplace.serve('seller'), marketplace.serve('buyer')])
    ports = { seller: seller.port, buyer: buyer.port }
    home = temporaryHome()
    mkdirSync(join(home, 'node_modules', '.bin'), { recursive: true })
    chmodSync(root('dist/souk.js'), 0o755)
    symlinkSync(root('dist/souk.js'), join(home, 'node_modules', '.bin', 'souk'))
  })
  after(async () => {
    await terminal?.close()
    await marketplace.close()
    rmSync(home, { recursive: true, force: true })
  })

  /** The text on the screen, with the usual ports instead of the real ones. */
  const readScreen = () =>
    terminal.screen().replaceAll(`:${ports.seller}`, ':7101').replaceAll(`:${ports.buyer}`, ':7102')

  async function awaitScreen(expected: string): Promise<void> {
    const untilMs = performance.now() + PATIENCE_MS
    while (readScreen() !== expected && performance.now() < untilMs) await sleep(10)
    assert.equal(readScreen(), expected)
  }

  test('is what a terminal shows when it is typed', async () => {
    const [session = []] = readBlocks('A session')
    terminal = openTerminal({
      command: 'bash',
      args: ['--norc', '--noprofile'],
      cwd: home,
      columns: 200,
      rows: 100,
      env: {
        PS1: '$ ',
        HOME: home,
        PATH: process.env.PATH ?? '',
        npm_config_update_notifier: 'false',
        npm_config_offline: 'true',
        SOUK_SELLER_PORT: String(ports.seller),
        SOUK_BUYER_PORT: String(ports.buyer),
      },
    })
    const shown: string[] = []
    for (const line of [...session, '$ ']) {
      const [, prompt, words = ''] = PROMPT.exec(line) ?? []
      const isHidden = HIDDEN.test(line)
      if (prompt !== undefined || isHidden) await awaitScreen([...shown, prompt ?? line].join('\n'))
      if (prompt !== undefined) terminal.type(`${words}\r`)
      if (isHidden) terminal.type(`${PASSWORD}\r`)
      shown.push(line)
    }
  })

  test('is what a server replies on the wire', async () => {
    const [, exchanges = []] = readBlocks('A session')
    assert.ok(exchanges.length > 2)
    const wire = await Wire.connect({ port: ports.buyer })
    let [shown, real] = ['', '']
    for (let at = 0; at < exchanges.length; at += 2) {
      const [, request = ''] = /^\$ echo '(.*)' \| nc -N 127\.0\.0\.1 7102$/.exec(exchanges[at] ?? '') ?? []
      const expected = JSON.parse(exchanges[at + 1] ?? '')
      wire.send(`${request.replaceAll(shown, real)}\n`)
      const reply = await wire.reply()
      if (expected.result?.session) [shown, real] = [expected.result.session, String(Object(reply?.result).session)]
      assert.deepEqual(reply, JSON.parse(JSON.stringify(expected).replaceAll(shown, real)))
    }
    wire.destroy()
  })
})

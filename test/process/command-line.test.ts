/** The words of a command line: what becomes of each, and what is refused. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { defineOption, HELP_OPTION, parseArgv } from '../../src/process/command-line.ts'

const PROGRAM = {
  commands: [
    { word: 'sell', alias: 's', args: ['<name>', '[role]'], options: [defineOption('--price <price>', 'price')] },
    {
      word: 'find',
      args: ['[...words]'],
      options: [defineOption('--word <word>', 'word', { repeats: true }), defineOption('--all', 'all pages')],
    },
  ],
  options: [defineOption('-p, --port <port>', 'port'), defineOption('--no-color', 'no colours'), HELP_OPTION],
}
const parse = (...words: string[]) => parseArgv(PROGRAM, words)

/** Words that a parser likes to change. */
const ODD_WORDS = [
  '0123',
  '1e3',
  '0x10',
  'true',
  'null',
  '',
  ' ',
  '-5',
  '-.5',
  '-',
  '__proto__',
  '=a',
  'é',
  '\u{FEFF}x',
]

describe('a word', () => {
  it('stays as it was typed, as an argument and as a value', () => {
    for (const word of ODD_WORDS) {
      assert.deepEqual(parse('sell', word).args, [word])
      for (const typed of [['--price', word], [`--price=${word}`]]) {
        const { options, problems } = parse('sell', 'x', ...typed)
        assert.deepEqual([options.word('price'), problems], [word, []], word)
      }
    }
    assert.deepEqual(parse('find', '--', '--all', '-x', '--').args, ['--all', '-x', '--'])
  })

  it('that is no command is named, and so are words that are too many', () => {
    assert.deepEqual(parse('sel', '--port', '1').unknown, 'sel')
    assert.deepEqual(parse('toString').unknown, 'toString')
    assert.deepEqual(parse('sell', 'a', 'b', 'c', 'd').problems, ['"c" is one word too many'])
    assert.deepEqual(parse('find', 'a', 'b', 'c').problems, [])
    assert.equal(parse().unknown, undefined)
  })
})

describe('an option', () => {
  it('may stand anywhere before "--", and under its short name', () => {
    for (const words of [
      ['-p', '1', 's', 'x'],
      ['s', '--port=1', 'x'],
      ['sell', 'x', '--port', '1'],
    ]) {
      const { command, args, options, problems } = parse(...words)
      assert.deepEqual([command?.word, args, options.word('port'), problems], ['sell', ['x'], '1', []])
    }
    assert.equal(parse('find', '--no-color').options.flag('no-color'), true)
    assert.equal(parse('find').options.flag('no-color'), false)
    const { options, problems } = parse('find', '--word', 'a', '--word=b')
    assert.deepEqual([options.words('word'), problems], [['a', 'b'], []])
  })

  it('that is unknown, misplaced, repeated, or has a value too few or too many, is named; all at once', () => {
    const problems = {
      '--prot 1': ['there is no option --prot; there is --port'],
      'sell x --all': ['there is no option --all'],
      'find --price 1': ['there is no option --price'],
      'sell x --price 1 --price=2 --port': ['--price is given more than once', '--port needs a value'],
      'find --all=yes --port --all': ['--all takes no value', '--port needs a value'],
      'find --no-all --color --port=1 -p 1': [
        'there is no option --no-all',
        'there is no option --color; there is --no-color',
        '--port is given more than once',
      ],
      'sell a --zzz b c': ['there is no option --zzz'],
      'sell a b c --zzz d e': ['there is no option --zzz', '"c" is one word too many'],
    }
    for (const [typed, expected] of Object.entries(problems))
      assert.deepEqual(parse(...typed.split(' ')).problems, expected, typed)
  })
})

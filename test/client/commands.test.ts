/** What a person types becomes the call that was meant, word for word, or is refused with a hint. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { split } from 'shlex'
import { type Command, Commands } from '../../src/client/commands.ts'
import { UsageError } from '../../src/client/failures.ts'
import { operationsByName, ROLES, type Role } from '../../src/contract/operations.ts'

const ITEM = ['--category', '3', '--price', '1', '--quantity', '1', '--condition', 'new']

/** What is typed: one text, or the words of it. */
type Typed = string | readonly string[]

function parse(role: Role, typed: Typed) {
  return new Commands<Role>(role, { inShell: false }).parse(typeof typed === 'string' ? split(typed) : typed)
}

function parseCommand(role: Role, typed: Typed): Command<Role> {
  const parsed = parse(role, typed)
  assert.ok(parsed.kind === 'command', `no command: ${JSON.stringify(parsed)}`)
  return parsed
}

function parseParams(role: Role, typed: Typed) {
  return parseCommand(role, typed).params
}

/** The problems of input that is refused, and what to type next. */
function refuse(role: Role, typed: Typed): { problems: string[]; hint: string | undefined } {
  try {
    assert.fail(`not refused: ${JSON.stringify(parse(role, typed))}`)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    return { problems: error.message.split('\n'), hint: error.hint }
  }
}

describe('a command', () => {
  for (const role of ROLES) {
    const { entries } = new Commands<Role>(role, { inShell: false })

    it(`exists for every operation of a ${role}, under its name in kebab case and a short name of its own`, () => {
      const words = entries.map(({ word }) => word)
      assert.deepEqual(
        words,
        [...operationsByName(role).keys()].map((name) => name.replaceAll('_', '-')),
      )
      const names = [...words, ...entries.flatMap(({ alias }) => alias ?? [])]
      assert.equal(new Set(names).size, names.length)
    })

    it(`of a ${role} parses the examples of its help, under either name`, () => {
      for (const { operation, word, alias, examples } of entries) {
        for (const example of examples) {
          const words = split(example)
          assert.equal(words[0], word)
          const parsed = parseCommand(role, words)
          assert.equal(parsed.operation, operation, example)
          if (alias !== undefined) assert.deepEqual(parse(role, [alias, ...words.slice(1)]), parsed)
        }
      }
    })
  }

  it('is never described in the list by the first part of an enumeration', () => {
    for (const role of ROLES) {
      const text = new Commands<Role>(role, { inShell: false }).entries.map(({ about }) => about).join('\n')
      assert.doesNotMatch(text, /^[^:;\n]*?, \w+(,| or | and )/m)
    }
  })

  it('takes positional words in their order, and options anywhere', () => {
    const register = { name: 'Nikon F3', category: 3, price_cents: 24_990, quantity: 2, condition: 'used' }
    const options = '--category 3 --price 249.90 --quantity 2 --condition used --keyword Camera --keyword 35mm'
    const expected = { ...register, keywords: ['camera', '35mm'] }
    for (const line of [
      `register "Nikon F3" ${options}`,
      `register ${options} "Nikon F3"`,
      `${options} register "Nikon F3"`,
    ])
      assert.deepEqual(parseParams('seller', line), expected, line)
    assert.deepEqual(parseParams('seller', 'units 1 -3'), { item_id: 1, change: -3 })
    assert.deepEqual(parseParams('seller', 'units --json 1 -3'), { item_id: 1, change: -3 })
    assert.deepEqual(parseParams('seller', 'units 1 +5'), { item_id: 1, change: 5 })
    assert.deepEqual(parseParams('buyer', 'search 3 camera lens'), {
      category: 3,
      keywords: ['camera', 'lens'],
      limit: 20,
    })
    assert.deepEqual(parseParams('buyer', 'search 3'), { category: 3, keywords: [], limit: 20 })
    assert.deepEqual(parseParams('buyer', 'vote 1 down'), { item_id: 1, vote: 'down' })
    assert.deepEqual(parseParams('seller', 'items --limit 5 --cursor 17 --include-sold-out'), {
      limit: 5,
      cursor: '17',
      include_sold_out: true,
    })
  })

  it('never takes the word behind a flag as the value of the flag', () => {
    const given = { limit: 1_000, include_sold_out: true }
    for (const line of [
      '--include-sold-out items',
      'items --include-sold-out --json',
      '--json items --include-sold-out',
    ])
      assert.deepEqual(parseParams('seller', line), given, line)
    for (const flag of ['--include-sold-out', '--all', '--json', '--keep-going', '--no-color']) {
      assert.deepEqual(refuse('seller', `items ${flag} x`).problems, ['"x" is one word too many'])
      assert.deepEqual(refuse('seller', `items ${flag} true`).problems, ['"true" is one word too many'])
    }
  })

  it('returns the options that were given', () => {
    const { options } = parseCommand('seller', 'items --json --all --host h --port 1 --timeout 2.5 --no-color')
    const elsewhere = {
      host: undefined,
      port: undefined,
      timeout: undefined,
      tls: false,
      ca: undefined,
      tlsName: undefined,
    }
    const nothing = { passwordFile: undefined, ...elsewhere }
    const where = { host: 'h', port: '1', timeout: '2.5' }
    assert.deepEqual(options, { ...nothing, ...where, json: true, all: true, keepGoing: false, color: false })
    assert.equal(parseCommand('seller', 'ping --json --json').options.json, true)
    const alone = { ...nothing, json: false, all: false, keepGoing: true, color: true }
    assert.deepEqual(parse('seller', '--keep-going'), { kind: 'options', options: alone })
  })
})

describe('a word', () => {
  it('reaches the call exactly as it was typed, whatever it looks like', () => {
    const words = ['007', '1e5', '0x10', 'true', 'false', '-5', '.5', 'Infinity', '1_0', 'null', '--', '=a=b']
    for (const word of words) {
      const behind = ['register', ...ITEM, '--keyword', 'x', '--', word]
      assert.equal(parseParams('seller', behind).name, word)
      const keyword = word.toLowerCase()
      assert.deepEqual(parseParams('seller', ['register', 'x', ...ITEM, `--keyword=${word}`]).keywords, [keyword], word)
      if (word.startsWith('--')) continue
      assert.deepEqual(parseParams('seller', ['register', 'x', ...ITEM, '--keyword', word]).keywords, [keyword], word)
      assert.equal(parseParams('seller', ['register', word, ...ITEM]).name, word)
      assert.deepEqual(parseParams('buyer', ['search', '3', word]).keywords, [keyword], word)
      assert.equal(parseCommand('buyer', ['ping', '--host', word]).options.host, word)
    }
  })

  it('behind "--" is no option, even if it begins with a dash', () => {
    assert.deepEqual(parseParams('buyer', 'search 3 -- --all -x -- 5').keywords, ['--all', '-x', '--', '5'])
  })

  it('that is empty is an empty text, not the number 0', () => {
    assert.match(refuse('seller', ['register', '', ...ITEM]).problems.join(), /^name: must have 1 to 32 characters/)
    for (const keyword of [['--keyword', ''], ['--keyword=']])
      assert.match(refuse('seller', ['register', 'x', ...ITEM, ...keyword]).problems.join(), /^keyword: must have 1/)
    assert.match(refuse('buyer', ['item', '']).problems.join(), /^item-id: must be a whole number/)
  })

  it('that is empty clears the keywords of an item, and must stand alone for that', () => {
    for (const keyword of [['--keyword', ''], ['--keyword=']]) {
      assert.deepEqual(parseParams('seller', ['edit', '1', ...keyword]), { item_id: 1, keywords: [] })
    }
    assert.deepEqual(parseParams('seller', ['edit', '1', '--name', 'Lamp']), { item_id: 1, name: 'Lamp' })
    const both = refuse('seller', ['edit', '1', '--keyword', '', '--keyword', 'film'])
    assert.match(both.problems.join(), /^keyword: must have 1/)
    assert.deepEqual(refuse('seller', ['edit', '1']).problems, ['give a name, category, keywords or condition'])
  })

  it('that stands for a number must have only digits', () => {
    for (const word of ['1e1', '0x1', '1.0', '1,0', '٣', ' 1', '1 ', 'true', '99999999999999999'])
      assert.deepEqual(refuse('buyer', ['item', word]).problems, ['item-id: must be a whole number from 1'], word)
    assert.deepEqual(refuse('buyer', ['item', '0']).problems, ['item-id: must be a whole number from 1'])
    assert.deepEqual(refuse('buyer', ['search', '70000']).problems, [
      'category: must be a whole number from 0 to 65535',
    ])
    assert.deepEqual(parseParams('buyer', 'item 007'), { item_id: 7 })
  })
})

describe('an amount of money', () => {
  const parsePrice = (word: string) => parseParams('seller', ['price', '1', word]).price_cents

  it('becomes exact cents', () => {
    const amounts = { '249.90': 24_990, '249.9': 24_990, 249: 24_900, 0.01: 1, '10000000.00': 1_000_000_000, 0: 0 }
    for (const [amount, cents] of Object.entries(amounts)) assert.equal(parsePrice(amount), cents, amount)
    assert.equal(
      parseParams('seller', ['register', 'x', ...ITEM.with(3, '--price=249.90').toSpliced(2, 1)]).price_cents,
      24_990,
    )
  })

  it('is refused if it is written in another way, or is too large', () => {
    for (const word of ['249.999', '249,90', '1e3', '-1', '.5', '10000000.01', '', '0x10', 'true']) {
      const { problems } = refuse('seller', ['price', '1', word])
      assert.deepEqual(problems, ['price: must be an amount from 0.00 to 10000000.00, like 249.90'], word)
    }
  })
})

describe('a usage error', () => {
  it('for an unknown command suggests the nearest command, or the help', () => {
    const nearest = {
      PING: 'ping',
      'Search-Items': 'search-items',
      serch: 'search',
      'get-itm': 'get-item',
      purchase: 'purchases',
      disp: 'display-cart',
    }
    for (const [word, near] of Object.entries(nearest))
      assert.deepEqual(refuse('buyer', word), {
        problems: [`there is no command "${word}"`],
        hint: `souk buyer ${near}`,
      })
    for (const word of ['', '0', 'true', '__proto__', 'constructor', 'get_item'])
      assert.deepEqual(refuse('buyer', [word]).problems, [`there is no command "${word}"`])
  })

  it('for a command of the other role says where it lives', () => {
    assert.deepEqual(refuse('buyer', 'register'), {
      problems: ['"register" is a command of sellers'],
      hint: 'souk seller register --help',
    })
    assert.deepEqual(refuse('seller', 'make-purchase').hint, 'souk buyer make-purchase --help')
  })

  it('for an unknown option names it as it was typed, and suggests the nearest option', () => {
    const help = 'souk buyer get-buyer-purchases --help'
    for (const option of [
      '--limit.x',
      '--__proto__',
      '--__proto__.x',
      '--constructor',
      '--toString',
      '--xyzzy',
      '-x',
      '--no-json',
    ])
      for (const typed of [[option, '3'], [`${option}=3`]]) {
        const { problems, hint } = refuse('buyer', ['purchases', ...typed])
        assert.ok(problems[0]?.startsWith(`there is no option ${option}`), problems[0])
        assert.deepEqual([problems.length, hint], [1, help])
      }
    assert.deepEqual(refuse('buyer', 'purchases --limti 3').problems, ['there is no option --limti; there is --limit'])
    assert.deepEqual(refuse('buyer', 'login ann --password x').problems, [
      'there is no option --password; there is --password-file',
    ])
    assert.deepEqual(refuse('buyer', 'item 1 --all').problems, ['there is no option --all'])
  })

  it('lists everything that is missing or wrong, and suggests the help of the command', () => {
    assert.deepEqual(refuse('seller', 'register --category x --quantity 0'), {
      problems: [
        'name is missing',
        'category: must be a whole number from 0 to 65535',
        'condition is missing',
        'price is missing',
        'quantity: must be a whole number from 1 to 1000000',
      ],
      hint: 'souk seller register-item-for-sale --help',
    })
    assert.deepEqual(refuse('buyer', 'vote 1 sideways').problems, ['vote: must be up or down'])
  })

  it('suggests the list of categories for a word that is none, and for a missing one', () => {
    const hint = 'souk buyer list-categories'
    const problems = ['category: must be a whole number from 0 to 65535']
    assert.deepEqual(refuse('buyer', 'search-items lens'), { problems, hint })
    assert.deepEqual(refuse('buyer', 'search 70000 --port 7109'), { problems, hint: `${hint} --port 7109` })
    assert.deepEqual(refuse('buyer', 'search'), { problems: ['category is missing'], hint })
    assert.deepEqual(refuse('seller', `register Lamp ${ITEM.join(' ')} --category x`.replace('--category 3 ', '')), {
      problems,
      hint: 'souk seller list-categories',
    })
  })

  it('is thrown for a surplus word, an option without its value, and an option given twice', () => {
    assert.deepEqual(refuse('buyer', 'item 1 2').problems, ['"2" is one word too many'])
    assert.deepEqual(refuse('buyer', 'cart 007').problems, ['"007" is one word too many'])
    assert.deepEqual(refuse('seller', 'units 1 -3 -4').problems, ['"-4" is one word too many'])
    assert.deepEqual(refuse('buyer', 'purchases --limit').problems, ['--limit needs a value'])
    assert.deepEqual(refuse('buyer', 'purchases --limit --json').problems, ['--limit needs a value'])
    assert.deepEqual(refuse('buyer', 'purchases --json=false').problems, ['--json takes no value'])
    assert.deepEqual(refuse('buyer', 'purchases --limit 2 --limit 3').problems, ['--limit is given more than once'])
    assert.match(refuse('buyer', 'search 1 a b c d e f').problems.join(), /^keyword: at most 5 words/)
  })
})

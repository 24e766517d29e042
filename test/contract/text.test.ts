/** Text shows something, in every script; words that differ only in case are the same, in every language. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import * as z from 'zod'
import { operations } from '../../src/contract/operations.ts'
import { distinctWords, fold, hiddenText, lowerCase, text } from '../../src/contract/text.ts'
import { INVISIBLE_NAMES, LEGITIMATE_NAMES, TURNING } from '../support/names.ts'

const name = text(32)
const accepts = (given: string) => name.safeParse(given).success
const keywords = operations.seller.register_item_for_sale.params.shape.keywords
const countCharacters = (word: string) => [...word].length

/** Every code point but surrogates. */
function* allCharacters(): Generator<string> {
  for (let code = 0; code <= 0x10ffff; code += 1) {
    if (code < 0xd800 || code > 0xdfff) yield String.fromCodePoint(code)
  }
}

/** Words of letters whose case is odd, of their accents, and of anything else. */
const words = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        ...'İıiIΣσςßẞſKÅΩŉǰΐΰᾳᾴᾼﬁﬃǅǆꭰᏠᲐაαΑιωԱև',
        '\u0307',
        '\u0345',
        '\u0301',
        '\u0331',
        '\u030c',
        '\u0342',
      ),
      fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
    ),
    { minLength: 1, maxLength: 8 },
  )
  .map((characters) => characters.join('').normalize('NFC'))
  .filter((word) => word.isWellFormed())

describe('a text', () => {
  it('is accepted in every script', () => {
    for (const given of LEGITIMATE_NAMES) assert.ok(accepts(given), given)
  })

  it('is refused if it shows nothing', () => {
    for (const given of INVISIBLE_NAMES) assert.ok(!accepts(given), JSON.stringify(given))
    for (const given of INVISIBLE_NAMES) {
      const again = given.repeat(2)
      assert.ok(!accepts(again), JSON.stringify(again))
    }
  })

  it('is refused if it breaks its line, or turns the text behind it', () => {
    for (const character of [...TURNING, '\0', '\t', '\n', '\r', '\x1b', '\x7f', '\x85', '\x9b', '\ud800', '\udc00'])
      for (const given of [`a${character}b`, `${character}ab`, `ab${character}`])
        assert.ok(!accepts(given), JSON.stringify(given))
  })

  it('is refused with a space, or what looks like nothing, at an end', () => {
    for (const space of ' \u00a0\u1680\u2000\u2009\u202f\u205f\u3000\ufeff\u200b\u2060\u00ad\u2800\u3164\uffa0\u115f')
      for (const given of [`${space}Lamp`, `Lamp${space}`]) assert.ok(!accepts(given), JSON.stringify(given))
    for (const given of ['\u0301Lamp', '\u200dLamp', '\ufe0fLamp', '\u200fLamp']) assert.ok(!accepts(given))
    for (const space of ' \u00a0\u3000\u200b\u00ad') assert.ok(accepts(`a${space}b`))
  })

  it('has one verdict for every code point that may be assigned later', () => {
    for (const given of ['\u0378', '\u{1fbff}', '\u{323b0}', '\u{dfff0}'])
      assert.ok(accepts(given), JSON.stringify(given))
  })

  it('comes in normal form C, and is counted in code points', () => {
    assert.equal(name.parse('Cafe\u0301'), 'Café')
    assert.equal(countCharacters(name.parse('😀'.repeat(32))), 32)
    assert.equal(countCharacters(name.parse('ᾂ'.normalize('NFD').repeat(32))), 32)
    for (const given of ['', 'a'.repeat(33), '😀'.repeat(33)])
      assert.match(name.safeParse(given).error?.issues[0]?.message ?? '', /^must have 1 to 32 characters/)
  })

  it('of the greatest length may come decomposed, whatever its characters', () => {
    for (const character of allCharacters()) {
      const most = 6 * countCharacters(character.normalize('NFC'))
      assert.ok(character.normalize('NFD').length <= most, character)
    }
  })

  it('is refused for its length before anything that takes longer', () => {
    const marks = `a${'\u0316\u0301'.repeat(16_000)}`
    const params = { session: 's', category: 1, condition: 'new', price_cents: 1, quantity: 1 }
    const begunMs = performance.now()
    for (let count = 0; count < 100; count += 1) {
      for (const schema of [name, hiddenText(8, 128)]) assert.equal(schema.safeParse(marks).success, false)
      const given = { ...params, name: marks, keywords: [marks], idempotency_key: marks }
      assert.equal(operations.seller.register_item_for_sale.params.safeParse(given).success, false)
    }
    const tookMs = performance.now() - begunMs
    assert.ok(tookMs < 2_000, `${tookMs} ms`) // a single one, normalized, takes 200
  })

  it('has its lengths in a JSON schema', () => {
    const { description, ...lengths } = z.toJSONSchema(name.describe('name of the item'))
    assert.deepEqual([lengths.minLength, lengths.maxLength, lengths.pattern], [1, 32, undefined])
    assert.equal(description, 'name of the item')
  })
})

describe('keywords', () => {
  it('are refused if they show nothing', () => {
    for (const word of INVISIBLE_NAMES) assert.ok(!keywords.safeParse([word]).success, JSON.stringify(word))
  })

  it('have up to eight characters as they are typed, however long their lower case is', () => {
    assert.deepEqual(keywords.parse(['İİİİİİİİ']), ['İİİİİİİİ'])
    assert.deepEqual(keywords.parse(['ßßßßßßßß', 'ΐΐΐΐΐΐΐΐ']), ['ßßßßßßßß', 'ΐΐΐΐΐΐΐΐ'])
    assert.ok(!keywords.safeParse(['İİİİİİİİİ']).success)
  })

  it('are shown in lower case', () => {
    const shown = {
      CAFÉ: 'café',
      ΟΔΟΣ: 'οδος',
      ЖУК: 'жук',
      İZMİR: 'İzmİr',
      Straße: 'straße',
      ԵՐԵՒԱՆ: 'երեւան',
      ᏣᎳᎩ: 'ꮳꮃꭹ',
    }
    for (const [typed, lower] of Object.entries(shown)) assert.equal(lowerCase(typed), lower)
  })

  it('that differ only in case count once: the first', () => {
    assert.deepEqual(keywords.parse(['Straße', 'STRASSE', 'x', 'STRAẞE', 'X']), ['straße', 'x'])
    assert.deepEqual(distinctWords(['izmir', 'İzmİr', 'ızmır']), ['izmir'])
  })

  it('can be typed again as they are shown', () => {
    fc.assert(
      fc.property(words, (word) => {
        const shown = lowerCase(word)
        assert.equal(lowerCase(shown), shown)
        assert.equal(shown.normalize('NFC'), shown)
        assert.ok(countCharacters(shown) <= countCharacters(word))
      }),
      { numRuns: 5_000 },
    )
  })
})

describe('a folded word', () => {
  it('is the same for all cases, in every language', () => {
    const same = [
      ['STRASSE', 'Straße', 'strasse', 'STRAẞE'],
      ['ΟΔΟΣ', 'οδος', 'οδοσ'],
      ['İZMİR', 'izmir', 'IZMIR', 'ızmır', 'i\u0307zmi\u0307r', 'İzmir'],
      ['ЖУК', 'жук', 'Жук'],
      ['ԵՐԵՒԱՆ', 'երեւան', 'երևան'],
      ['ᲗᲑᲘᲚᲘᲡᲘ', 'თბილისი'],
      ['ᏣᎳᎩ', 'ꮳꮃꭹ'],
      ['ǅ', 'ǆ', 'Ǆ'],
      ['ＦＩＬＭ', 'ｆｉｌｍ'],
      ['ﬁlm', 'FILM', 'film'],
      ['CAFÉ', 'cafe\u0301', 'CAFE\u0301'],
      ['K', 'k', '\u212a'],
      ['𐐔𐐇', '𐐼𐐯'],
    ]
    for (const [first = '', ...others] of same)
      for (const other of others) assert.equal(fold(other), fold(first), `${other} and ${first}`)
  })

  it('has no letter in two forms, whichever library made it', () => {
    assert.equal(fold('ΟΔΟΣ'), 'οδοσ')
  })

  it('keeps different words apart', () => {
    const different = ['cafe', 'café', 'film', 'ｆｉｌｍ', 'カメラ', 'かめら', 'и', 'й', 'o', 'ö', 'oe', 'か', 'が']
    assert.equal(new Set(different.map(fold)).size, different.length)
  })

  it('is the same for each character, its lower case and its upper case, and at most three characters', () => {
    for (const character of allCharacters()) {
      const folded = fold(character)
      const others = [folded, lowerCase(character), character.toLowerCase(), character.toUpperCase()]
      for (const other of others) if (fold(other) !== folded) assert.fail(`${other} and ${character}`)
      const most = 3 * countCharacters(character.normalize('NFC'))
      if (countCharacters(folded) > most) assert.fail(`${character} becomes ${folded}`)
    }
  })

  it('is the same as of the word that is shown, and folded again', () => {
    fc.assert(
      fc.property(words, (word) => {
        const folded = fold(word)
        assert.equal(fold(lowerCase(word)), folded)
        assert.equal(fold(word.normalize('NFD')), folded)
        assert.equal(fold(folded), folded)
        assert.ok(countCharacters(folded) <= 3 * countCharacters(word))
      }),
      { numRuns: 5_000 },
    )
  })
})

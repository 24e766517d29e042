/** Names that nobody can see, and names that people have: for the contract, and for the wire. */

/** Show nothing, each. */
export const INVISIBLE_NAMES: readonly string[] = [
  '',
  ...' \u00a0\u1680\u2000\u200a\u202f\u205f\u3000', // spaces
  ...'\u200b\u200c\u200d\u2060\u2061\u2064\u206a\u206f\ufeff\u00ad\u034f\u180e', // without width
  ...'\u3164\u115f\u1160\uffa0\u2800\u17b4\u17b5\u{1d159}\u{13441}\u{16fe4}', // fillers, blank patterns
  ...'\u200e\u200f\u061c', // marks of direction
  ...'\ufe00\ufe0e\ufe0f\u180b\u180f\u{e0100}\u{e01ef}', // variation selectors
  ...'\u{e0001}\u{e0020}\u{e0041}\u{e007f}\u{e0080}\u{e0fff}', // tags, and what is ignored in future
  ...'\u2065\ufff0\ufff9\ufffb\ufffc\u{1bca0}\u{1d173}\u{1d17a}\u{13430}', // what only programs read
  ...'\u0300\u0301\u0489\u093e\u0e31\u20dd\u20e3\u3099', // accents
  ...'\ue000\uf8ff\u{f0000}\u{10fffd}\ufdd0\ufdef\ufffe\uffff\u{1fffe}\u{10ffff}', // private, and no characters
  '\u200b\u3164 \u2800\u00ad',
  '\ue000\u0301',
  '\u115f\u1160',
]

/** Turn the text behind them, or break its line. */
export const TURNING: readonly string[] = [...'\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029']

export const LEGITIMATE_NAMES: readonly string[] = [
  'Nikon F3',
  'a',
  '?',
  '7',
  '€',
  'Ünïcode — “quoted”',
  'カメラ',
  '各',
  '相机 和 镜头',
  '카메라',
  '각', // decomposed
  'नमस्ते',
  'क्षि',
  'ภาษาไทย น้ำ',
  'Nguyễn Thị Minh Khai',
  'שלום עולם',
  'שָׁלוֹם',
  'مرحبا بالعالم',
  'می\u200cخواهم', // a non-joiner, in Persian
  'ක්\u200dෂ', // a joiner, in Sinhala
  'ර\u0dca\u200d', // at the end too
  'C++\u200f שלום',
  'Ελληνικά',
  'Ελλάς\u200e',
  'Հայերեն',
  'ქართული',
  'ᏣᎳᎩ',
  '👩‍👩‍👧',
  '🇩🇪',
  '🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}', // England: ends with tags
  '❤\ufe0f',
  '1\ufe0f\u20e3',
  '👍🏽',
  '🏽',
  '葛\u{e0100}', // a variant
  '\uf8ff iPhone', // with a character of private use
  'a\u200bb',
  'ᠮᠣᠩ\u180bᠭᠣᠯ',
  '\u{1fae9}', // not on every Node
  "O'Hara \\ % ?",
]

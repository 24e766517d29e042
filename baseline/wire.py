"""The wire: one JSON-RPC 2.0 request or reply on each line, and the rules for parameters."""

import json
import re
from unicodedata import category, normalize

ERROR_NUMBERS = {
    "parse_error": -32700,
    "invalid_request": -32600,
    "unknown_method": -32601,
    "invalid_params": -32602,
    "internal": -32603,
    "unauthenticated": -32001,
    "not_found": -32002,
    "out_of_stock": -32004,
    "not_in_cart": -32005,
    "cart_empty": -32006,
    "not_purchased": -32007,
    "limit_exceeded": -32008,
    "idempotency_mismatch": -32009,
    "price_changed": -32010,
    "timeout": -32012,
}
MOST_UNKNOWN_NAMES, LONGEST_NAME = 5, 64  # as far as a refusal repeats them


class Refused(Exception):
    """Why a request was not done. The details are further fields of `error.data`."""

    def __init__(self, code, message, **details):
        super().__init__(message)
        self.code, self.message, self.details = code, message, details


def whole_number(text):
    """JSON has one kind of number: 1.0 is as whole as 1."""
    value = float(text)
    return int(value) if value.is_integer() else value


def no_constant(text):
    raise ValueError(f"{text} is not JSON")


decode = json.JSONDecoder(parse_float=whole_number, parse_constant=no_constant).decode
encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
encode_canonical = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode  # as JavaScript does


def is_whole(value, least=1 - 2**53, most=2**53 - 1):
    return type(value) is int and least <= value <= most


def decode_line(line):
    try:
        return decode(line.decode())
    except (ValueError, RecursionError):
        raise Refused("parse_error", "the line is not JSON in UTF-8") from None


def read_id(request):
    request_id = request.get("id")
    if not (request_id is None or type(request_id) is str or is_whole(request_id)):
        raise Refused("invalid_request", "id must be a string, a whole number or null")
    return request_id


def is_answered(request):
    """Nothing without an id is answered, and no reply is."""
    is_reply = "method" not in request and ("result" in request or "error" in request)
    return "id" in request and not is_reply


def method_and_params(request):
    method, params = request.get("method"), request.get("params", {})
    if request.get("jsonrpc") != "2.0":
        raise Refused("invalid_request", 'jsonrpc must be "2.0"')
    if type(method) is not str:
        raise Refused("invalid_request", "method must be a string")
    if type(params) is not dict:
        raise Refused("invalid_params", "params must be an object")
    return method, params


def encode_result(request_id, result_json):
    id_json = request_id if type(request_id) is int else encode(request_id)  # most are, and it is ten times as fast
    return f'{{"jsonrpc":"2.0","id":{id_json},"result":{result_json}}}\n'.encode()


def encode_refusal(request_id, refused):
    data = {"code": refused.code, **refused.details}
    error = {"code": ERROR_NUMBERS[refused.code], "message": refused.message, "data": data}
    return (encode({"jsonrpc": "2.0", "id": request_id, "error": error}) + "\n").encode()


# Parameters. A rule returns a value in normal form, or raises ValueError with
# the expected form. A field has a rule, and a default unless it is required.


def checked(params, fields):
    unknown = [name for name in params if name not in fields]
    wrong = {name[:LONGEST_NAME]: "is not a parameter" for name in unknown[:MOST_UNKNOWN_NAMES]}
    values = {}
    for name, (rule, *default) in fields.items():
        if name in params or not default:
            try:
                values[name] = rule(params.get(name))
            except ValueError as error:
                wrong[name] = str(error)
        else:
            [values[name]] = default
    if wrong:
        raise Refused("invalid_params", "invalid parameters", fields=wrong)
    return values


def rule(expected, fits):
    def check(value):
        if fits(value):
            return value
        raise ValueError(expected)

    return check


def whole(least, most=2**53 - 1):
    return rule(f"must be a whole number, {least} to {most}", lambda value: is_whole(value, least, most))


def matching(pattern, expected):
    matches = re.compile(pattern).fullmatch
    return rule(expected, lambda value: type(value) is str and matches(value))


# The classes of src/contract/text.ts, which says what is in them.
SPACES = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
IGNORABLE = (
    r"\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
BLANK = SPACES + IGNORABLE + r"\u2800\ufff9-\ufffc\U00013430-\U00013442\U0001d159"
MARKS = "".join(character for character in map(chr, range(0xE01F0)) if category(character)[0] == "M")
CLINGING = MARKS + r"\u061c\u200c-\u200f\U000e0020-\U000e007f"
PRIVATE = r"\ue000-\uf8ff\ufdd0-\ufdef\U000f0000-\U0010ffff" + "".join(
    chr(plane + last) for plane in range(0, 0xF0000, 0x10000) for last in (0xFFFE, 0xFFFF)
)
REFUSED = r"\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069"
MOST_DECOMPOSED = 6  # what becomes one character in normal form C


def text(longest):
    """Text in normal form C, counted in code points. It begins with a character that shows, and ends with no space."""
    expected = f"must have 1 to {longest} characters, no control characters, no spaces or other invisible ones at its ends"
    plain = f"[!-~](?:[ -~]{{0,{longest - 2}}}[!-~])?"
    shows = f"(?![{BLANK}{CLINGING}])(?=.*[^{BLANK}{CLINGING}{PRIVATE}])"
    fitting = matching(f"{plain}|{shows}[^{REFUSED}]{{1,{longest}}}(?:(?<=[{CLINGING}])|(?<![{BLANK}]))", expected)
    is_short = rule(expected, lambda value: type(value) is str and len(value) <= longest * MOST_DECOMPOSED)
    return lambda value: fitting(normalize("NFC", is_short(value)))


def lower_case(text):
    return normalize("NFC", "İ".join(part.lower() for part in text.split("İ")))


dotted = re.compile(f"i[{MARKS}]+")


def fold(word):
    """The same for all words that differ only in case."""
    if word.isascii():
        return word.lower()
    lower = normalize("NFC", normalize("NFC", word).lower())
    again = normalize("NFC", lower.upper()).lower().replace("ς", "σ")
    return normalize("NFC", dotted.sub(lambda found: found[0].replace("\u0307", ""), again))


def distinct_words(words):
    """The words without those that an earlier one equals."""
    first = {}
    for word in words:
        first.setdefault(fold(word), word)
    return list(first.values())

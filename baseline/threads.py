#!/usr/bin/python3
"""A marketplace server with one thread per connection, for comparison with souk.

It speaks souk's protocol over souk's tables, with souk's SQL where a request
is one statement, so that what differs is the architecture: blocking sockets, a
thread for each, and bounded pools of database connections that the threads
share. (Searches of several keywords are ranked by the database here, by the
server there: each as it is faster.) It has the operations
that the study calls, and nothing else. Functions stand in the order in which
a byte travels.

Policies:
  - A request is one statement, or one transaction sent as one text: a round
    trip either way. The database stops at the first statement that fails, so
    only what worked reaches COMMIT; the connection is thrown away then.
  - What a client has pipelined is answered in order, with one send for all
    that one receive brought.
  - A session is remembered for a second, counted from when its check was
    sent, and prolonged at most every 15 seconds, before the reply.
  - Item ids come from blocks of 10,000; a block is dropped after a second.
  - A lost database connection is replaced. A read is then asked once more; a
    write is not, and its outcome is unknown.
  - No idempotency keys: `idempotency_key` is refused like any unknown field.
  - `--cpu N` keeps all threads on one CPU. The interpreter runs one thread at
    a time anyway, and handing its lock from CPU to CPU costs about half of the
    throughput when many threads want it.
"""

import argparse
import base64
import hashlib
import json
import os
import re
import signal
import socket
import struct
import threading
import time
import traceback
from queue import Empty, SimpleQueue
from unicodedata import normalize
from urllib.parse import parse_qs, unquote, urlsplit

import MySQLdb
from MySQLdb.constants import CLIENT, FIELD_TYPE
from MySQLdb.converters import conversions

VERSION = "threads"
BACKLOG = 1024
STACK_BYTES = 256 * 1024
RECEIVE_BYTES = LINE_BYTES = 64 * 1024
IDLE_S = 600  # a connection without requests is closed
STUCK_S = 30  # so is one whose client takes no replies
REQUEST_S = 5  # to wait for a database connection, and for a statement

SESSION_IDLE_S, SESSION_TOUCH_S, SESSION_MEMORY_S = 300, 15, 1
SESSIONS_REMEMBERED = 100_000
BLOCK_IDS, BLOCK_LIFE_S = 10_000, 1

ERROR_NUMBERS = {
    "parse_error": -32700,
    "invalid_request": -32600,
    "unknown_method": -32601,
    "invalid_params": -32602,
    "internal": -32603,
    "unauthenticated": -32001,
    "not_found": -32002,
    "timeout": -32012,
}


class Refused(Exception):
    """Why a request was not done. The details are further fields of `error.data`."""

    def __init__(self, code, message, **details):
        super().__init__(message)
        self.code, self.message, self.details = code, message, details


# Connections


def accept_all(listener, answer):
    while True:
        connection, _ = listener.accept()
        try:
            threading.Thread(target=serve, args=(connection, answer), daemon=True).start()
        except RuntimeError:  # no more threads to be had
            connection.close()


def serve(connection, answer):
    """A connection's whole life. The kernel keeps its deadlines: Python's own cost a poll before each call."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", IDLE_S, 0))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", STUCK_S, 0))
    begun = b""
    with connection:
        try:
            while received := connection.recv(RECEIVE_BYTES):
                *lines, begun = (begun + received).split(b"\n")
                overlong = next((n for n, line in enumerate([*lines, begun]) if len(line) > LINE_BYTES), None)
                replies = b"".join(map(answer, lines[:overlong]))
                if overlong is not None:
                    return hang_up(connection, replies + encode_refusal(None, Refused("invalid_request", "line too long")))
                connection.sendall(replies)
            connection.sendall(answer(begun))  # a last line needs no line end
        except OSError:
            pass  # the client is gone, idle or stuck


def hang_up(connection, replies):
    """Takes what the client has sent already: closing over it would destroy the replies on their way."""
    connection.sendall(replies)
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(1)
    for _ in range(100):
        if not connection.recv(RECEIVE_BYTES):
            break


# The wire


def whole_number(text):
    """JSON has one kind of number: 1.0 is as whole as 1."""
    value = float(text)
    return int(value) if value.is_integer() else value


def no_constant(text):
    raise ValueError(f"{text} is not JSON")


decode = json.JSONDecoder(parse_float=whole_number, parse_constant=no_constant).decode
encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def is_whole(value, least=1 - 2**53, most=2**53 - 1):
    return type(value) is int and least <= value <= most


def decode_request(line):
    try:
        request = decode(line.decode())
    except (ValueError, RecursionError):
        raise Refused("parse_error", "the line is not JSON in UTF-8") from None
    if type(request) is list:
        raise Refused("invalid_request", "batches are not supported: send one request a line")
    if type(request) is not dict:
        raise Refused("invalid_request", "a request is a JSON object")
    request_id = request.get("id")
    if not (request_id is None or type(request_id) is str or is_whole(request_id)):
        raise Refused("invalid_request", "id must be a string, a whole number or null")
    return request, request_id


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
    return f'{{"jsonrpc":"2.0","id":{encode(request_id)},"result":{result_json}}}\n'.encode()


def encode_refusal(request_id, refused):
    data = {"code": refused.code, **refused.details}
    error = {"code": ERROR_NUMBERS[refused.code], "message": refused.message, "data": data}
    return (encode({"jsonrpc": "2.0", "id": request_id, "error": error}) + "\n").encode()


# Dispatch


def answering(operations, account_of):
    """The function from a line to its reply, which never fails. A notification's is empty."""

    def answer(line):
        line = line.removesuffix(b"\r")
        if not line:
            return b""
        request_id = None
        try:
            request, request_id = decode_request(line)
            method, params = method_and_params(request)
        except Refused as refused:
            return encode_refusal(request_id, refused)
        try:
            reply = encode_result(request_id, carry_out(method, params))
        except Refused as refused:
            reply = encode_refusal(request_id, refused)
        except Exception:
            traceback.print_exc()
            reply = encode_refusal(request_id, Refused("internal", "this should not have happened; it was logged"))
        return reply if "id" in request else b""

    def carry_out(method, params):
        if method not in operations:
            raise Refused("unknown_method", "no such operation for this role")
        fields, handle = operations[method]
        values = checked(params, fields)
        if "session" in values:
            return handle(account_of(values.pop("session")), **values)
        return handle(**values)

    return answer


# Parameters. A rule returns a value in normal form, or raises ValueError with
# what was expected. A field has a rule, and a default unless it is required.


def checked(params, fields):
    wrong = {} if params.keys() <= fields.keys() else {"(unknown fields)": "not in the contract"}
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
        raise Refused("invalid_params", "the parameters are not as they should be", fields=wrong)
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


def text(longest):
    """Text in normal form C, counted in code points, with no control character and no space at its edges."""
    expected = f"must have 1 to {longest} characters, none of them a control character, no space at its edges"
    characters = rf"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{{1,{longest}}}"
    fitting = matching(rf"(?![\s\ufeff]){characters}(?<![\s\ufeff])", expected)
    return lambda value: fitting(normalize("NFC", value) if type(value) is str else value)


def keyword_list(value):
    if type(value) is not list or len(value) > 5:
        raise ValueError("must be a list of at most 5")
    return list(dict.fromkeys(keyword(keyword(word).lower()) for word in value))


keyword = text(8)
category = whole(0, 65_535)
condition = rule("must be new or used", lambda value: value in ("new", "used"))
boolean = rule("must be true or false", lambda value: type(value) is bool)
item_cursor = matching("[1-9][0-9]{0,15}", "must be a next_cursor of an earlier reply")
search_cursor = matching("[1-5]-[1-9][0-9]{0,15}", "must be a next_cursor of an earlier reply")
session = {"session": [matching("(?s:.{1,128})", "must have 1 to 128 characters")]}


# Sessions


def session_checker(customer, role):
    """The function from a token to the account whose session it is."""
    remembered = {}

    def account_of(token):
        now = time.monotonic()
        account, asked = remembered.get(token, (None, 0))
        if account is not None and now - asked < SESSION_MEMORY_S:
            return account
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
        token_hash = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        rows = customer.read(
            "SELECT token_hash, account_id, ends_at - UNIX_TIMESTAMP(), expires_at - UNIX_TIMESTAMP() FROM session "
            "WHERE role = %s AND expires_at > UNIX_TIMESTAMP() AND token_hash IN (%s)",
            role,
            token_hash,
        )
        if not rows:
            raise Refused("unauthenticated", "log in first")
        [(_, account, ends_in, expires_in)] = rows
        if expires_in <= min(SESSION_IDLE_S, ends_in - 1):
            # A change, but one that may be repeated, and so the reading pool's.
            sql = "UPDATE session SET expires_at = LEAST(ends_at, UNIX_TIMESTAMP() + %s) WHERE token_hash IN (%s)"
            customer.read(sql, SESSION_IDLE_S + SESSION_TOUCH_S, token_hash)
        if len(remembered) >= SESSIONS_REMEMBERED:
            remembered.clear()
        remembered[token] = account, now
        return account

    return account_of


# Operations. A handler gets the account, if there is a session, and the
# checked parameters; it returns its result as JSON.

RATING = '{"thumbs_up":%d,"thumbs_down":%d,"items_sold":%d}'
SCORE = "SELECT seller_id, thumbs_up, thumbs_down, items_sold FROM seller_score WHERE seller_id IN (%s)"
ITEM_FIELDS = "item_id seller_id name category keywords condition price_cents quantity thumbs_up thumbs_down".split()
COLUMNS = (
    "item.id, item.seller_id, item.name, item.category, item.keywords, item.item_condition, "
    "item.price_cents, item.quantity, item.thumbs_up, item.thumbs_down"
)
RANKED = 2_000  # how many items of each keyword a search of several keywords ranks, newest first
ANY = ""  # a keyword no item can have: every item on sale stands under it


def ping():
    return encode({"ok": True, "version": VERSION})


def seller_operations(customer, product, writing):
    item_ids = IdBlocks(writing, "item")

    def get_seller_rating(seller_id):
        [(_, *score)] = product.read(SCORE, seller_id) or [(seller_id, 0, 0, 0)]
        return RATING % tuple(score)

    def register_item_for_sale(seller_id, name, category, keywords, condition, price_cents, quantity):
        item_id = item_ids.take()
        words = [ANY, *keywords]
        writing.write(
            "INSERT INTO item (id, seller_id, name, category, keywords, item_condition, price_cents, quantity) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s); "
            f"INSERT INTO item_keyword (category, keyword, item_id) VALUES {', '.join(['(%s, %s, %s)'] * len(words))}",
            *(item_id, seller_id, name, category, "\n".join(keywords), condition, price_cents, quantity),
            *(value for word in words for value in (category, word, item_id)),
        )
        return '{"item_id":%d}' % item_id

    def display_items_for_sale(seller_id, limit, cursor, include_sold_out):
        after, on_sale = " AND id < %s" if cursor else "", "" if include_sold_out else " AND quantity > 0"
        rows = product.read(
            f"SELECT 0, {COLUMNS} FROM item FORCE INDEX (by_seller) WHERE seller_id = %s{after}{on_sale} "
            "ORDER BY id DESC LIMIT %s",
            *(seller_id, *([int(cursor)] if cursor else []), limit + 1),
        )
        return page_of(rows, limit, "{item_id}")

    item = {"name": [text(32)], "category": [category], "keywords": [keyword_list], "condition": [condition]}
    amounts = {"price_cents": [whole(0, 1_000_000_000)], "quantity": [whole(1, 1_000_000)]}
    page = {"limit": [whole(1, 10_000), 1_000], "cursor": [item_cursor, None], "include_sold_out": [boolean, False]}
    return {
        "ping": ({}, ping),
        "get_seller_rating": (session, get_seller_rating),
        "register_item_for_sale": ({**session, **item, **amounts}, register_item_for_sale),
        "display_items_for_sale": ({**session, **page}, display_items_for_sale),
    }


def buyer_operations(customer, product):
    def get_seller_rating(_, seller_id):
        rows = product.read(SCORE, seller_id)
        if rows:
            return RATING % rows[0][1:]
        if customer.read("SELECT id FROM seller WHERE id IN (%s)", seller_id):
            return RATING % (0, 0, 0)
        raise Refused("not_found", "no such seller")

    def search_items(_, category, keywords, limit, cursor):
        after = map(int, cursor.split("-")) if cursor else []
        if len(keywords) > 1:
            newest = f"(SELECT item_id FROM item_keyword WHERE category = %s AND keyword = %s ORDER BY item_id DESC LIMIT {RANKED})"
            rows = product.read(
                f"SELECT matches, {COLUMNS} FROM (SELECT item_id, COUNT(*) AS matches "
                f"FROM ({' UNION ALL '.join([newest] * len(keywords))}) AS candidate GROUP BY item_id "
                f"{'HAVING (matches, item_id) < (%s, %s) ' if cursor else ''}ORDER BY matches DESC, item_id DESC LIMIT %s) AS hit "
                "JOIN item ON item.id = hit.item_id ORDER BY matches DESC, item.id DESC",
                *(value for word in keywords for value in (category, word)),
                *(*after, limit + 1),
            )
        else:
            rows = product.read(
                f"SELECT 1, {COLUMNS} FROM item_keyword JOIN item ON item.id = item_keyword.item_id "
                f"WHERE item_keyword.category = %s AND keyword = %s{' AND item_id < %s' if cursor else ''} "
                "ORDER BY item_id DESC LIMIT %s",
                *(category, *(keywords or [ANY]), *[*after][1:], limit + 1),
            )
        return page_of(rows, limit, "{matches}-{item_id}")

    def get_item(_, item_id):
        rows = product.read(f"SELECT {COLUMNS} FROM item WHERE id IN (%s)", item_id)
        if not rows:
            raise Refused("not_found", "no such item")
        return encode(item_of(rows[0]))

    page = {"limit": [whole(1, 100), 20], "cursor": [search_cursor, None]}
    return {
        "ping": ({}, ping),
        "get_seller_rating": ({**session, "seller_id": [whole(1)]}, get_seller_rating),
        "search_items": ({**session, "category": [category], "keywords": [keyword_list, []], **page}, search_items),
        "get_item": ({**session, "item_id": [whole(1)]}, get_item),
    }


def page_of(rows, limit, cursor):
    """A page of items, with the cursor behind its last one when there are more: one row beyond the limit was asked."""
    page = {"items": [item_of(row[1:]) for row in rows[:limit]]}
    if len(rows) > limit:
        matches, item_id, *_ = rows[limit - 1]
        page["next_cursor"] = cursor.format(matches=matches, item_id=item_id)
    return encode(page)


def item_of(row):
    item = dict(zip(ITEM_FIELDS, row))
    item["keywords"] = item["keywords"].split("\n") if item["keywords"] else []
    return item


class IdBlocks:
    """Ids from blocks reserved in a table, where `name` is a row."""

    def __init__(self, writing, name):
        self.writing, self.name = writing, name
        self.lock = threading.Lock()
        self.next = self.end = self.reserved = 0

    def take(self):
        with self.lock:
            now = time.monotonic()
            if self.next == self.end or now - self.reserved > BLOCK_LIFE_S:
                [(self.next,)] = self.writing.write(
                    "SELECT next_id FROM id_block WHERE name = %s FOR UPDATE; "
                    "UPDATE id_block SET next_id = next_id + %s WHERE name = %s",
                    *(self.name, BLOCK_IDS, self.name),
                )
                self.end, self.reserved = self.next + BLOCK_IDS, now
            self.next += 1
            return self.next - 1


# The database

TEXT_TYPES = (FIELD_TYPE.STRING, FIELD_TYPE.VAR_STRING, FIELD_TYPE.VARCHAR, FIELD_TYPE.BLOB)
CONVERSIONS = {**conversions, **dict.fromkeys(TEXT_TYPES, str)}  # text, though it is compared byte by byte
LOST = (1053, 1927, 2006, 2013, 2055)


class Pool:
    """So many connections to a database, opened when first needed: None stands for one to be opened."""

    def __init__(self, url, size, writes=False):
        parts = urlsplit(url)
        socket_path = parse_qs(parts.query).get("socketPath")
        address = {"unix_socket": socket_path[0]} if socket_path else {"host": parts.hostname, "port": parts.port or 3306}
        self.options = {
            **address,
            **{"user": unquote(parts.username or ""), "passwd": unquote(parts.password or "")},
            **{"db": unquote(parts.path[1:]), "charset": "utf8mb4", "use_unicode": False, "conv": CONVERSIONS},
            **{"connect_timeout": 2, "autocommit": not writes, "client_flag": CLIENT.MULTI_STATEMENTS if writes else 0},
        }
        self.idle = SimpleQueue()
        for connection in [self.connect()] + [None] * (size - 1):
            self.idle.put(connection)

    def connect(self):
        connection = MySQLdb.connect(**self.options)
        connection.query("SET NAMES utf8mb4 COLLATE utf8mb4_nopad_bin")
        connection.query(f"SET SESSION max_statement_time = {REQUEST_S}, tx_isolation = 'READ-COMMITTED'")
        return connection

    def read(self, sql, *values):
        """The rows of one statement that may be asked twice."""
        return self.borrow(ask, sql, values, again=True)

    def write(self, sql, *values):
        """Statements as one transaction. The rows of the first."""
        return self.borrow(ask_all, sql + "; COMMIT", values, again=False)

    def borrow(self, work, sql, values, again):
        try:
            connection = self.idle.get(timeout=REQUEST_S)
        except Empty:
            raise Refused("timeout", "no database connection was free in time", outcome="none") from None
        try:
            try:
                connection = connection or self.connect()
                return work(connection, sql, values)
            except MySQLdb.OperationalError as error:
                if error.args[0] not in LOST:
                    raise
                if not again:
                    raise Refused("timeout", "the database connection was lost", outcome="unknown") from None
                connection = self.connect()
                return work(connection, sql, values)
        except BaseException:
            connection = None  # nobody knows what state it is in
            raise
        finally:
            self.idle.put(connection)


def ask(connection, sql, values):
    connection.query(sql.encode() % tuple(map(connection.literal, values)))
    result = connection.store_result()
    return result and result.fetch_row(0)


def ask_all(connection, sql, values):
    rows = ask(connection, sql, values)
    while connection.next_result() == 0:
        pass
    return rows


# The program


def main():
    parser = argparse.ArgumentParser(description="A marketplace server with one thread per connection.")
    parser.add_argument("role", choices=("seller", "buyer"))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--customer-db", default=os.environ.get("SOUK_CUSTOMER_DB_URL"), metavar="URL")
    parser.add_argument("--product-db", default=os.environ.get("SOUK_PRODUCT_DB_URL"), metavar="URL")
    parser.add_argument("--pool", type=int, default=32, help="connections of each pool")
    parser.add_argument("--cpu", type=int, help="the only CPU to run on")
    given = parser.parse_args()
    if not (given.customer_db and given.product_db and given.pool > 0):
        parser.error("--customer-db, --product-db and a pool of at least one connection are needed")
    if given.cpu is not None:
        os.sched_setaffinity(0, {given.cpu})

    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)  # in every thread: they are waited for below
    customer, product = Pool(given.customer_db, given.pool), Pool(given.product_db, given.pool)
    if given.role == "seller":
        operations = seller_operations(customer, product, Pool(given.product_db, given.pool, writes=True))
    else:
        operations = buyer_operations(customer, product)
    answer = answering(operations, session_checker(customer, given.role))
    listener = socket.create_server((given.host, given.port), backlog=BACKLOG)
    threading.stack_size(STACK_BYTES)
    threading.Thread(target=accept_all, args=(listener, answer), daemon=True).start()
    host, port = listener.getsockname()
    print(f"threads.py {given.role} accepts connections on {host}:{port} (pool of {given.pool} connections)", flush=True)
    parent = os.getppid()
    while not signal.sigtimedwait(stop, 1) and os.getppid() == parent:
        pass
    os._exit(0)  # without waiting for any thread


if __name__ == "__main__":
    main()

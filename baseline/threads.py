#!/usr/bin/python3
"""A marketplace server with one thread per connection, for comparison with souk.

It speaks souk's protocol over souk's tables with souk's SQL, so that what
differs is the architecture: blocking sockets, a thread for each of them, and
a bounded pool of database connections that the threads share. It has the
operations that the study calls, and nothing else.

Policies:
  - A request is one statement, or one transaction sent as one text of several
    statements: a round trip either way. The server stops at the first
    statement that fails, so COMMIT is reached only by what worked.
  - What a client has pipelined is answered in order, with one send for
    everything that one receive brought.
  - A session is remembered for a second, counted from when its check was
    sent, and prolonged at most every 15 seconds.
  - Item ids come from blocks of 10,000; a block is dropped after a second.
  - A lost database connection is replaced. A read is then asked once more; a
    write is not, and its outcome is unknown.
  - No idempotency keys: `idempotency_key` is refused as an unknown field.
"""

import argparse
import base64
import gc
import hashlib
import json
import os
import re
import signal
import socket
import sys
import threading
import time
import traceback
from queue import Empty, SimpleQueue
from struct import pack
from unicodedata import normalize
from urllib.parse import parse_qs, unquote, urlsplit

import MySQLdb
from MySQLdb.constants import CLIENT, FIELD_TYPE
from MySQLdb.converters import conversions

VERSION = "threads 1"
BACKLOG = 1024
STACK_BYTES = 256 * 1024
RECEIVE_BYTES = 64 * 1024
LINE_BYTES = 64 * 1024
IDLE_S = 600  # a connection without requests is closed
STUCK_S = 30  # so is a client that takes no replies
REQUEST_S = 5

SESSION_IDLE_S = 300
SESSION_TOUCH_S = 15
SESSION_MEMORY_S = 1
SESSIONS_REMEMBERED = 100_000

BLOCK_IDS = 10_000
BLOCK_LIFE_S = 1

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
    """A connection's whole life. Deadlines are the kernel's: Python's own would cost a poll for each call."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, pack("ll", IDLE_S, 0))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, pack("ll", STUCK_S, 0))
    begun = b""
    with connection:
        try:
            while received := connection.recv(RECEIVE_BYTES):
                *lines, begun = (begun + received).split(b"\n")
                overlong = next((n for n, line in enumerate([*lines, begun]) if len(line) > LINE_BYTES), None)
                replies = b"".join(map(answer, lines[:overlong]))
                if overlong is not None:
                    connection.sendall(replies + encode_refusal(None, Refused("invalid_request", "the line is too long")))
                    return hang_up(connection)
                if replies:
                    connection.sendall(replies)
            connection.sendall(answer(begun))  # a last line needs no line end
        except OSError:
            pass  # the client is gone, idle or stuck


def hang_up(connection):
    """Takes what the client has sent already: closing over it would destroy the last reply on its way."""
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(1)
    for _ in range(100):
        if not connection.recv(RECEIVE_BYTES):
            break


# The wire


def integral(text):
    """JSON has one kind of number: 1.0 is as whole as 1."""
    value = float(text)
    return int(value) if value.is_integer() else value


def no_constant(text):
    raise ValueError(f"{text} is not JSON")


decode = json.JSONDecoder(parse_float=integral, parse_constant=no_constant).decode
encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def decode_request(line):
    """A request as it stands in its line, and its id: `...` in a notification, which gets no reply."""
    try:
        request = decode(line.decode())
    except (ValueError, RecursionError):
        raise Refused("parse_error", "the line is not JSON in UTF-8") from None
    if type(request) is list:
        raise Refused("invalid_request", "batches are not supported: send one request a line")
    if type(request) is not dict:
        raise Refused("invalid_request", "a request is a JSON object")
    request_id = request.get("id", ...)
    if not (request_id is ... or request_id is None or type(request_id) is str or is_whole(request_id)):
        raise Refused("invalid_request", "id must be a string, a whole number or null")
    return request, request_id


def is_whole(value):
    return type(value) is int and -(2**53) < value < 2**53


def encode_result(request_id, result_json):
    return f'{{"jsonrpc":"2.0","id":{encode(request_id)},"result":{result_json}}}\n'.encode()


def encode_refusal(request_id, refused):
    data = {"code": refused.code, **refused.details}
    error = {"code": ERROR_NUMBERS[refused.code], "message": refused.message, "data": data}
    return (encode({"jsonrpc": "2.0", "id": request_id, "error": error}) + "\n").encode()


# Dispatch


def answering(operations, account_of):
    """The function from a line to its reply: for a notification an empty one. It never fails."""

    def answer(line):
        line = line.removesuffix(b"\r")
        if not line:
            return b""
        reply_id = None
        try:
            request, request_id = decode_request(line)
            reply_id = None if request_id is ... else request_id
            method, params = request.get("method"), request.get("params", {})
            if request.get("jsonrpc") != "2.0":
                raise Refused("invalid_request", 'jsonrpc must be "2.0"')
            if type(method) is not str:
                raise Refused("invalid_request", "method must be a string")
            if type(params) is not dict:
                raise Refused("invalid_params", "params must be an object")
        except Refused as refused:
            return encode_refusal(reply_id, refused)
        try:
            reply = encode_result(reply_id, carry_out(method, params))
        except Refused as refused:
            reply = encode_refusal(reply_id, refused)
        except Exception:
            traceback.print_exc()
            reply = encode_refusal(reply_id, Refused("internal", "this should not have happened; it was logged"))
        return b"" if request_id is ... else reply

    def carry_out(method, params):
        if method not in operations:
            raise Refused("unknown_method", "no such operation for this role")
        fields, handle = operations[method]
        params = checked(params, fields)
        if "session" not in params:
            return handle(**params)
        return handle(account_of(params.pop("session")), **params)

    return answer


# Parameters: each field has a rule, which returns the value in normal form or
# raises ValueError, and what it is when it is missing (REQUIRED: an error).

REQUIRED = object()


def checked(params, fields):
    wrong = {} if params.keys() <= fields.keys() else {"(unknown fields)": "not in the contract"}
    values = {}
    for name, (rule, default) in fields.items():
        value = params.get(name, default)
        if name in params or value is REQUIRED:
            try:
                value = rule(value)
            except ValueError as error:
                wrong[name] = str(error)
        values[name] = value
    if wrong:
        raise Refused("invalid_params", "the parameters are not as they should be", fields=wrong)
    return values


def whole(least, most=2**53 - 1):
    def rule(value):
        if type(value) is int and least <= value <= most:
            return value
        raise ValueError(f"must be a whole number, {least} to {most}")

    return rule


def matching(pattern, expected):
    matches = re.compile(pattern).fullmatch

    def rule(value):
        if type(value) is str and matches(value):
            return value
        raise ValueError(expected)

    return rule


def text(longest):
    """Text in normal form C, counted in code points, with no control character and no space at its edges."""
    fits = matching(
        rf"(?![\s\ufeff])[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{{1,{longest}}}(?<![\s\ufeff])",
        f"must have 1 to {longest} characters, none of them a control character, no space at its edges",
    )
    return lambda value: fits(normalize("NFC", value) if type(value) is str else value)


def keyword_list(value):
    if type(value) is not list or len(value) > 5:
        raise ValueError("must be a list of at most 5")
    return list(dict.fromkeys(keyword(keyword(word).lower()) for word in value))


def condition(value):
    if value in ("new", "used"):
        return value
    raise ValueError("must be new or used")


def true_or_false(value):
    if type(value) is bool:
        return value
    raise ValueError("must be true or false")


keyword = text(8)
category = whole(0, 65_535)
session = {"session": (matching(r"(?s:.{1,128})", "must have 1 to 128 characters"), REQUIRED)}
item_cursor = matching(r"[1-9][0-9]{0,15}", "must be a next_cursor of an earlier reply")
search_cursor = matching(r"[1-5]-[1-9][0-9]{0,15}", "must be a next_cursor of an earlier reply")


# Sessions


def session_checker(customer, role):
    """The function from a token to the account whose session it is."""
    remembered = {}

    def account_of(token):
        account, asked = remembered.get(token, (None, 0))
        if account is not None and time.monotonic() - asked < SESSION_MEMORY_S:
            return account
        asked = time.monotonic()
        token_hash = base64.urlsafe_b64encode(hashlib.sha256(token.encode(errors="replace")).digest()).rstrip(b"=")
        rows = customer.rows(
            b"SELECT token_hash, account_id, ends_at - UNIX_TIMESTAMP(), expires_at - UNIX_TIMESTAMP() FROM session "
            b"WHERE role = %s AND expires_at > UNIX_TIMESTAMP() AND token_hash IN (%s)",
            (role, token_hash),
        )
        if not rows:
            raise Refused("unauthenticated", "log in first")
        [[_, account, ends_in, expires_in]] = rows
        if expires_in <= min(SESSION_IDLE_S, ends_in - 1):
            customer.rows(
                b"UPDATE session SET expires_at = LEAST(ends_at, UNIX_TIMESTAMP() + %s) WHERE token_hash IN (%s)",
                (SESSION_IDLE_S + SESSION_TOUCH_S, token_hash),
            )
        if len(remembered) >= SESSIONS_REMEMBERED:
            remembered.clear()
        remembered[token] = account, asked
        return account

    return account_of


# Operations. A handler gets the account, if the operation needs a session, and
# the checked parameters, and returns the result as JSON.

RATING = '{"thumbs_up":%d,"thumbs_down":%d,"items_sold":%d}'
SCORE = b"SELECT seller_id, thumbs_up, thumbs_down, items_sold FROM seller_score WHERE seller_id IN (%s)"

ITEM_FIELDS = (
    *("item_id", "seller_id", "name", "category", "keywords"),
    *("condition", "price_cents", "quantity", "thumbs_up", "thumbs_down"),
)
COLUMNS = (
    b"item.id, item.seller_id, item.name, item.category, item.keywords, item.item_condition, "
    b"item.price_cents, item.quantity, item.thumbs_up, item.thumbs_down"
)
RANKED = 2_000
ANY = ""


def ping():
    return encode({"ok": True, "version": VERSION})


def seller_operations(customer, reading, writing):
    item_ids = IdBlocks(writing, "item")

    def get_seller_rating(seller_id):
        [[_, *score]] = reading.rows(SCORE, (seller_id,)) or [(seller_id, 0, 0, 0)]
        return RATING % tuple(score)

    def register_item_for_sale(seller_id, name, category, keywords, condition, price_cents, quantity):
        item_id = item_ids.take()
        words = [ANY, *keywords]
        writing.transact(
            b"INSERT INTO item (id, seller_id, name, category, keywords, item_condition, price_cents, quantity) "
            b"VALUES (%s, %s, %s, %s, %s, %s, %s, %s); "
            b"INSERT INTO item_keyword (category, keyword, item_id) VALUES " + b", ".join([b"(%s, %s, %s)"] * len(words)),
            [item_id, seller_id, name, category, "\n".join(keywords), condition, price_cents, quantity]
            + [value for word in words for value in (category, word, item_id)],
        )
        return '{"item_id":%d}' % item_id

    def display_items_for_sale(seller_id, limit, cursor, include_sold_out):
        rows = reading.rows(
            b"SELECT 0, %b FROM item FORCE INDEX (by_seller) WHERE seller_id = %%s%b%b ORDER BY id DESC LIMIT %%s"
            % (COLUMNS, b" AND id < %s" if cursor else b"", b"" if include_sold_out else b" AND quantity > 0"),
            [seller_id, *([int(cursor)] if cursor else []), limit + 1],
        )
        return page_of(rows, limit, lambda matches, item_id: str(item_id))

    return {
        "ping": ({}, ping),
        "get_seller_rating": (session, get_seller_rating),
        "register_item_for_sale": (
            {
                **session,
                "name": (text(32), REQUIRED),
                "category": (category, REQUIRED),
                "keywords": (keyword_list, REQUIRED),
                "condition": (condition, REQUIRED),
                "price_cents": (whole(0, 1_000_000_000), REQUIRED),
                "quantity": (whole(1, 1_000_000), REQUIRED),
            },
            register_item_for_sale,
        ),
        "display_items_for_sale": (
            {
                **session,
                "limit": (whole(1, 10_000), 1_000),
                "cursor": (item_cursor, None),
                "include_sold_out": (true_or_false, False),
            },
            display_items_for_sale,
        ),
    }


def buyer_operations(customer, reading):
    def get_seller_rating(_, seller_id):
        rows = reading.rows(SCORE, (seller_id,))
        if rows:
            return RATING % rows[0][1:]
        if customer.rows(b"SELECT id FROM seller WHERE id IN (%s)", (seller_id,)):
            return RATING % (0, 0, 0)
        raise Refused("not_found", "no such seller")

    def search_items(_, category, keywords, limit, cursor):
        after = [int(part) for part in cursor.split("-")] if cursor else []
        if len(keywords) > 1:
            newest = b"(SELECT item_id FROM item_keyword WHERE category = %%s AND keyword = %%s ORDER BY item_id DESC LIMIT %d)" % RANKED
            sql = (
                b"SELECT matches, " + COLUMNS + b" FROM (SELECT item_id, COUNT(*) AS matches "
                b"FROM (" + b" UNION ALL ".join([newest] * len(keywords)) + b") AS candidate GROUP BY item_id "
                + (b"HAVING (matches, item_id) < (%s, %s) " if cursor else b"")
                + b"ORDER BY matches DESC, item_id DESC LIMIT %s) AS hit "
                b"JOIN item ON item.id = hit.item_id ORDER BY matches DESC, item.id DESC"
            )
            values = [value for word in keywords for value in (category, word)] + after
        else:
            sql = (
                b"SELECT 1, " + COLUMNS + b" FROM item_keyword JOIN item ON item.id = item_keyword.item_id "
                b"WHERE item_keyword.category = %s AND keyword = %s" + (b" AND item_id < %s " if cursor else b" ")
                + b"ORDER BY item_id DESC LIMIT %s"
            )
            values = [category, *(keywords or [ANY]), *after[1:]]
        rows = reading.rows(sql, [*values, limit + 1])
        return page_of(rows, limit, lambda matches, item_id: f"{matches}-{item_id}")

    def get_item(_, item_id):
        rows = reading.rows(b"SELECT " + COLUMNS + b" FROM item WHERE id IN (%s)", (item_id,))
        if not rows:
            raise Refused("not_found", "no such item")
        return encode(item_of(rows[0]))

    return {
        "ping": ({}, ping),
        "get_seller_rating": ({**session, "seller_id": (whole(1), REQUIRED)}, get_seller_rating),
        "search_items": (
            {
                **session,
                "category": (category, REQUIRED),
                "keywords": (keyword_list, ()),
                "limit": (whole(1, 100), 20),
                "cursor": (search_cursor, None),
            },
            search_items,
        ),
        "get_item": ({**session, "item_id": (whole(1), REQUIRED)}, get_item),
    }


def page_of(rows, limit, cursor_of):
    """A page of items, with the cursor behind its last one when there are more. One row more than its limit was asked."""
    page = {"items": [item_of(row[1:]) for row in rows[:limit]]}
    if len(rows) > limit:
        matches, item_id, *_ = rows[limit - 1]
        page["next_cursor"] = cursor_of(matches, item_id)
    return encode(page)


def item_of(row):
    item = dict(zip(ITEM_FIELDS, row))
    item["keywords"] = item["keywords"].split("\n") if item["keywords"] else []
    return item


class IdBlocks:
    """New ids, ascending, from blocks reserved in a table: see souk's."""

    def __init__(self, writing, name):
        self.writing, self.name = writing, name
        self.lock = threading.Lock()
        self.next = self.end = self.reserved = 0

    def take(self):
        with self.lock:
            now = time.monotonic()
            if self.next == self.end or now - self.reserved > BLOCK_LIFE_S:
                [[self.next]] = self.writing.transact(
                    b"SELECT next_id FROM id_block WHERE name = %s FOR UPDATE; "
                    b"UPDATE id_block SET next_id = next_id + %s WHERE name = %s",
                    (self.name, BLOCK_IDS, self.name),
                )
                self.end, self.reserved = self.next + BLOCK_IDS, now
            self.next += 1
            return self.next - 1


# The database

CONVERSIONS = {
    **conversions,
    # Text is text, though the tables compare it byte by byte.
    **{kind: str for kind in (FIELD_TYPE.STRING, FIELD_TYPE.VAR_STRING, FIELD_TYPE.VARCHAR, FIELD_TYPE.BLOB)},
}


class Pool:
    """So many connections to one database, opened when first used. In the queue, None stands for one to be opened."""

    def __init__(self, url, size, autocommit):
        parts = urlsplit(url)
        socket_path = parse_qs(parts.query).get("socketPath")
        self.options = {
            "user": unquote(parts.username or ""),
            "passwd": unquote(parts.password or ""),
            "db": unquote(parts.path[1:]),
            **({"unix_socket": socket_path[0]} if socket_path else {"host": parts.hostname, "port": parts.port or 3306}),
        }
        self.autocommit = autocommit
        self.idle = SimpleQueue()
        for _ in range(size):
            self.idle.put(None)

    def rows(self, sql, values):
        """Asks one statement that may be asked again."""
        return self.borrow(lambda connection: ask(connection, sql, values), again=True)

    def transact(self, sql, values):
        """Carries out statements as one transaction, sent as one. The rows of the first."""
        return self.borrow(lambda connection: commit(connection, sql, values), again=False)

    def borrow(self, work, again):
        try:
            connection = self.idle.get(timeout=REQUEST_S)
        except Empty:
            raise Refused("timeout", "the database did not answer in time", outcome="none") from None
        try:
            connection = connection or self.connect()
            try:
                return work(connection)
            except MySQLdb.OperationalError as error:
                if not is_lost(error):
                    raise
                connection = None
                if not again:
                    raise Refused("timeout", "the database was lost on the way", outcome="unknown") from None
                connection = self.connect()
                return work(connection)
        except MySQLdb.Error:
            connection = None
            raise
        finally:
            self.idle.put(connection)

    def connect(self):
        connection = MySQLdb.connect(
            **self.options,
            **{"charset": "utf8mb4", "use_unicode": False, "conv": CONVERSIONS, "connect_timeout": 2},
            client_flag=0 if self.autocommit else CLIENT.MULTI_STATEMENTS,
            autocommit=self.autocommit,
        )
        connection.query(b"SET NAMES utf8mb4 COLLATE utf8mb4_nopad_bin")
        connection.query(b"SET SESSION max_statement_time = 5, tx_isolation = 'READ-COMMITTED'")
        return connection


def is_lost(error):
    return error.args[0] in (1053, 1927, 2006, 2013, 2055)


def ask(connection, sql, values):
    connection.query(sql % tuple(map(connection.literal, values)))
    result = connection.store_result()
    return result and result.fetch_row(0)


def commit(connection, sql, values):
    try:
        rows = ask(connection, sql + b"; COMMIT", values)
        while connection.next_result() == 0:
            pass
        return rows
    except MySQLdb.Error as error:
        if not is_lost(error):
            connection.rollback()
        raise


# The program


def main():
    parser = argparse.ArgumentParser(description="A marketplace server with one thread per connection.")
    parser.add_argument("role", choices=("seller", "buyer"))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--customer-db", default=os.environ.get("SOUK_CUSTOMER_DB_URL"), metavar="URL")
    parser.add_argument("--product-db", default=os.environ.get("SOUK_PRODUCT_DB_URL"), metavar="URL")
    parser.add_argument("--pool", type=int, default=16, help="connections of each pool")
    given = parser.parse_args()
    if not (given.customer_db and given.product_db and given.pool > 0):
        parser.error("--customer-db, --product-db and a pool of at least one connection are needed")

    customer = Pool(given.customer_db, given.pool, autocommit=True)
    reading = Pool(given.product_db, given.pool, autocommit=True)
    if given.role == "seller":
        operations = seller_operations(customer, reading, Pool(given.product_db, given.pool, autocommit=False))
    else:
        operations = buyer_operations(customer, reading)
    answer = answering(operations, session_checker(customer, given.role))

    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)  # in all threads: only sigwait takes them
    listener = socket.create_server((given.host, given.port), backlog=BACKLOG)
    threading.stack_size(STACK_BYTES)
    threading.Thread(target=accept_all, args=(listener, answer), daemon=True).start()
    host, port = listener.getsockname()
    print(f"threads.py {given.role} accepts connections on {host}:{port} (pool of {given.pool} connections)", flush=True)
    signal.sigwait(stop)
    os._exit(0)  # without waiting for the threads


if __name__ == "__main__":
    main()

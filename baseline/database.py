"""The database: bounded pools of connections that the threads share, transactions, keys, retries and deadlines.

Policies:
  - Statements that need no decision in between are sent as one text, in one
    round trip. The database stops at the first that fails, so COMMIT is
    reached only if all of them worked.
  - A transaction locks rows, decides, and sends all writes with COMMIT as one
    text. Rows are locked in one order: the buyer's own cart or vote, the saved
    cart, items, seller scores, the buyer's score, each by id. After a deadlock
    or a lock wait timeout it rolls back and decides again after a random pause,
    within the deadline.
  - A key's INSERT, in the transaction of its effect, tells whether this call is
    the first with that key. If not, the call rolls back and gets the first
    one's answer. Refusals are not stored, so a refused call looks for a stored
    answer too.
  - A lost connection is replaced. A call is done again if COMMIT had not been
    sent, or if it has a key. Of the others the outcome is unknown.
"""

import json
import random
import threading
import time
from collections import deque
from queue import Empty, SimpleQueue
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import MySQLdb
from MySQLdb.constants import CLIENT, FIELD_TYPE
from MySQLdb.converters import conversions

from wire import Refused

REQUEST_S = 5  # with all its tries; also the longest that a statement may take
LOCK_WAIT_S = 2
PAUSE_S, LONGEST_PAUSE_S = 0.005, 0.25
MOST_IDS, BLOCK_LIFE_S, RECENT_S = 2_000, 1, 0.1
NEXT_IDS = "SELECT NEXT VALUE FOR %s FROM JSON_TABLE(%%s, '$[*]' COLUMNS (place FOR ORDINALITY)) AS places"

TEXT_TYPES = (FIELD_TYPE.STRING, FIELD_TYPE.VAR_STRING, FIELD_TYPE.VARCHAR, FIELD_TYPE.BLOB)
CONVERSIONS = {**conversions, **dict.fromkeys(TEXT_TYPES, str)}  # text, though it is compared byte by byte

TAKEN = 1062  # a row that another transaction was the first to write
UNDONE = (1020, 1205, 1213, 1317, 1969)  # record changed, lock wait, deadlock, interrupted, statement time exceeded
UNCONNECTED = (1040, 1203, 2002, 2003)
LOST = (1053, 1927, 2006, 2013, 2055)


class Again(Exception):
    """Nothing was written, because of other transactions on the same rows: decide again."""


class Uncertain(Exception):
    """The connection was lost after COMMIT was sent."""


class Key(NamedTuple):
    """An idempotency key, its account, and a fingerprint of the call."""

    role: str
    account_id: int
    name: str
    fingerprint: str


class Pool:
    """A fixed number of connections to a database, opened when first needed: None is one not open yet."""

    def __init__(self, url, size, writes=False):
        parts = urlsplit(url)
        socket_path = parameters_of(url).get("socketPath")
        address = {"unix_socket": socket_path} if socket_path else {"host": parts.hostname, "port": parts.port or 3306}
        self.options = {
            **address,
            "user": unquote(parts.username or ""),
            "passwd": unquote(parts.password or ""),
            "db": unquote(parts.path[1:]),
            "charset": "utf8mb4",
            "use_unicode": False,
            "conv": CONVERSIONS,
            "connect_timeout": 2,
            "autocommit": not writes,
            "client_flag": CLIENT.MULTI_STATEMENTS if writes else 0,
        }
        self.idle = SimpleQueue()
        for connection in [self.connect()] + [None] * (size - 1):
            self.idle.put(connection)

    def connect(self):
        connection = MySQLdb.connect(**self.options)
        connection.query("SET NAMES utf8mb4 COLLATE utf8mb4_nopad_bin")
        connection.query(
            f"SET SESSION max_statement_time = {REQUEST_S}, innodb_lock_wait_timeout = {LOCK_WAIT_S}, "
            "tx_isolation = 'READ-COMMITTED'"
        )
        return connection

    def read(self, sql, *values):
        """Returns the rows of one statement, which may run again."""
        return self.insist(None, ask, sql, values)

    def write(self, *statements):
        """Commits statements that need no decision. Returns the rows of each."""
        return self.transact(lambda transaction: transaction.commit(*statements))

    def transact(self, decide, key=None):
        """Returns what `decide` returns, which commits its Transaction. It may be called again."""
        return self.insist(key, carry_out, decide, key)

    def insist(self, key, work, *arguments):
        """Returns what `work` returns; tries again on another connection while that is safe and there is time."""
        deadline, left = time.monotonic() + REQUEST_S, REQUEST_S
        attempt, fresh, outcome = 0, False, "none"
        while left > 0:
            try:
                return self.lend(left, fresh, work, arguments)
            except Again:
                pass
            except Uncertain:
                fresh, outcome = True, "unknown"
                if key is None:
                    break
            except MySQLdb.Error as error:
                if error.args[0] not in UNDONE + UNCONNECTED + LOST:
                    raise
                fresh = True
            time.sleep(random.uniform(0, min(PAUSE_S * 2**attempt, LONGEST_PAUSE_S)))
            attempt += 1
            left = deadline - time.monotonic()
        raise Refused("timeout", "the database did not answer in time", outcome=outcome)

    def lend(self, wait, fresh, work, arguments):
        try:
            connection = self.idle.get(timeout=wait)
        except Empty:
            raise Again from None
        try:
            if fresh or connection is None:
                connection = self.connect()
            return work(connection, *arguments)
        except (Again, Refused):
            raise
        except BaseException:
            connection = None  # nobody knows what state it is in
            raise
        finally:
            self.idle.put(connection)


def parameters_of(url):
    pairs = (pair.partition("=") for pair in urlsplit(url).query.split("&") if pair)
    return {unquote(name): unquote(value) for name, _, value in pairs}


def ask(connection, sql, values):
    connection.query(text_of(connection, sql, values))
    result = connection.store_result()
    return result and result.fetch_row(0)


def ask_all(connection, statements):
    connection.query(b"; ".join([text_of(connection, sql, values) for sql, *values in statements]))
    rows = []
    while True:
        result = connection.store_result()
        rows.append(result and result.fetch_row(0))
        if connection.next_result() != 0:
            return rows


def text_of(connection, sql, values):
    return sql.encode() % tuple(map(connection.literal, values))


def carry_out(connection, decide, key):
    """Returns what `decide` returns, or the stored answer to the same key."""
    transaction = Transaction(connection, key)
    try:
        return decide(transaction)
    except Refused:
        answer = transaction.roll_back()
        if answer is None:
            raise
    except MySQLdb.Error as error:
        if error.args[0] not in (TAKEN, *UNDONE):
            raise
        answer = transaction.roll_back()
        if answer is None:
            raise Again from None
    return answer


class Transaction:
    """One attempt to write for a call. A statement is SQL and its values."""

    def __init__(self, connection, key):
        self.connection, self.key = connection, key

    def ask(self, *statements):
        """Returns the rows of each statement."""
        return ask_all(self.connection, statements)

    def finish(self, result, *statements):
        """Commits the statements, and with them the result as the answer to the key."""
        if self.key is not None:
            columns = "role, account_id, idempotency_key, fingerprint, answer, created_at"
            insert = f"INSERT INTO idempotency ({columns}) VALUES (%s, %s, %s, %s, %s, UNIX_TIMESTAMP())"
            statements = ((insert, *self.key, result), *statements)
        self.commit(*statements)
        return result

    def commit(self, *statements):
        """Carries out the statements and commits. Returns the rows of each."""
        try:
            return self.ask(*statements, ("COMMIT",))
        except MySQLdb.OperationalError as error:
            if error.args[0] in LOST:
                raise Uncertain from error
            raise

    def roll_back(self):
        """Returns the stored answer to the key, if there is one."""
        if self.key is None:
            return self.connection.rollback()
        own = "role = %s AND account_id = %s AND idempotency_key = %s"
        select = f"SELECT fingerprint, answer FROM idempotency WHERE {own}"
        [_, stored, _] = self.ask(("ROLLBACK",), (select, *self.key[:3]), ("COMMIT",))
        for fingerprint, answer in stored:
            if fingerprint != self.key.fingerprint:
                raise Refused("idempotency_mismatch", "this key was used with other parameters")
            return answer


class IdBlocks:
    """Ids from a sequence, in blocks. Their size, life and leftovers are souk's: see ids.ts."""

    def __init__(self, reading, sequence):
        self.reading, self.sequence = reading, sequence
        self.lock = threading.Lock()
        self.free = deque()
        self.size = self.last = self.reserved = self.taken = 0

    def take(self):
        with self.lock:
            now = time.monotonic()
            if not self.free or now - self.reserved > BLOCK_LIFE_S:
                self.reserve(now)
            self.taken = now
            return self.free.popleft()

    def reserve(self, now):
        if self.free and self.reading.read(f"SELECT next_not_cached_value FROM {self.sequence}") != ((self.last + 1,),):
            self.free.clear()  # another server has taken ids since
        if count := self.expected(now) - len(self.free):
            places = json.dumps([0] * count)
            self.free += [id for (id,) in self.reading.read(NEXT_IDS % self.sequence, places)]
            self.last = self.free[-1]
        self.size, self.reserved = len(self.free), now

    def expected(self, now):
        if now - self.taken > RECENT_S:
            return 1
        in_a_second = (self.size - len(self.free)) / max(now - self.reserved, 0.001)
        return max(1, min(MOST_IDS, 2 * self.size, int(in_a_second)))

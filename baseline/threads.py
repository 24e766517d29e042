#!/usr/bin/python3
"""A marketplace server with one thread per connection, for comparison with souk.

It speaks souk's protocol over souk's tables with souk's guarantees, so that only
the architecture differs: blocking sockets, a thread for each, and bounded pools
of database connections that the threads share. A connection's thread carries a
request out from beginning to end, and sees no other request. It has the
operations that the study calls, and nothing else.

This file owns connections, dispatch, sessions and the program; functions stand
in the order in which a byte travels. wire.py owns lines and parameters,
operations.py the decisions and answers, tables.py the rows, database.py
connections and transactions.

Policies:
  - Pipelined requests are answered in order, with one send for all requests of
    one receive.
  - A session is remembered for a second, counted from when its check was
    sent, and prolonged at most every 15 seconds, before the reply.
  - Idempotency keys are shared with souk: a call done by one server is not done
    again by the other.
  - `--cpu N` keeps all threads on one CPU. The interpreter runs one thread at
    a time anyway, and passing its lock between CPUs costs about half of the
    throughput when many threads want it.
"""

import argparse
import base64
import hashlib
import os
import signal
import socket
import struct
import threading
import time
import traceback
from typing import NamedTuple

from database import Key, Pool, parameters_of
from operations import SESSION_KEYED, Buyer, Seller
from wire import (
    Refused,
    checked,
    decode_line,
    encode_canonical,
    encode_refusal,
    encode_result,
    is_answered,
    method_and_params,
    read_id,
)

BACKLOG = 1024
STACK_BYTES = 256 * 1024
RECEIVE_BYTES = LINE_BYTES = 64 * 1024
IDLE_S = 600  # a connection without requests is closed
STUCK_S = 30  # so is one whose client takes no replies

SESSION_IDLE_S, SESSION_TOUCH_S, SESSION_MEMORY_S = 300, 15, 1
SESSIONS_REMEMBERED = 100_000


# Connections


def accept_all(listener, answer):
    while True:
        connection, _ = listener.accept()
        try:
            threading.Thread(target=serve, args=(connection, answer), daemon=True).start()
        except RuntimeError:  # no more threads to be had
            connection.close()


def serve(connection, answer):
    """A connection from accept to close. The kernel keeps its deadlines: Python's own cost a poll before each call."""
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
    """Reads what the client has already sent: closing before that would destroy the replies on their way."""
    connection.sendall(replies)
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(1)
    for _ in range(100):
        if not connection.recv(RECEIVE_BYTES):
            break


# Dispatch


def answering(role, operations, account_of):
    """Returns the function from a line to its reply. It never fails. The reply to a notification is empty."""

    def answer(line):
        line = line.removesuffix(b"\r")
        if not line:
            return b""
        try:
            read = decode_line(line)
        except Refused as refused:
            return encode_refusal(None, refused)
        if type(read) is not list or not read:
            return answer_request(read)
        replies = [reply[:-1] for reply in map(answer_request, read) if reply]
        return b"[" + b",".join(replies) + b"]\n" if replies else b""

    def answer_request(request):
        if type(request) is not dict:
            return encode_refusal(None, Refused("invalid_request", "a request is a JSON object"))
        request_id = None
        try:
            request_id = read_id(request)
            method, params = method_and_params(request)
            reply = encode_result(request_id, carry_out(method, params))
        except Refused as refused:
            reply = encode_refusal(request_id, refused)
        except Exception:
            traceback.print_exc()
            reply = encode_refusal(request_id, Refused("internal", "internal error; it was logged"))
        return reply if is_answered(request) else b""

    def carry_out(method, params):
        if method not in operations:
            raise Refused("unknown_method", "no such operation for this role")
        operation = operations[method]
        values = checked(params, operation.fields)
        if "session" not in values:
            return operation(**values)
        account = account_of(values.pop("session"))
        if "idempotency_key" not in values:
            return operation(account, **values)
        name = values.pop("idempotency_key")
        if name is not None and method in SESSION_KEYED:
            name = hashed(f"{account.session_hash} {name}")
        key = None if name is None else Key(role, account.id, name, fingerprint_of(method, values))
        return operation(account, key, **values)

    return answer


def fingerprint_of(method, values):
    given = {name: value for name, value in values.items() if value is not None}
    return hashed(encode_canonical([method, given]))


def hashed(text):
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode(errors="replace")).digest()).decode().rstrip("=")


# Sessions


class Account(NamedTuple):
    """The calling account, of the server's role."""

    id: int
    name: str
    session_hash: str


def session_checker(customer, role):
    """Returns the function from a session token to its account."""
    remembered = {}

    def account_of(token):
        now = time.monotonic()
        account, asked = remembered.get(token, (None, 0))
        if account is not None and now - asked < SESSION_MEMORY_S:
            return account
        token_hash = hashed(token)
        rows = customer.read(
            "SELECT token_hash, account_id, name, ends_at - UNIX_TIMESTAMP(), expires_at - UNIX_TIMESTAMP() "
            f"FROM session JOIN {role} AS account ON account.id = account_id "
            "WHERE role = %s AND expires_at > UNIX_TIMESTAMP() AND token_hash IN (%s)",
            role,
            token_hash,
        )
        if not rows:
            raise Refused("unauthenticated", "log in first")
        [(_, account_id, name, ends_in, expires_in)] = rows
        if expires_in <= min(SESSION_IDLE_S, ends_in - 1):
            # A change that may be repeated, so the reading pool can do it.
            sql = "UPDATE session SET expires_at = LEAST(ends_at, UNIX_TIMESTAMP() + %s) WHERE token_hash IN (%s)"
            customer.read(sql, SESSION_IDLE_S + SESSION_TOUCH_S, token_hash)
        if len(remembered) >= SESSIONS_REMEMBERED:
            remembered.clear()
        account = Account(account_id, name, token_hash)
        remembered[token] = account, now
        return account

    return account_of


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
    for url in given.customer_db, given.product_db:
        for name in parameters_of(url).keys() - {"socketPath"}:
            parser.error(f'the URL of a database has the parameter "{name}", and threads.py knows socketPath only (no TLS)')
    if given.cpu is not None:
        os.sched_setaffinity(0, {given.cpu})

    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)  # in every thread: they are waited for below
    customer, product = Pool(given.customer_db, given.pool), Pool(given.product_db, given.pool)
    writing = Pool(given.product_db, given.pool, writes=True)
    operations = {"seller": Seller, "buyer": Buyer}[given.role](customer, product, writing).operations()
    answer = answering(given.role, operations, session_checker(customer, given.role))
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

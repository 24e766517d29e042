"""Items, carts, purchases and scores as rows.

How rows become replies, how they are locked, and the statements that write
decisions. A statement is SQL and its values.
"""

from collections import Counter
from itertools import chain
from typing import NamedTuple

from wire import fold

MOST_CENTS = 2**53 - 1  # of sales: a larger number would not arrive as it is
ANY = ""  # a keyword no item can have: every item on sale stands under it
ITEM_FIELDS = "item_id seller_id seller_name name category keywords condition price_cents quantity thumbs_up thumbs_down".split()
COLUMNS = (
    "item.id, item.seller_id, item.seller_name, item.name, item.category, item.keywords, item.item_condition, "
    "item.price_cents, item.quantity, item.thumbs_up, item.thumbs_down"
)


def marks(values, each="%s"):
    return ", ".join([each] * len(values))


# Items


def item_of(row):
    item = dict(zip(ITEM_FIELDS, row))
    item["keywords"] = split(item["keywords"])
    return item


def split(keywords):
    return keywords.split("\n") if keywords else []


class LockedItem(NamedTuple):
    id: int
    seller_id: int
    name: str
    category: int
    keywords: str
    price_cents: int
    quantity: int


LOCK_ITEMS = (
    f"SELECT {', '.join(LockedItem._fields)} FROM item FORCE INDEX (PRIMARY) WHERE id IN (%s) ORDER BY id FOR UPDATE"
)


def lock_items(transaction, item_ids):
    [rows] = transaction.ask((LOCK_ITEMS % marks(item_ids), *item_ids))
    return {row[0]: LockedItem._make(row) for row in rows}


def move_units(item, change):
    """Changes the units on sale. The item's keywords come with the first unit and go with the last."""
    yield ("UPDATE item SET quantity = quantity + %s WHERE id = %s", change, item.id)
    if item.quantity + change == 0 < item.quantity:
        words = postings(split(item.keywords))
        yield (
            f"DELETE FROM item_keyword WHERE category = %s AND keyword IN ({marks(words)}) AND item_id = %s",
            *(item.category, *words, item.id),
        )
    if item.quantity == 0 < change:
        yield insert_keywords(item.id, item.category, split(item.keywords))


def postings(keywords):
    return {ANY, *map(fold, keywords)}


def insert_keywords(item_id, category, keywords):
    rows = [(category, word, item_id) for word in postings(keywords)]
    return (
        f"INSERT INTO item_keyword (category, keyword, item_id) VALUES {marks(rows, '(%s, %s, %s)')}",
        *chain.from_iterable(rows),
    )


# Carts. A cart is one row, 'item:units item:units …', in the order in which the
# items were first added.


def make_cart(account):
    """A session's first cart is a copy of the buyer's saved one."""
    return (
        "INSERT IGNORE INTO cart (session_hash, buyer_id, content, created_at) "
        "SELECT %s, %s, COALESCE((SELECT content FROM saved_cart WHERE buyer_id = %s), ''), UNIX_TIMESTAMP()",
        *(account.session_hash, account.id, account.id),
    )


def lock_cart(transaction, account, *statements):
    """Units by item in the session's cart, and the rows of further statements."""
    lock = ("SELECT content FROM cart WHERE session_hash = %s FOR UPDATE", account.session_hash)
    rows, *others = transaction.ask(lock, *statements)
    if not rows:
        make = (make_cart(account), ("COMMIT",))  # made, even if this call is refused
        [_, _, rows, *others] = transaction.ask(*make, lock, *statements)
    return decode_cart(rows), *others


def decode_cart(rows):
    [(content,)] = rows
    return {int(item_id): int(units) for item_id, units in (line.split(":") for line in content.split())}


def encode_cart(cart):
    return " ".join("%d:%d" % line for line in cart.items())


def write_cart(account, cart):
    return ("UPDATE cart SET content = %s WHERE session_hash = %s", encode_cart(cart), account.session_hash)


def lock_saved_cart(account):
    return ("SELECT content FROM saved_cart WHERE buyer_id = %s FOR UPDATE", account.id)


def take_from_saved(account, rows, bought):
    """Takes what was bought off the saved cart, as far as it is in there."""
    saved = decode_cart(rows or [("",)])
    left = {item_id: units - bought.get(item_id, 0) for item_id, units in saved.items()}
    if left != saved:
        yield (
            "UPDATE saved_cart SET content = %s WHERE buyer_id = %s",
            *(encode_cart({item_id: units for item_id, units in left.items() if units > 0}), account.id),
        )


# Purchases and scores


def line_of(item_id, name, quantity, price_cents):
    return {"item_id": item_id, "name": name, "quantity": quantity, "price_cents": price_cents}


def record_purchase(account, purchase_id, sold, total_cents):
    yield (
        "INSERT INTO purchase (id, buyer_id, total_cents, purchased_at) VALUES (%s, %s, %s, UNIX_TIMESTAMP())",
        *(purchase_id, account.id, total_cents),
    )
    rows = [
        (purchase_id, item.id, account.id, item.seller_id, item.name, units, item.price_cents) for item, units in sold
    ]
    yield (
        "INSERT INTO purchase_line (purchase_id, item_id, buyer_id, seller_id, name, quantity, price_cents) "
        f"VALUES {marks(rows, '(%s, %s, %s, %s, %s, %s, %s)')}",
        *chain.from_iterable(rows),
    )


def count_sold(account, sold):
    """Adds sold units to the scores of sellers and buyer. A missing score is made."""
    units_sold, cents = Counter(), Counter()
    for item, units in sold:
        units_sold[item.seller_id] += units
        cents[item.seller_id] += units * item.price_cents
    rows = [(seller_id, units_sold[seller_id], min(cents[seller_id], MOST_CENTS)) for seller_id in sorted(units_sold)]
    yield (
        f"INSERT INTO seller_score (seller_id, items_sold, sales_cents) VALUES {marks(rows, '(%s, %s, %s)')} "
        "ON DUPLICATE KEY UPDATE items_sold = items_sold + VALUES(items_sold), "
        f"sales_cents = LEAST(sales_cents + VALUES(sales_cents), {MOST_CENTS})",
        *chain.from_iterable(rows),
    )
    yield (
        "INSERT INTO buyer_score (buyer_id, items_purchased) VALUES (%s, %s) "
        "ON DUPLICATE KEY UPDATE items_purchased = items_purchased + VALUES(items_purchased)",
        *(account.id, units_sold.total()),
    )

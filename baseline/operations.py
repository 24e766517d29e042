"""The operations that the study calls: parameters, decisions and answers.

Each is a method of its role, marked with its fields, in the order of souk's
contract. It gets the calling account, the key if it takes one, and the checked
parameters, and returns its result as JSON. (Searches of several keywords are
ranked by the database here, and by the server in souk: each is faster that
way.)
"""

from inspect import getmembers, ismethod
from itertools import chain

from database import IdBlocks
from tables import (
    ANY,
    COLUMNS,
    count_sold,
    decode_cart,
    insert_keywords,
    item_of,
    line_of,
    lock_cart,
    lock_items,
    lock_saved_cart,
    make_cart,
    marks,
    move_units,
    record_purchase,
    take_from_saved,
    write_cart,
)
from wire import Refused, distinct_words, encode, fold, lower_case, matching, rule, text, whole

MOST_UNITS = 1_000_000  # of one item on sale
MOST_CART_UNITS = 10_000  # of one item in a cart
MOST_CART_LINES = 100
MOST_PRICE = 1_000_000_000  # cents for one unit
NAMES_REMEMBERED = 10_000
RANKED = 2_000  # how many items of each keyword a search of several keywords ranks, newest first

OK = '{"ok":true}'
QUANTITY = '{"quantity":%d}'
RATING = '{"seller_name":%s,"thumbs_up":%d,"thumbs_down":%d,"items_sold":%d}'
SCORE = "SELECT seller_id, thumbs_up, thumbs_down, items_sold FROM seller_score WHERE seller_id IN (%s)"


def operation(**fields):
    """Marks a method as an operation. A field is a rule and, unless it is required, a default."""

    def mark(method):
        method.fields = fields
        return method

    return mark


def keyword_list(value):
    if type(value) is not list or len(value) > 5:
        raise ValueError("must be a list of at most 5")
    return distinct_words([lower_case(keyword(word)) for word in value])


def one_of(*words):
    return rule(f"must be {' or '.join(words)}", lambda value: value in words)


keyword = text(8)
category = whole(0, 65_535)
positive = whole(1)
price = whole(0, MOST_PRICE)
boolean = rule("must be true or false", lambda value: type(value) is bool)
id_cursor = matching("[1-9][0-9]{0,15}", "must be a next_cursor of an earlier reply")
search_cursor = matching("[1-5]-[1-9][0-9]{0,15}", "must be a next_cursor of an earlier reply")
session = {"session": [matching("(?s:.{1,128})", "must have 1 to 128 characters")]}
keyed = {**session, "idempotency_key": [text(64), None]}
SESSION_KEYED = ("add_item_to_cart", "remove_item_from_cart")  # a key of these belongs to the session
units_in_cart = {"item_id": [positive], "quantity": [whole(1, MOST_CART_UNITS)]}


class Role:
    def __init__(self, customer, product, writing):
        self.customer, self.product, self.writing = customer, product, writing

    def operations(self):
        return {name: method for name, method in getmembers(self, ismethod) if hasattr(method, "fields")}

    @operation()
    def ping(self):
        return encode({"ok": True, "version": "threads"})


class Seller(Role):
    def __init__(self, customer, product, writing):
        super().__init__(customer, product, writing)
        self.item_ids = IdBlocks(product, "item_id")

    @operation(**session)
    def get_seller_rating(self, account):
        return rating_of(account.name, self.product.read(SCORE, account.id))

    @operation(
        **keyed,
        name=[text(32)],
        category=[category],
        keywords=[keyword_list],
        condition=[one_of("new", "used")],
        price_cents=[price],
        quantity=[whole(1, MOST_UNITS)],
    )
    def register_item_for_sale(self, account, key, name, category, keywords, condition, price_cents, quantity):
        item_id = self.item_ids.take()
        insert = (
            "INSERT INTO item "
            "(id, seller_id, seller_name, name, category, keywords, item_condition, price_cents, quantity) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            *(item_id, account.id, account.name, name, category, "\n".join(keywords), condition, price_cents, quantity),
        )
        result = '{"item_id":%d}' % item_id
        inserts = [insert, insert_keywords(item_id, category, keywords)]
        return self.writing.transact(lambda transaction: transaction.finish(result, *inserts), key)

    @operation(**session, item_id=[positive], price_cents=[price])
    def change_item_price(self, account, item_id, price_cents):
        [own, *_] = self.writing.write(
            ("SELECT 1 FROM item WHERE id = %s AND seller_id = %s", item_id, account.id),
            ("UPDATE item SET price_cents = %s WHERE id = %s AND seller_id = %s", price_cents, item_id, account.id),
        )
        if not own:
            raise Refused("not_found", "you have no such item")
        return OK

    @operation(**keyed, item_id=[positive], change=[whole(-MOST_UNITS, MOST_UNITS)])
    def update_units_for_sale(self, account, key, item_id, change):
        def update(transaction):
            item = lock_items(transaction, [item_id]).get(item_id)
            if item is None or item.seller_id != account.id:
                raise Refused("not_found", "you have no such item")
            quantity = item.quantity + change
            if quantity < 0:
                raise out_of_stock([shortage(item_id, -change, item.quantity)])
            if quantity > MOST_UNITS:
                raise Refused("limit_exceeded", f"at most {MOST_UNITS} units of an item can be on sale")
            return transaction.finish(QUANTITY % quantity, *move_units(item, change))

        return self.writing.transact(update, key)

    @operation(**session, limit=[whole(1, 10_000), 1_000], cursor=[id_cursor, None], include_sold_out=[boolean, False])
    def display_items_for_sale(self, account, limit, cursor, include_sold_out):
        after, on_sale = " AND id < %s" if cursor else "", "" if include_sold_out else " AND quantity > 0"
        rows = self.product.read(
            f"SELECT 0, {COLUMNS} FROM item FORCE INDEX (by_seller) WHERE seller_id = %s{after}{on_sale} "
            "ORDER BY id DESC LIMIT %s",
            *(account.id, *([int(cursor)] if cursor else []), limit + 1),
        )
        return page_of(rows, limit, "{item_id}")


class Buyer(Role):
    def __init__(self, customer, product, writing):
        super().__init__(customer, product, writing)
        self.purchase_ids = IdBlocks(product, "purchase_id")
        self.seller_names = {}

    @operation(
        **session,
        category=[category],
        keywords=[keyword_list, []],
        limit=[whole(1, 100), 20],
        cursor=[search_cursor, None],
    )
    def search_items(self, _, category, keywords, limit, cursor):
        after = map(int, cursor.split("-")) if cursor else []
        if len(keywords) > 1:
            newest = f"(SELECT item_id FROM item_keyword WHERE category = %s AND keyword = %s ORDER BY item_id DESC LIMIT {RANKED})"
            rows = self.product.read(
                f"SELECT matches, {COLUMNS} FROM (SELECT item_id, COUNT(*) AS matches "
                f"FROM ({' UNION ALL '.join([newest] * len(keywords))}) AS candidate GROUP BY item_id "
                f"{'HAVING (matches, item_id) < (%s, %s) ' if cursor else ''}ORDER BY matches DESC, item_id DESC LIMIT %s) AS hit "
                "JOIN item ON item.id = hit.item_id ORDER BY matches DESC, item.id DESC",
                *(value for word in keywords for value in (category, fold(word))),
                *(*after, limit + 1),
            )
        else:
            rows = self.product.read(
                f"SELECT 1, {COLUMNS} FROM item_keyword JOIN item ON item.id = item_keyword.item_id "
                f"WHERE item_keyword.category = %s AND keyword = %s{' AND item_id < %s' if cursor else ''} "
                "ORDER BY item_id DESC LIMIT %s",
                *(category, *(map(fold, keywords) if keywords else [ANY]), *[*after][1:], limit + 1),
            )
        return page_of(rows, limit, "{matches}-{item_id}")

    @operation(**session, item_id=[positive])
    def get_item(self, _, item_id):
        rows = self.product.read(f"SELECT {COLUMNS} FROM item WHERE id IN (%s)", item_id)
        if not rows:
            raise Refused("not_found", "no such item")
        return encode(item_of(rows[0]))

    @operation(**keyed, **units_in_cart)
    def add_item_to_cart(self, account, key, item_id, quantity):
        def add(transaction):
            cart, on_sale = lock_cart(transaction, account, ("SELECT quantity FROM item WHERE id = %s", item_id))
            if not on_sale:
                raise Refused("not_found", "no such item")
            [(available,)] = on_sale
            wanted = cart.get(item_id, 0) + quantity
            if wanted > MOST_CART_UNITS:
                raise Refused("limit_exceeded", f"at most {MOST_CART_UNITS} units of an item in a cart")
            if wanted > available:
                raise out_of_stock([shortage(item_id, wanted, available)])
            if item_id not in cart and len(cart) == MOST_CART_LINES:
                raise Refused("limit_exceeded", f"at most {MOST_CART_LINES} items in a cart")
            return transaction.finish(QUANTITY % wanted, write_cart(account, {**cart, item_id: wanted}))

        return self.writing.transact(add, key)

    @operation(**keyed, **units_in_cart)
    def remove_item_from_cart(self, account, key, item_id, quantity):
        def remove(transaction):
            [cart] = lock_cart(transaction, account)
            left = cart.get(item_id, 0) - quantity
            if left < 0:
                there = left + quantity
                message = f"the cart has {there} of it, not {quantity}"
                raise Refused("not_in_cart", message, item_id=item_id, quantity=there)
            changed = {**cart, item_id: left}
            if left == 0:
                del changed[item_id]
            return transaction.finish(QUANTITY % left, write_cart(account, changed))

        return self.writing.transact(remove, key)

    @operation(**session)
    def save_cart(self, account):
        self.writing.write(
            make_cart(account),
            (
                "INSERT INTO saved_cart (buyer_id, content) SELECT buyer_id, content FROM cart WHERE session_hash = %s "
                "ON DUPLICATE KEY UPDATE content = VALUES(content)",
                account.session_hash,
            ),
        )
        return OK

    @operation(**session)
    def clear_cart(self, account):
        self.writing.write(
            (
                "INSERT INTO cart (session_hash, buyer_id, content, created_at) VALUES (%s, %s, '', UNIX_TIMESTAMP()) "
                "ON DUPLICATE KEY UPDATE content = ''",
                *(account.session_hash, account.id),
            )
        )
        return OK

    @operation(**session)
    def display_cart(self, account):
        select = "SELECT content FROM cart WHERE session_hash = %s"
        rows = self.product.read(select, account.session_hash)
        if not rows:
            [_, rows, _] = self.writing.write(make_cart(account), (select, account.session_hash))
        cart = decode_cart(rows)
        if not cart:
            return encode({"lines": []})
        rows = self.product.read(f"SELECT id, name, price_cents, quantity FROM item WHERE id IN ({marks(cart)})", *cart)
        lines = {
            item_id: {**line_of(item_id, name, cart[item_id], price_cents), "available": available}
            for item_id, name, price_cents, available in rows
        }
        return encode({"lines": [lines[item_id] for item_id in cart]})

    @operation(**keyed, total_cents=[whole(0, MOST_CART_LINES * MOST_CART_UNITS * MOST_PRICE), None])
    def make_purchase(self, account, key, total_cents):
        purchase_id = self.purchase_ids.take()

        def purchase(transaction):
            cart, saved = lock_cart(transaction, account, lock_saved_cart(account))
            if not cart:
                raise Refused("cart_empty", "the cart is empty")
            items = lock_items(transaction, cart)
            wanted = [(items[item_id], units) for item_id, units in cart.items()]
            short = [shortage(item.id, units, item.quantity) for item, units in wanted if units > item.quantity]
            if short:
                raise out_of_stock(short)
            lines = [line_of(item.id, item.name, units, item.price_cents) for item, units in wanted]
            total = sum(item.price_cents * units for item, units in wanted)
            if total_cents not in (None, total):
                message = f"the total is {total} cents now, not {total_cents}"
                raise Refused("price_changed", message, lines=lines, total_cents=total)
            return transaction.finish(
                encode({"purchase_id": purchase_id, "lines": lines, "total_cents": total}),
                *chain.from_iterable(move_units(item, -units) for item, units in wanted),
                *record_purchase(account, purchase_id, wanted, total),
                write_cart(account, {}),
                *take_from_saved(account, saved, cart),
                *count_sold(account, wanted),
            )

        return self.writing.transact(purchase, key)

    @operation(**session, limit=[whole(1, 100), 20], cursor=[id_cursor, None])
    def get_buyer_purchases(self, account, limit, cursor):
        rows = self.product.read(
            "SELECT items_purchased, purchase.id, total_cents, purchased_at, "
            "item_id, name, quantity, price_cents FROM buyer_score "
            "LEFT JOIN (SELECT id, total_cents, purchased_at FROM purchase FORCE INDEX (by_buyer) "
            f"WHERE buyer_id = %s{' AND id < %s' if cursor else ''} ORDER BY id DESC LIMIT %s) AS purchase ON TRUE "
            "LEFT JOIN purchase_line ON purchase_id = purchase.id "
            "WHERE buyer_score.buyer_id = %s ORDER BY purchase.id DESC, item_id",
            *(account.id, *([int(cursor)] if cursor else []), limit + 1, account.id),
        )
        purchases = {}
        for _, purchase_id, total_cents, purchased_at, *line in rows:
            if purchase_id is not None:
                purchase = {"purchase_id": purchase_id, "total_cents": total_cents, "purchased_at": purchased_at}
                purchases.setdefault(purchase_id, {**purchase, "lines": []})["lines"].append(line_of(*line))
        page = {"items_purchased": rows[0][0] if rows else 0, "purchases": [*purchases.values()][:limit]}
        if len(purchases) > limit:
            page["next_cursor"] = str(page["purchases"][-1]["purchase_id"])
        return encode(page)

    @operation(**session, item_id=[positive], vote=[one_of("up", "down")])
    def provide_feedback(self, account, item_id, vote):
        """Locks the buyer's own vote. Two first votes at once find none to lock; then one INSERT fails."""
        own = "WHERE buyer_id = %s AND item_id = %s"

        def change(transaction):
            [voted, sold_by, purchased] = transaction.ask(
                (f"SELECT vote FROM feedback {own} FOR UPDATE", account.id, item_id),
                ("SELECT seller_id FROM item WHERE id = %s", item_id),
                (f"SELECT 1 FROM purchase_line {own} LIMIT 1", account.id, item_id),
            )
            if not sold_by:
                raise Refused("not_found", "no such item")
            if not purchased:
                raise Refused("not_purchased", "you can only vote on items that you have purchased")
            before = voted[0][0] if voted else None
            if before == vote:
                return transaction.finish(OK)
            up, down = ((vote == way) - (before == way) for way in ("up", "down"))
            move = "SET thumbs_up = thumbs_up + %s, thumbs_down = thumbs_down + %s"
            insert = "INSERT INTO feedback (vote, buyer_id, item_id) VALUES (%s, %s, %s)"
            write = insert if before is None else f"UPDATE feedback SET vote = %s {own}"
            return transaction.finish(
                OK,
                (write, vote, account.id, item_id),
                (f"UPDATE item {move} WHERE id = %s", up, down, item_id),
                (f"UPDATE seller_score {move} WHERE seller_id = %s", up, down, sold_by[0][0]),
            )

        return self.writing.transact(change)

    @operation(**session, seller_id=[positive])
    def get_seller_rating(self, _, seller_id):
        return rating_of(self.name_of(seller_id), self.product.read(SCORE, seller_id))

    def name_of(self, seller_id):
        """A seller's name never changes, so it is remembered."""
        name = self.seller_names.get(seller_id)
        if name is None:
            rows = self.customer.read("SELECT name FROM seller WHERE id IN (%s)", seller_id)
            if not rows:
                raise Refused("not_found", "no such seller")
            if len(self.seller_names) >= NAMES_REMEMBERED:
                self.seller_names.clear()
            [(name,)] = rows
            self.seller_names[seller_id] = name
        return name


def rating_of(seller_name, rows):
    [(_, *score)] = rows or [(None, 0, 0, 0)]
    return RATING % (encode(seller_name), *score)


def page_of(rows, limit, cursor):
    """A page of items, with a cursor if there are more. The rows include one beyond the limit, if there is one."""
    page = {"items": [item_of(row[1:]) for row in rows[:limit]]}
    if len(rows) > limit:
        matches, item_id, *_ = rows[limit - 1]
        page["next_cursor"] = cursor.format(matches=matches, item_id=item_id)
    return encode(page)


def shortage(item_id, requested, available):
    return {"item_id": item_id, "requested": requested, "available": available}


def out_of_stock(items):
    """Details are those of the first shortage, which is usually the only one, and the list of all."""
    message = f"{items[0]['available']} on sale, {items[0]['requested']} wanted"
    return Refused("out_of_stock", message, **items[0], items=items)

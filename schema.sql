-- Both schemas of souk. A line "-- database: …" says which database the tables
-- below it belong to; the two may live on two servers, so no statement names
-- tables of both. Every statement can be repeated without harm.
--
-- A change here is a migration too: a file of its number in migrations/, which
-- brings older databases to the same tables.
--
-- Money is integer cents. Times are whole seconds since 1970, UTC, taken from
-- the database's own clock. Text compares byte by byte and without padding.

-- database: customer

-- A row for each version that these tables have had here; the highest is theirs.
CREATE TABLE IF NOT EXISTS schema_version (
  part       ENUM('customer', 'product') NOT NULL, -- the two may be one database
  version    INT UNSIGNED    NOT NULL,
  applied_at BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (part, version)        -- every start of a server
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS seller (
  id       BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  username VARCHAR(32)     NOT NULL,
  name     VARCHAR(32)     NOT NULL,
  password VARCHAR(128)    NOT NULL, -- scrypt, with its parameters and salt
  PRIMARY KEY (id),                  -- whoami, login, get_seller_rating
  UNIQUE KEY by_username (username)  -- create_account, login
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS buyer (
  id       BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  username VARCHAR(32)     NOT NULL,
  name     VARCHAR(32)     NOT NULL,
  password VARCHAR(128)    NOT NULL, -- scrypt, with its parameters and salt
  PRIMARY KEY (id),                  -- whoami, login
  UNIQUE KEY by_username (username)  -- create_account, login
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- How much guessing of passwords is charged to a network, to an account, or to
-- an account in a network that it knows. The keys are hashes of their names. A
-- row without a charge says that an account knows a network.
CREATE TABLE IF NOT EXISTS password_guess (
  key_hash   CHAR(43) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- base64url of the key's SHA-256
  free_at    BIGINT UNSIGNED NOT NULL, -- when nothing is charged any more
  expires_at BIGINT UNSIGNED NOT NULL, -- when the row says nothing any more
  PRIMARY KEY (key_hash),              -- login, create_account, change_password
  KEY by_expiry (expires_at)           -- sweeping
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS session (
  token_hash CHAR(43) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- base64url of the token's SHA-256
  role       ENUM('seller', 'buyer') NOT NULL,
  account_id BIGINT UNSIGNED NOT NULL,
  ends_at    BIGINT UNSIGNED NOT NULL, -- however much it is used
  expires_at BIGINT UNSIGNED NOT NULL, -- if it is not used again
  PRIMARY KEY (token_hash),            -- every call
  KEY by_expiry (expires_at),          -- sweeping
  KEY by_account (account_id)          -- change_password
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- database: product

-- As in the customer database.
CREATE TABLE IF NOT EXISTS schema_version (
  part       ENUM('customer', 'product') NOT NULL,
  version    INT UNSIGNED    NOT NULL,
  applied_at BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (part, version)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS item (
  id             BIGINT UNSIGNED   NOT NULL,
  seller_id      BIGINT UNSIGNED   NOT NULL,
  seller_name    VARCHAR(32)       NOT NULL, -- the seller's name, which never changes
  name           VARCHAR(32)       NOT NULL,
  category       SMALLINT UNSIGNED NOT NULL,
  keywords       VARCHAR(44)       NOT NULL, -- in the seller's order, separated by newlines
  item_condition ENUM('new', 'used') NOT NULL,
  price_cents    INT UNSIGNED      NOT NULL,
  quantity       INT UNSIGNED      NOT NULL,
  thumbs_up      INT UNSIGNED      NOT NULL DEFAULT 0,
  thumbs_down    INT UNSIGNED      NOT NULL DEFAULT 0,
  PRIMARY KEY (id),                 -- get_item, search_items
  KEY by_seller (seller_id, id)     -- display_items_for_sale
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- Items on sale only: sold-out items cost a search nothing. Each item also
-- stands under the keyword '', so that a whole category can be listed.
CREATE TABLE IF NOT EXISTS item_keyword (
  category SMALLINT UNSIGNED NOT NULL,
  keyword  VARCHAR(24)       NOT NULL, -- without case; three letters at most for each of the seller's
  item_id  BIGINT UNSIGNED   NOT NULL,
  PRIMARY KEY (category, keyword, item_id) -- search_items
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- A cart is read and written as a whole, by one session at a time: one row.
CREATE TABLE IF NOT EXISTS cart (
  session_hash CHAR(43) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- as in the customer database
  buyer_id     BIGINT UNSIGNED NOT NULL,
  content      VARCHAR(4096) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- 'item:units item:units …', '' when empty
  created_at   BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (session_hash),        -- every operation on carts
  KEY by_age (created_at)            -- sweeping
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS saved_cart (
  buyer_id BIGINT UNSIGNED NOT NULL,
  content  VARCHAR(4096) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- as in cart
  PRIMARY KEY (buyer_id)             -- save_cart; a session's first operation on its cart
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS purchase (
  id           BIGINT UNSIGNED NOT NULL,
  buyer_id     BIGINT UNSIGNED NOT NULL,
  total_cents  BIGINT UNSIGNED NOT NULL,
  purchased_at BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (id),                  -- get_buyer_purchases, through by_buyer
  KEY by_buyer (buyer_id, id)        -- get_buyer_purchases
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS purchase_line (
  purchase_id BIGINT UNSIGNED NOT NULL,
  item_id     BIGINT UNSIGNED NOT NULL,
  buyer_id    BIGINT UNSIGNED NOT NULL,
  seller_id   BIGINT UNSIGNED NOT NULL,
  name        VARCHAR(32)     NOT NULL, -- of the item, when it was purchased
  quantity    INT UNSIGNED    NOT NULL,
  price_cents INT UNSIGNED    NOT NULL, -- of one unit, when it was purchased
  PRIMARY KEY (purchase_id, item_id), -- get_buyer_purchases
  KEY by_buyer (buyer_id, item_id),   -- provide_feedback
  KEY by_seller (seller_id, purchase_id, item_id) -- get_seller_sales
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS feedback (
  buyer_id BIGINT UNSIGNED NOT NULL,
  item_id  BIGINT UNSIGNED NOT NULL,
  vote     ENUM('up', 'down') NOT NULL,
  PRIMARY KEY (buyer_id, item_id)     -- provide_feedback
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- The scores are sums over purchase_line and feedback, moved in the
-- transactions that write those.

CREATE TABLE IF NOT EXISTS seller_score (
  seller_id   BIGINT UNSIGNED NOT NULL,
  thumbs_up   INT UNSIGNED    NOT NULL DEFAULT 0,
  thumbs_down INT UNSIGNED    NOT NULL DEFAULT 0,
  items_sold  BIGINT UNSIGNED NOT NULL DEFAULT 0, -- units
  sales_cents BIGINT UNSIGNED NOT NULL DEFAULT 0, -- what they were sold for
  PRIMARY KEY (seller_id)           -- get_seller_rating, get_seller_sales; no row means zeros
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS buyer_score (
  buyer_id        BIGINT UNSIGNED NOT NULL,
  items_purchased BIGINT UNSIGNED NOT NULL, -- units
  PRIMARY KEY (buyer_id)            -- get_buyer_purchases; no row means zero
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- No locks, no caches: nobody can hold them, and a restart leaves no gap. Up to the largest number that JSON is sure of.
CREATE SEQUENCE IF NOT EXISTS item_id MAXVALUE 9007199254740991 NOCACHE;     -- register_item_for_sale
CREATE SEQUENCE IF NOT EXISTS purchase_id MAXVALUE 9007199254740991 NOCACHE; -- make_purchase

CREATE TABLE IF NOT EXISTS idempotency (
  role            ENUM('seller', 'buyer') NOT NULL,
  account_id      BIGINT UNSIGNED NOT NULL,
  idempotency_key VARCHAR(64)     NOT NULL,
  fingerprint     CHAR(43) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- base64url of the call's SHA-256
  answer          TEXT            NOT NULL, -- the result, as JSON
  created_at      BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (role, account_id, idempotency_key), -- every keyed write
  KEY by_age (created_at)                          -- sweeping
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

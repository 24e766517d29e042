-- Version 1, the tables of souk 0.1.0, becomes version 2: items know their
-- sellers' names, and purchase lines their items' and sellers'. The names of
-- sellers are in the other database: src/db/migrations.ts fills them in.
-- Sessions are found by account.

-- database: customer

CREATE TABLE IF NOT EXISTS schema_version (
  part       ENUM('customer', 'product') NOT NULL,
  version    INT UNSIGNED    NOT NULL,
  applied_at BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (part, version)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

ALTER TABLE session ADD KEY IF NOT EXISTS by_account (account_id);

-- database: product

CREATE TABLE IF NOT EXISTS schema_version (
  part       ENUM('customer', 'product') NOT NULL,
  version    INT UNSIGNED    NOT NULL,
  applied_at BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (part, version)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

ALTER TABLE item ADD COLUMN IF NOT EXISTS seller_name VARCHAR(32) NOT NULL AFTER seller_id;

ALTER TABLE item_keyword MODIFY COLUMN keyword VARCHAR(24) NOT NULL;

ALTER TABLE purchase_line
  ADD COLUMN IF NOT EXISTS seller_id BIGINT UNSIGNED NOT NULL AFTER buyer_id,
  ADD COLUMN IF NOT EXISTS name VARCHAR(32) NOT NULL AFTER seller_id,
  ADD KEY IF NOT EXISTS by_seller (seller_id, purchase_id, item_id);

UPDATE purchase_line JOIN item ON item.id = item_id
  SET purchase_line.seller_id = item.seller_id, purchase_line.name = item.name;

ALTER TABLE seller_score ADD COLUMN IF NOT EXISTS sales_cents BIGINT UNSIGNED NOT NULL DEFAULT 0;

-- No more than a number in JSON can be.
UPDATE seller_score SET sales_cents = LEAST(9007199254740991, COALESCE(
  (SELECT SUM(quantity * price_cents) FROM purchase_line WHERE purchase_line.seller_id = seller_score.seller_id), 0));

-- Version 2 becomes version 3: guesses of passwords are counted. Ids come from
-- sequences; src/db/migrations.ts makes them go on where the table id_block
-- stood, and drops that.

-- database: customer

CREATE TABLE IF NOT EXISTS password_guess (
  key_hash   CHAR(43) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  free_at    BIGINT UNSIGNED NOT NULL,
  expires_at BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (key_hash),
  KEY by_expiry (expires_at)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- database: product

CREATE SEQUENCE IF NOT EXISTS item_id MAXVALUE 9007199254740991 NOCACHE;
CREATE SEQUENCE IF NOT EXISTS purchase_id MAXVALUE 9007199254740991 NOCACHE;

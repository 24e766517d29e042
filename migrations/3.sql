-- Version 2 becomes version 3: ids come from sequences. src/db/migrations.ts
-- makes them go on where the table id_block stood, and drops that.

-- database: product

CREATE SEQUENCE IF NOT EXISTS item_id MAXVALUE 9007199254740991 NOCACHE;
CREATE SEQUENCE IF NOT EXISTS purchase_id MAXVALUE 9007199254740991 NOCACHE;

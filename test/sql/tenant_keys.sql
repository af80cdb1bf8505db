-- Keys that begin with the tenant: unique keys no longer tell of others' values,
-- foreign keys cannot point at others' rows.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/tenant.sql'
\i :include

CREATE FUNCTION t.keys(OUT "table" regclass, OUT name name, OUT definition text)
RETURNS SETOF record LANGUAGE sql AS $$
    SELECT conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint
     WHERE connamespace = 't'::regnamespace AND contype IN ('p', 'u', 'f', 'x') AND conparentid = 0
    UNION ALL
    SELECT i.indrelid::regclass, c.relname, pg_get_indexdef(i.indexrelid)
      FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
     WHERE c.relnamespace = 't'::regnamespace AND i.indisunique AND NOT c.relispartition
       AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid AND contype IN ('p', 'u'))
     ORDER BY 1, 2
$$;

CREATE TABLE customer (id int PRIMARY KEY, tenant_id int NOT NULL, email text,
    referrer int REFERENCES customer ON DELETE SET NULL, CONSTRAINT email UNIQUE (email) DEFERRABLE);
COMMENT ON CONSTRAINT email ON customer IS 'one account each';
CREATE UNIQUE INDEX "lower (email)" ON customer (lower(email) text_pattern_ops DESC) INCLUDE (id) WHERE id > 0;
CREATE TABLE "Odd (T" (id int, tenant_id int NOT NULL, customer int, note text,
    PRIMARY KEY (id) INCLUDE (note),
    CONSTRAINT "to (customer)" FOREIGN KEY (customer) REFERENCES customer ON UPDATE CASCADE ON DELETE SET DEFAULT
        DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE country (code text PRIMARY KEY);
ALTER TABLE customer ADD country text REFERENCES country;
CREATE TABLE event (id int, day date, tenant_id int NOT NULL, customer int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
ALTER TABLE event ADD CONSTRAINT event_customer FOREIGN KEY (customer) REFERENCES customer MATCH FULL;
CREATE TABLE late (tenant_id int NOT NULL, customer int);
ALTER TABLE late ADD CONSTRAINT late_customer FOREIGN KEY (customer) REFERENCES customer NOT VALID;
INSERT INTO customer VALUES (1, 1, 'a@x', NULL), (2, 1, 'b@x', 1), (3, 2, 'c@x', NULL);
INSERT INTO "Odd (T" VALUES (1, 1, 2, 'n');
INSERT INTO event VALUES (1, '2026-05-05', 1, 2);
ALTER TABLE customer REPLICA IDENTITY USING INDEX customer_pkey;
SELECT * FROM t.keys();

-- Any order will do: what cannot be turned over yet stays, and is named.
SELECT FROM dbpatterns.tenant_enable('customer');
SELECT * FROM dbpatterns.tenant_enable('customer', fix_keys => true);
SELECT FROM dbpatterns.tenant_enable('"Odd (T"', fix_keys => true);
SELECT * FROM t.keys();
SELECT FROM dbpatterns.tenant_enable('event', fix_keys => true);
SELECT FROM dbpatterns.tenant_enable('late', fix_keys => true);
SELECT * FROM t.keys();
SELECT * FROM dbpatterns.tenant_enable('customer', fix_keys => true);
SELECT obj_description(oid, 'pg_constraint') FROM pg_constraint WHERE conname = 'email';
SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indisreplident;

-- They do what they did, inside a tenant.
INSERT INTO customer VALUES (4, 2, 'a@x', NULL);
INSERT INTO customer VALUES (5, 1, 'a@x', NULL);
INSERT INTO customer VALUES (5, 2, NULL, 1);
INSERT INTO event VALUES (2, '2026-05-06', 2, 2);
BEGIN;
DELETE FROM event;
UPDATE customer SET referrer = NULL WHERE id = 2;
UPDATE customer SET id = 20 WHERE id = 2;
SELECT * FROM "Odd (T";
UPDATE customer SET referrer = 20 WHERE id = 1;
DELETE FROM customer WHERE id = 20;
SELECT * FROM "Odd (T";
SELECT id, tenant_id, referrer FROM customer ORDER BY id;
ROLLBACK;

-- What cannot be: it is said, and nothing is half done.
CREATE TABLE a (tenant_id int NOT NULL, x int, y int, UNIQUE (x, y));
CREATE TABLE b (tenant_id int NOT NULL, x int, y int, FOREIGN KEY (x, y) REFERENCES a (x, y) MATCH FULL);
CREATE TABLE c (tenant_id int NOT NULL, x int, y int, FOREIGN KEY (x, y) REFERENCES a (x, y) ON UPDATE SET NULL,
                EXCLUDE USING btree (x WITH =));
SELECT FROM dbpatterns.tenant_enable('a', fix_keys => true);
SELECT FROM dbpatterns.tenant_enable('b', fix_keys => true);
SELECT relrowsecurity FROM pg_class WHERE oid = 'b'::regclass;
SELECT FROM dbpatterns.tenant_enable('c', fix_keys => true);
ALTER TABLE c DROP CONSTRAINT c_x_y_fkey;
SELECT FROM dbpatterns.tenant_enable('c', fix_keys => true);

-- A whole schema at once.
CREATE SCHEMA t2;
CREATE TABLE t2.a (id int PRIMARY KEY, tenant_id int NOT NULL);
CREATE TABLE t2.b (id int PRIMARY KEY, tenant_id int NOT NULL, a int NOT NULL REFERENCES t2.a);
CREATE TABLE t2.shared (code text);
SELECT FROM dbpatterns.tenant_enable_schema('t2', fix_keys => true);
SELECT * FROM dbpatterns.tenant_enable_schema('t2', '{t2.shared}', fix_keys => true, dry_run => true);
SELECT FROM dbpatterns.tenant_enable_schema('t2', '{t2.shared}', fix_keys => true);
SELECT conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint
 WHERE connamespace = 't2'::regnamespace AND contype IN ('p', 'u', 'f') ORDER BY 1, 2;
SELECT target, state, reason FROM dbpatterns.tenant_status WHERE target::text LIKE 't2.%' ORDER BY 1;
SELECT dbpatterns.tenant_enable_schema('nowhere');
SELECT dbpatterns.tenant_enable_schema(NULL);
SET ROLE regress_dbp_app;
SELECT dbpatterns.tenant_enable_schema('t2');
RESET ROLE;
SET client_min_messages = warning;
DROP SCHEMA t2 CASCADE;
:finish

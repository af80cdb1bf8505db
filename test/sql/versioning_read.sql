-- Reading the past, and going back to it.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/versioning.sql'
\i :include
SET search_path = past, dbpatterns, public;
CREATE SCHEMA past;
CREATE TABLE customer (id int PRIMARY KEY, name text NOT NULL, email text UNIQUE);
CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customer, total int, note text, cents int GENERATED ALWAYS AS (total * 100) STORED);
SELECT versioning_enable('customer');
SELECT versioning_enable('orders', exclude => '{note}');
SELECT set_system_time('2020-01-01');
INSERT INTO customer VALUES (1, 'Ann', 'ann@x'), (2, 'Bob', 'bob@x');
INSERT INTO orders VALUES (10, 1, 100, 'n'), (11, 2, 200, 'n');
SELECT set_system_time('2020-02-01');
UPDATE customer SET name = 'Anna' WHERE id = 1;
UPDATE orders SET total = 110 WHERE id = 10;
SELECT set_system_time('2020-03-01');
DELETE FROM orders WHERE id = 11;
DELETE FROM customer WHERE id = 2;
SELECT set_system_time('2020-04-01');
INSERT INTO customer VALUES (2, 'Bert', 'bert@x');

-- A time includes its beginning and excludes its end.
SELECT id, name FROM customer__as_of('2020-01-31 23:59:59.999999') ORDER BY 1;
SELECT id, name FROM customer__as_of('2020-02-01') ORDER BY 1;
SELECT id, name FROM customer__as_of('2019-12-31') ORDER BY 1;
SELECT id, name FROM customer__as_of('2020-03-01') ORDER BY 1;
SELECT id, name FROM customer__as_of(NULL) ORDER BY 1;
SELECT id, name FROM customer__as_of('infinity') ORDER BY 1;
SELECT id, name, sys_period FROM customer__between('2020-01-15', '2020-02-01') ORDER BY 1, 3;
SELECT id, name, sys_period FROM customer__between('2020-02-01', '2020-03-01') ORDER BY 1, 3;
SELECT id, name, sys_period FROM customer__versions() ORDER BY 1, 3;
SELECT id, total, note, cents FROM orders__as_of('2020-01-15') ORDER BY 1;

-- In joins, CTEs, prepared plans and parallel workers.
SELECT c.name, o.total FROM customer__as_of('2020-01-15') c JOIN orders__as_of('2020-01-15') o ON o.customer = c.id ORDER BY 1;
WITH c AS (SELECT * FROM customer__as_of('2020-02-15')) SELECT name FROM c WHERE id = 1;
PREPARE at (timestamptz) AS SELECT name FROM customer__as_of($1) WHERE id = 1;
EXECUTE at ('2020-01-15');
SET plan_cache_mode = force_generic_plan;
EXECUTE at ('2020-01-15');
EXECUTE at ('2020-02-15');
RESET plan_cache_mode;
-- The condition reaches an index of both tables.
CREATE FUNCTION plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line_ text;
BEGIN
    FOR line_ IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
        IF line_ ~ 'Scan' THEN RETURN NEXT regexp_replace(trim(line_), '^->  ', ''); END IF;
    END LOOP;
END $$;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT plan('SELECT * FROM customer__as_of(''2020-01-15'') WHERE id = 1');
SELECT plan('SELECT * FROM customer__between(''2020-01-15'', now()) WHERE id = 1');
SELECT plan('SELECT * FROM customer__versions() WHERE id = 1');
RESET enable_seqscan;
RESET enable_bitmapscan;
CREATE TABLE big (id int PRIMARY KEY, v int);
SELECT versioning_enable('big');
INSERT INTO big SELECT g, 1 FROM generate_series(1, 5000) g;
SELECT set_system_time('2020-05-01');
UPDATE big SET v = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT count(*) > 0 AS parallel FROM plan('SELECT sum(v) FROM big__as_of(''2020-04-15'')') p WHERE p ~ 'Parallel';
SELECT sum(v) FROM big__as_of('2020-04-15');
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;

-- A whole session goes back: unchanged queries, with joins.
SELECT versioning_views('then', '{customer,orders}');
SET search_path = "then", past, dbpatterns;
SET dbpatterns.as_of = '2020-01-15';
SELECT c.name, o.total FROM customer c JOIN orders o ON o.customer = c.id ORDER BY 1;
PREPARE joined AS SELECT c.name, o.total FROM customer c LEFT JOIN orders o ON o.customer = c.id ORDER BY 1;
EXECUTE joined;
SET dbpatterns.as_of = '2020-04-15';
EXECUTE joined;
SELECT as_of();
-- Nothing can be changed meanwhile, neither here nor in the present.
\set VERBOSITY terse
UPDATE customer SET name = 'x';
INSERT INTO past.customer VALUES (3, 'x', 'x');
UPDATE past.customer SET name = 'x';
DELETE FROM past.orders;
TRUNCATE past.orders;
\set VERBOSITY default
BEGIN;
SET LOCAL dbpatterns.as_of = '2020-02-15';
EXECUTE joined;
COMMIT;
EXECUTE joined;
RESET dbpatterns.as_of;
SELECT as_of();
EXECUTE joined;
SET dbpatterns.as_of = 'no time';
-- Views that are there get new columns; others cannot be in the way.
ALTER TABLE past.customer ADD COLUMN phone text;
SELECT versioning_views('then', '{past.customer}');
SELECT phone FROM customer;
CREATE TABLE past.plain (id int);
SELECT versioning_views('then', '{past.plain}');
SELECT versioning_views('then', '{past.customer, NULL}');
SELECT versioning_views(NULL);
CREATE TABLE "then".big (id int);
SELECT versioning_views('then');
SET search_path = past, dbpatterns, public;

-- The history of one row.
SELECT * FROM row_history('customer', '{"id": 1}');
SELECT * FROM row_history('customer', '{"id": 2}');
SELECT * FROM row_history('customer', '{"id": 3}');
SELECT period, op, "row" FROM row_history('orders', '{"id": 10}');
SELECT * FROM row_history('customer', '{"name": "Ann"}');
SELECT * FROM row_history('customer', '{"id": null}');
SELECT * FROM row_history('customer', '[1]');
SELECT * FROM row_history('customer', NULL);
SELECT * FROM row_history('plain', '{"id": 1}');
-- A changed key begins another history: what was before is found under the old one.
SELECT set_system_time('2020-06-01');
INSERT INTO customer VALUES (4, 'Moved', 'm@x');
SELECT set_system_time('2020-06-02');
UPDATE customer SET id = 5 WHERE id = 4;
SELECT period, op FROM row_history('customer', '{"id": 4}');
SELECT period, op FROM row_history('customer', '{"id": 5}');

-- Going back with one row: it is changed, or comes back, and that is a version.
SELECT set_system_time('2020-07-01');
SELECT restore_as_of('customer', '{"id": 1}', '2020-01-15');
SELECT restore_as_of('orders', '{"id": 11}', '2020-01-15');
SELECT restore_as_of('customer', '{"id": 2}', '2020-01-15');
SELECT restore_as_of('orders', '{"id": 11}', '2020-01-15');
SELECT restore_as_of('orders', '{"id": 11}', '2020-03-15');
SELECT * FROM customer ORDER BY id;
SELECT * FROM orders ORDER BY id;
SELECT period, op, changed FROM row_history('customer', '{"id": 1}');
-- A value that is taken by now.
SELECT set_system_time('2020-08-01');
UPDATE customer SET email = 'else@x' WHERE id = 1;
INSERT INTO customer VALUES (6, 'Squatter', 'ann@x');
SELECT restore_as_of('customer', '{"id": 1}', '2020-01-15');
SELECT restore_as_of('customer', '{"id": 1}', NULL);
SELECT email FROM customer WHERE id = 1;

-- Columns with the names that our queries use.
CREATE TABLE names (k int PRIMARY KEY, x int, v int, r int, p int, b int, h int);
SELECT versioning_enable('names');
INSERT INTO names VALUES (1, 1);
SELECT set_system_time('2020-08-15');
UPDATE names SET x = 2;
SELECT op, "row", changed FROM row_history('names', '{"k": 1}');
SELECT restore_as_of('names', '{"k": 1}', '2020-08-10');
SELECT history_erase('names', '{"k": 1}', 'test');

-- Identity columns, and a key of several columns with its own operators.
CREATE TABLE multi ("A b" int, c bpchar(5), d int GENERATED ALWAYS AS IDENTITY, v int, PRIMARY KEY (c, "A b"));
SELECT versioning_enable('multi');
INSERT INTO multi VALUES (1, 'x', DEFAULT, 1);
SELECT set_system_time('2020-09-01');
DELETE FROM multi;
SELECT restore_as_of('multi', '{"A b": 1, "c": "x    "}', '2020-08-15');
SELECT "A b", c, d, v FROM multi;
SELECT period, op FROM row_history('multi', '{"c": "x", "A b": 1}');
SELECT set_system_time(NULL);
DROP SCHEMA past CASCADE;
DROP SCHEMA "then" CASCADE;

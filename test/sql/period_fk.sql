-- Foreign keys between tables with periods.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/versioning.sql'
\i :include
\set VERBOSITY terse
CREATE SCHEMA fk;
CREATE EXTENSION IF NOT EXISTS btree_gist SCHEMA fk;
SET search_path = fk, dbpatterns, public;
CREATE TABLE product (id int, valid daterange, name text);
SELECT period_enable('product', '{id}', 'valid');
CREATE TABLE price (id serial PRIMARY KEY, product int DEFAULT 99, valid daterange, amount int, twice int GENERATED ALWAYS AS (amount * 2) STORED);
SELECT period_enable('price', '{amount}', 'valid');

-- What is there must be covered.
INSERT INTO price (product, valid, amount) VALUES (1, '[2020-01-01,2020-02-01)', 1);
SELECT period_foreign_key('price', '{product}', 'product');
INSERT INTO product VALUES (1, '[2020-01-01,2020-07-01)', 'lamp'), (1, '[2020-07-01,2021-01-01)', 'lamp II'), (1, '[2022-01-01,)', 'lamp III');
SELECT period_foreign_key('price', '{product}', 'product');
SELECT period_foreign_key('price', '{product}', 'product');
SELECT child, constraint_name, parent, argument FROM _dbpatterns.period_foreign_key;

-- A child may need several parents; a gap is not covered; NULL refers to nothing.
INSERT INTO price (product, valid, amount) VALUES (1, '[2020-06-01,2020-08-01)', 2);
INSERT INTO price (product, valid, amount) VALUES (1, '[2020-12-01,2021-02-01)', 3);
INSERT INTO price (product, valid, amount) VALUES (1, '[2020-12-01,2022-02-01)', 3);
INSERT INTO price (product, valid, amount) VALUES (1, '[2022-06-01,)', 4);
INSERT INTO price (product, valid, amount) VALUES (2, '[2020-01-01,2020-02-01)', 5);
INSERT INTO price (product, valid, amount) VALUES (NULL, '[1999-01-01,2000-02-01)', 6);
UPDATE price SET valid = '[2020-06-01,2021-06-01)' WHERE amount = 2;
UPDATE price SET product = 2 WHERE amount = 2;
UPDATE price SET valid = '[2020-06-15,2020-08-01)', amount = 20 WHERE amount = 2;

-- No needed part of a parent may go; others may, and parts may be replaced.
DELETE FROM product WHERE name = 'lamp II';
UPDATE product SET valid = '[2020-01-01,2020-06-20)' WHERE name = 'lamp';
UPDATE product SET id = 7 WHERE name = 'lamp III';
UPDATE product SET valid = '[2020-07-01,2020-08-01)' WHERE name = 'lamp II';
UPDATE product SET valid = '[2020-01-01,2020-07-01)', name = 'lamp 1' WHERE name = 'lamp';
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
DELETE FROM product WHERE name = 'lamp II';
INSERT INTO product VALUES (1, '[2020-07-01,2020-09-01)', 'lamp IV');
COMMIT;
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
INSERT INTO price (product, valid, amount) VALUES (3, '[2020-06-01,2020-08-01)', 7);
INSERT INTO price (product, valid, amount) VALUES (3, '[2020-06-01,2020-08-01)', 8);
DELETE FROM price WHERE amount = 8;
INSERT INTO product VALUES (3, '[2020-01-01,)', 'desk');
COMMIT;
TRUNCATE product;
SELECT id, product, valid, amount, twice FROM price ORDER BY amount;
-- A statement that moves a boundary: both rows at once.
UPDATE product SET valid = CASE name WHEN 'lamp 1' THEN daterange('2020-01-01', '2020-07-10') ELSE daterange('2020-07-10', '2020-09-01') END
 WHERE name IN ('lamp 1', 'lamp IV');
SELECT period_disable('product');
SELECT period_foreign_key_drop('price', 'nothing');
SELECT period_foreign_key_drop('price', 'price_product_period_fkey');
DELETE FROM product WHERE name = 'desk';
INSERT INTO product VALUES (3, '[2020-01-01,)', 'desk');

-- CASCADE: children are trimmed to what is left, and go if nothing is; copies get keys of
-- their own; a new key goes on.
SELECT period_foreign_key('price', '{product}', 'product', on_delete => 'CASCADE', on_update => 'cascade', constraint_name => 'follows');
TRUNCATE price, product RESTART IDENTITY;
INSERT INTO product VALUES (1, '[2020-01-01,2020-05-01)', 'a'), (1, '[2020-05-01,2020-06-01)', 'b'), (1, '[2020-06-01,2021-01-01)', 'c');
INSERT INTO price (product, valid, amount) VALUES (1, '[2020-01-01,2021-01-01)', 1), (1, '[2020-05-10,2020-05-20)', 2), (1, '[2020-04-01,2020-05-10)', 3), (NULL, '[2020-01-01,2021-01-01)', 4);
DELETE FROM product WHERE name = 'b';
SELECT id, product, valid, amount, twice FROM price ORDER BY amount, valid;
UPDATE product SET valid = '[2020-02-01,2020-03-01)' WHERE name = 'a';
SELECT id, product, valid, amount FROM price ORDER BY amount, valid;
UPDATE product SET id = 2, valid = '[2020-07-01,2020-08-01)' WHERE name = 'c';
SELECT id, product, valid, amount FROM price ORDER BY amount, valid;
SELECT period_foreign_key_drop('price', 'follows');

-- SET NULL and SET DEFAULT: for the part that is lost.
TRUNCATE price, product RESTART IDENTITY;
INSERT INTO product VALUES (1, '[2020-01-01,2021-01-01)', 'a'), (99, '(,)', 'none'), (2, '[2020-01-01,2021-01-01)', 'b');
INSERT INTO price (product, valid, amount) VALUES (1, '[2020-02-01,2020-10-01)', 1), (2, '[2020-02-01,2020-10-01)', 2);
SELECT period_foreign_key('price', '{product}', 'product', on_delete => 'set default', on_update => 'set null', constraint_name => 'loses');
UPDATE product SET valid = '[2020-05-01,2020-06-01)' WHERE id = 1;
DELETE FROM product WHERE id = 2;
SELECT id, product, valid, amount FROM price ORDER BY amount, valid;
SELECT period_foreign_key_drop('price', 'loses');

-- RESTRICT: even if the part is replaced at once.
TRUNCATE price, product RESTART IDENTITY;
INSERT INTO product VALUES (1, '[2020-01-01,2021-01-01)', 'a');
INSERT INTO price (product, valid, amount) VALUES (1, '[2020-02-01,2020-10-01)', 1);
SELECT period_foreign_key('price', '{product}', 'product', on_delete => 'restrict', on_update => 'restrict', constraint_name => 'strict');
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
UPDATE product SET valid = '[2020-03-01,2021-01-01)';
ROLLBACK;
UPDATE product SET valid = '[2020-02-01,2020-11-01)', name = 'b';
DELETE FROM product;

-- Renames are followed; what the foreign key needs is not taken away.
ALTER TABLE product RENAME COLUMN id TO number;
ALTER TABLE product RENAME TO article;
ALTER TABLE price RENAME COLUMN product TO article;
DELETE FROM article;
INSERT INTO price (article, valid, amount) VALUES (2, '[2020-02-01,2020-10-01)', 1);
SELECT parent, argument FROM _dbpatterns.period_foreign_key;
DROP TABLE article;
INSERT INTO price (article, valid, amount) VALUES (2, '[2020-02-01,2020-10-01)', 2);
SELECT count(*) FROM _dbpatterns.period_foreign_key;

-- Two columns for a period, keys of several columns, a table that refers to itself.
CREATE TABLE staff (org int, nr int, f date, t date, boss int);
SELECT period_enable('staff', '{org,nr}', from_column => 'f', to_column => 't');
SELECT period_foreign_key('staff', '{org,boss}', 'staff', on_delete => 'cascade', on_update => 'cascade');
INSERT INTO staff VALUES (1, 1, '2020-01-01', NULL, NULL);
INSERT INTO staff VALUES (1, 2, '2020-01-01', '2021-01-01', 1);
INSERT INTO staff VALUES (1, 3, '2020-06-01', NULL, 2);
INSERT INTO staff VALUES (1, 3, '2020-06-01', '2020-12-01', 2), (1, 4, '2020-07-01', '2020-08-01', 3), (2, 1, '2020-01-01', 'infinity', NULL);
UPDATE staff SET t = '2020-07-15' WHERE nr = 1 AND org = 1;
SELECT * FROM staff ORDER BY org, nr, f;
DELETE FROM staff WHERE nr = 1 AND org = 1;
SELECT * FROM staff ORDER BY org, nr, f;

-- Versioned tables: a cascade makes versions.
CREATE TABLE a (id int, valid tstzrange);
CREATE TABLE b (id int, a int, valid tstzrange);
SELECT period_enable('a', '{id}', 'valid');
SELECT period_enable('b', '{id}', 'valid');
SELECT versioning_enable('a');
SELECT versioning_enable('b');
SELECT period_foreign_key('b', '{a}', 'a', on_delete => 'cascade');
INSERT INTO a VALUES (1, '[2020-01-01,2021-01-01)'), (1, '[2021-01-01,2022-01-01]');
INSERT INTO b VALUES (1, 1, '[2020-06-01,2021-06-01)');
SELECT id, a, valid FROM b__bitemporal('2020-07-01', 'infinity');
DELETE FROM a WHERE valid @> '2020-07-01'::timestamptz;
SELECT id, a, valid FROM b;
SELECT count(*) FROM b_history;

-- Refused.
CREATE TABLE plain (id int, valid daterange);
CREATE TABLE other (id int, x text, valid int4range);
SELECT period_enable('other', '{id}', 'valid');
SELECT period_foreign_key('plain', '{id}', 'a');
SELECT period_foreign_key('price', '{article}', 'plain');
SELECT period_foreign_key('price', '{article}', 'other');
SELECT period_foreign_key('other', '{x}', 'other');
SELECT period_foreign_key('staff', '{boss}', 'staff', '{nr}');
SELECT period_foreign_key('staff', '{org,boss}', 'staff', '{org,t}');
SELECT period_foreign_key('other', '{none}', 'other');
SELECT period_foreign_key('other', '{}', 'other');
SELECT period_foreign_key('other', '{id}', 'other', on_delete => 'explode');
SELECT period_foreign_key(NULL, '{id}', 'other');
SELECT period_foreign_key('other', NULL, 'other');
SELECT period_foreign_key('other', '{id}', NULL);
CREATE TRIGGER wrong BEFORE INSERT ON plain FOR EACH ROW EXECUTE FUNCTION period_foreign_trigger('{}');
INSERT INTO plain VALUES (1, '[2020-01-01,)');
DROP SCHEMA fk CASCADE;

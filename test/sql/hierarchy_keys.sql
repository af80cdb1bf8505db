-- Keys of any type, equal when their type says so, and keys that change: alone,
-- by cascades, by swaps, in parts; keys with a tenant in front.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/hierarchy.sql'
\i :include

-- A key changes and the foreign key takes the children along.
CREATE TABLE node (id int PRIMARY KEY, parent_id int REFERENCES node ON UPDATE CASCADE, name text);
CREATE INDEX ON node (parent_id);
INSERT INTO node SELECT i, nullif(i / 2, 0) FROM generate_series(1, 15) i;
SELECT dbpatterns.closure_enable('node', 'parent_id');
SELECT watch('node', '{parent_id}');
UPDATE node SET id = 20 WHERE id = 2;
:same
UPDATE node SET id = 70 WHERE id = 7;
:same
UPDATE node SET id = 150 WHERE id = 15;
:same
UPDATE node SET id = 10 + 90 WHERE id = 1;
:same
SELECT * FROM below('node_closure');
-- Several, among them parent and child; all; back.
UPDATE node SET id = id + 200 WHERE id IN (100, 20, 4, 8);
:same
UPDATE node SET id = id + 1000;
:same
UPDATE node SET id = CASE WHEN id > 1200 THEN id - 1200 ELSE id - 1000 END;
:same
-- A key and a parent at once: of one row, of a row and of its child.
UPDATE node SET id = 30, parent_id = 20 WHERE id = 3;
:same
UPDATE node SET id = id + 5000, parent_id = CASE id WHEN 4 THEN 100 ELSE parent_id END WHERE id IN (4, 9);
:same
UPDATE node SET id = 6000, parent_id = NULL WHERE id = 6;
:same
SELECT refused('UPDATE node SET id = 7000, parent_id = 11 WHERE id = 20');
SELECT refused('UPDATE node SET id = 7000, parent_id = 7000 WHERE id = 20');
:same
-- A key is given to another row in the same statement.
BEGIN;
DELETE FROM node WHERE id = 12;
WITH x AS (UPDATE node SET id = 12 WHERE id = 13) UPDATE node SET name = 'x' WHERE id = 6000;
:same
ROLLBACK;
:same
-- Key change, then a move, then another key change in one transaction.
BEGIN;
UPDATE node SET id = 1 WHERE id = 100;
SAVEPOINT s;
UPDATE node SET parent_id = 11 WHERE id = 6000;
UPDATE node SET id = 6 WHERE id = 6000;
:same
ROLLBACK TO s;
:same
UPDATE node SET id = 6 WHERE id = 6000;
:same
COMMIT;
:same

-- No foreign key: the children of a key that changes are orphans, until a row
-- gets the key, by INSERT or by UPDATE.
CREATE TABLE soft (id int PRIMARY KEY, parent_id int);
INSERT INTO soft VALUES (1, NULL), (2, 1), (3, 2), (4, 2), (5, 4);
SELECT dbpatterns.closure_enable('soft', 'parent_id');
SELECT watch('soft', '{parent_id}');
UPDATE soft SET id = 20 WHERE id = 2;
:same
SELECT * FROM below('soft_closure');
SELECT refused('UPDATE soft SET id = 2 WHERE id = 5');
INSERT INTO soft VALUES (8, 20);
UPDATE soft SET id = 2 WHERE id = 8;
:same
UPDATE soft SET id = 6, parent_id = 20 WHERE id = 2;
:same
INSERT INTO soft VALUES (2, 20);
:same
SELECT * FROM below('soft_closure');
SELECT refused('UPDATE soft SET id = 2 WHERE id = 3');
UPDATE soft SET id = 7 WHERE id = 2;
-- The row that gets the key of the parent is below the orphan.
UPDATE soft SET parent_id = 4 WHERE id = 6;
SELECT refused('UPDATE soft SET id = 2 WHERE id = 6');
:same

-- Two keys are swapped, which needs a deferrable unique constraint.
CREATE TABLE swap (id int PRIMARY KEY DEFERRABLE, parent_id int);
INSERT INTO swap VALUES (1, NULL), (2, 1), (3, 2), (4, 3), (5, NULL), (6, 5);
SELECT dbpatterns.closure_enable('swap', 'parent_id', key => '{id}');
SELECT watch('swap', '{parent_id}');
UPDATE swap SET id = 6 - id WHERE id IN (1, 5);
:same
UPDATE swap SET id = id % 6 + 1, parent_id = parent_id % 6 + 1;
:same
SELECT * FROM below('swap_closure');
UPDATE swap SET id = CASE id WHEN 3 THEN 4 ELSE 3 END, parent_id = CASE id WHEN 3 THEN parent_id END WHERE id IN (3, 4);
:same
SELECT refused('UPDATE swap SET id = 9 - id WHERE id IN (4, 5)');
:same

-- Keys of other types.
CREATE FUNCTION keys(type text, source text, option text DEFAULT '') RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    k text[];
BEGIN
    EXECUTE format('CREATE TABLE t.keyed (id %1$s %3$s PRIMARY KEY, parent_id %1$s %3$s)', type, source, option);
    PERFORM dbpatterns.closure_enable('t.keyed', 'parent_id');
    PERFORM t.watch('t.keyed', '{parent_id}');
    EXECUTE format('SELECT array_agg((%s)::%s::text ORDER BY i) FROM generate_series(1, 20) i', source, type) INTO k;
    FOR i IN REVERSE 20..8 LOOP
        EXECUTE format('INSERT INTO t.keyed VALUES (%L, %L)', k[i], k[i / 2]);
        PERFORM t.same();
    END LOOP;
    EXECUTE format('INSERT INTO t.keyed SELECT ($1[i])::%1$s, ($1[i / 2])::%1$s FROM generate_series(1, 7) i', type) USING k;
    PERFORM t.same();
    EXECUTE format('UPDATE t.keyed SET parent_id = CASE id WHEN %1$L THEN %2$L WHEN %2$L THEN %3$L WHEN %4$L THEN NULL END::%5$s'
        ' WHERE id IN (%1$L, %2$L, %4$L)', k[3], k[6], k[1], k[10], type);
    PERFORM t.same();
    BEGIN
        EXECUTE format('UPDATE t.keyed SET parent_id = %L WHERE id = %L', k[15], k[3]);
        RAISE WARNING '%: a cycle is accepted', type;
    EXCEPTION WHEN check_violation THEN
        RAISE NOTICE '%: %', type, sqlstate;
    END;
    EXECUTE format('UPDATE t.keyed SET parent_id = NULL WHERE id IN (%L, %L)', k[5], k[20]);
    EXECUTE format('DELETE FROM t.keyed WHERE id IN (%L, %L, %L)', k[2], k[9], k[10]);
    PERFORM t.same();
    DROP TABLE t.keyed;
END $$;
SELECT keys('smallint', 'i * 1000');
SELECT keys('bigint', '(1::bigint << 62) - i * 1000003');
SELECT keys('oid', '4294967296 - i * i');
SELECT keys('uuid', 'md5(i::text)');
SELECT keys('text', 'repeat(chr(100 - i), i * 50)');
SELECT keys('text', 'chr(100 - i)', 'COLLATE "C"');
SELECT keys('varchar(20)', E'\'\'\'\\ "\' || i');
SELECT keys('char(6)', 'i');
SELECT keys('name', E'\'x\' || i');
SELECT keys('bytea', E'sha256(i::text::bytea)');
SELECT keys('numeric', '(i - 10) / 3.0');
SELECT keys('float8', E'CASE i WHEN 3 THEN \'NaN\' WHEN 4 THEN \'-infinity\' ELSE i * 1e-300 END');

SELECT keys('date', E'date \'0001-01-01 BC\' + i * 1000');
SELECT keys('timestamptz', 'to_timestamp(i * 1e9)');
SELECT keys('interval', E'i * interval \'1 day\'');
SELECT keys('inet', E'inet \'10.0.0.0/8\' + i');
SELECT keys('int[]', 'ARRAY[i / 3, i]');
SELECT keys('int4range', 'int4range(i, i * 2)');
SELECT keys('jsonb', E'jsonb_build_object(\'i\', i)');
CREATE TYPE label AS ENUM ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r', 's', 't', 'u');
SELECT keys('t.label', 'chr(118 - i)');
CREATE DOMAIN code AS text CHECK (value <> '');
CREATE DOMAIN subcode AS code;
SELECT keys('t.subcode', E'\'code \' || i');
-- Types that cannot be keys: no order, no hash function.
SELECT refused($$SELECT keys('xid', 'i')$$);
SELECT refused($$SELECT keys('tsvector', 'i')$$);

-- Equal is what the type calls equal: numeric with another scale, text under a
-- collation that ignores case, citext, char with blanks.
CREATE TABLE num (id numeric PRIMARY KEY, parent_id numeric REFERENCES num);
SELECT dbpatterns.closure_enable('num', 'parent_id');
SELECT watch('num', '{parent_id}');
INSERT INTO num VALUES (3.00, 2.0), (2, 1.000), (1.0, NULL), (4, '3');
:same
SELECT * FROM below('num_closure');
UPDATE num SET parent_id = 1 WHERE id = '2.00000';
UPDATE num SET parent_id = 2 WHERE id = 4;
:same
SELECT refused('UPDATE num SET parent_id = 3.0 WHERE id = 1');
DELETE FROM num WHERE id IN (3, 4);
:same
CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE words (id text COLLATE ci PRIMARY KEY, parent_id text COLLATE ci REFERENCES words ON UPDATE CASCADE);
SELECT dbpatterns.closure_enable('words', 'parent_id');
SELECT watch('words', '{parent_id}');
INSERT INTO words VALUES ('dog', 'ANIMAL'), ('Animal', 'thing'), ('THING', NULL), ('poodle', 'Dog');
:same
SELECT * FROM below('words_closure');
SELECT refused($$UPDATE words SET parent_id = 'Poodle' WHERE id = 'animal'$$);
UPDATE words SET id = 'DOG' WHERE id = 'dog';
:same
UPDATE words SET id = 'hound' WHERE id = 'dog';
:same
UPDATE words SET parent_id = 'animal' WHERE id = 'POODLE';
DELETE FROM words WHERE id = 'Hound';
:same
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS citext SCHEMA public;
RESET client_min_messages;
CREATE TABLE tags (id public.citext PRIMARY KEY, parent_id public.citext);
SELECT dbpatterns.closure_enable('tags', 'parent_id');
SELECT watch('tags', '{parent_id}');
-- Without public in the search_path, for text output and operators alike.
SET search_path = pg_catalog;
INSERT INTO t.tags VALUES ('Dog', 'ANIMAL'), ('animal', 'Thing'), ('poodle', 'DOG');
INSERT INTO t.tags VALUES ('thing', NULL);
UPDATE t.tags SET parent_id = 'thing' WHERE id OPERATOR(public.=) 'poodle'::public.citext;
SET search_path = t, public;
:same
SELECT * FROM below('tags_closure');
SELECT refused($$UPDATE tags SET parent_id = 'DOG' WHERE id = 'thing'$$);
UPDATE tags SET id = 'ANIMAL' WHERE id = 'animal';
UPDATE tags SET parent_id = 'dog' WHERE id = 'Poodle';
:same
SET search_path = t;
DROP TABLE tags, tags_closure;
SET client_min_messages = warning;
DROP EXTENSION citext;
RESET client_min_messages;

-- The tenant is part of the key and of the foreign key.
CREATE TABLE unit (tenant int, id int, parent_id int, name text, PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, parent_id) REFERENCES unit ON UPDATE CASCADE);
SELECT dbpatterns.closure_enable('unit', '{tenant,parent_id}');
SELECT watch('unit', '{tenant,parent_id}', '{tenant,id}', nscope => 1);
INSERT INTO unit VALUES (1, 1, NULL), (1, 2, 1), (1, 3, 2), (2, 1, NULL), (2, 2, 1), (2, 3, 1), (3, 3, NULL);
:same
TABLE unit_closure ORDER BY 1, 2, 3;
UPDATE unit SET parent_id = 2 WHERE tenant = 2 AND id = 3;
UPDATE unit SET parent_id = CASE id WHEN 2 THEN 3 WHEN 3 THEN 1 END WHERE tenant = 1 AND id > 1;
:same
-- The same numbers in another tenant are other nodes: no cycle.
UPDATE unit SET parent_id = NULL WHERE id = 1;
INSERT INTO unit VALUES (3, 1, 3);
:same
SELECT refused('UPDATE unit SET parent_id = 2 WHERE id = 1');
SELECT refused('INSERT INTO unit VALUES (3, 4, 2)');
-- A node goes to another tenant: the cascade takes its children along; under a
-- parent it cannot go.
UPDATE unit SET tenant = 4 WHERE tenant = 1 AND id = 1;
:same
SELECT refused('UPDATE unit SET tenant = 4 WHERE tenant = 2 AND id = 3');
UPDATE unit SET tenant = 5, parent_id = NULL WHERE tenant = 2 AND id = 2;
:same
UPDATE unit SET id = id + 10;
:same
TABLE unit_closure ORDER BY 1, 2, 3;

-- The same without a foreign key.
CREATE TABLE loose (id int, tenant text, parent_id int, PRIMARY KEY (tenant, id));
SELECT dbpatterns.closure_enable('loose', '{tenant,parent_id}');
SELECT watch('loose', '{tenant,parent_id}', '{tenant,id}', nscope => 1);
INSERT INTO loose VALUES (3, 'a', 2), (2, 'a', 1), (3, 'b', 2), (1, 'a', NULL);
:same
INSERT INTO loose VALUES (2, 'b', 3), (1, 'b', 2);
INSERT INTO loose VALUES (2, 'b', NULL), (1, 'b', 2);
:same
-- The whole tree at once; a part of it, with its children; one without them,
-- which are orphans then: other tenants may have nodes of the same number.
UPDATE loose SET tenant = 'c' WHERE tenant = 'a';
:same
UPDATE loose SET tenant = 'd', parent_id = CASE WHEN id > 2 THEN parent_id END WHERE tenant = 'c' AND id > 1;
:same
UPDATE loose SET tenant = 'e', parent_id = NULL WHERE tenant = 'd' AND id = 2;
:same

-- A tenant that is not part of the key: put in front of it.
CREATE TABLE post (id int PRIMARY KEY, forum int NOT NULL, parent_id int);
SELECT dbpatterns.closure_enable('post', 'parent_id', scope => '{forum}');
SELECT watch('post', '{forum,parent_id}', '{forum,id}', nscope => 1);
INSERT INTO post VALUES (3, 1, 2), (2, 1, 1), (1, 1, NULL), (4, 2, NULL), (5, 2, 4);
:same
TABLE post_closure ORDER BY 1, 2, 3;
SELECT refused('INSERT INTO post VALUES (6, 1, 4)');
SELECT refused('UPDATE post SET parent_id = 5 WHERE id = 3');
SELECT refused('UPDATE post SET forum = 2 WHERE id = 3');
SELECT refused('UPDATE post SET forum = 2 WHERE id = 1');
:same
UPDATE post SET forum = 2, parent_id = 5 WHERE id = 3;
:same
UPDATE post SET forum = 3 WHERE forum = 2;
:same
SELECT refused('INSERT INTO post VALUES (7, 3, 6), (6, 4, NULL)');
INSERT INTO post VALUES (7, 3, 6);
SELECT refused('INSERT INTO post VALUES (6, 4, NULL)');
INSERT INTO post VALUES (6, 3, 3);
:same
SELECT refused($$UPDATE post SET forum = NULL WHERE id = 7$$);

-- Keys of several columns, none of them shared with the parent: a parent that
-- is NULL in part is none.
CREATE TABLE part (a int, b text, pa int, pb text, PRIMARY KEY (a, b), FOREIGN KEY (pa, pb) REFERENCES part);
SELECT dbpatterns.closure_enable('part', '{pa,pb}');
SELECT watch('part', '{pa,pb}', '{a,b}');
INSERT INTO part VALUES (1, 'x', NULL, NULL), (1, 'y', 1, 'x'), (2, 'x', 1, NULL), (2, 'y', NULL, 'x'), (3, 'z', 2, 'x');
:same
TABLE part_closure ORDER BY 1, 2, 3, 4;
UPDATE part SET pb = 'y' WHERE a = 2 AND b = 'x';
:same
UPDATE part SET pa = 3, pb = 'z' WHERE a = 1 AND b = 'x';
UPDATE part SET pa = NULL WHERE a = 2 AND b = 'x';
UPDATE part SET pa = 3, pb = 'z' WHERE a = 1 AND b = 'x';
:same
-- MATCH FULL leaves no NULL in part.
CREATE TABLE full_part (a int, b int, pa int, pb int, PRIMARY KEY (b, a), FOREIGN KEY (pb, pa) REFERENCES full_part MATCH FULL);
SELECT dbpatterns.closure_enable('full_part', '{pb,pa}');
SELECT watch('full_part', '{pb,pa}', '{b,a}');
INSERT INTO full_part VALUES (1, 2, NULL, NULL), (2, 1, 1, 2), (3, 3, 2, 1);
:same
SELECT refused('INSERT INTO full_part VALUES (4, 4, 1, NULL)');
UPDATE full_part SET pa = 3, pb = 3 WHERE a = 1;
:same

-- A key that is not the primary key; a column name that needs quotes.
CREATE TABLE "Odd ""Name" (id serial PRIMARY KEY, "the Key" text NOT NULL UNIQUE, "the ""Parent" text);
SELECT dbpatterns.closure_enable('"Odd ""Name"', 'the "Parent', key => '{the Key}', closure => 'odd '' closure');
SELECT watch('"Odd ""Name"', '{"the \"Parent"}', '{"the Key"}', '"odd '' closure"');
INSERT INTO "Odd ""Name" ("the Key", "the ""Parent") VALUES ('c', 'b'), ('b', 'a'), ('a', NULL);
:same
UPDATE "Odd ""Name" SET "the ""Parent" = 'c' WHERE "the Key" = 'a';
UPDATE "Odd ""Name" SET "the ""Parent" = NULL, id = id + 100 WHERE "the Key" = 'b';
:same

SELECT * FROM dbpatterns.closure_check() WHERE severity = 'error';
:finish

-- Tables of every kind: partitioned, with several hierarchies, with triggers,
-- generated columns and domains, unlogged, temporary, seen through views, under
-- row-level security, written by roles without rights on the closure.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/hierarchy.sql'
\i :include

-- A partitioned table, with another order of columns in one partition, written
-- through the root and through partitions.
CREATE TABLE p (id int PRIMARY KEY, parent_id int REFERENCES p ON UPDATE CASCADE ON DELETE CASCADE, v text) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100);
CREATE TABLE p2 (v text, gone int, parent_id int, id int NOT NULL);
ALTER TABLE p2 DROP gone;
ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (100) TO (200);
CREATE TABLE p3 PARTITION OF p FOR VALUES FROM (200) TO (400) PARTITION BY RANGE (id);
CREATE TABLE p31 PARTITION OF p3 FOR VALUES FROM (200) TO (300);
SELECT dbpatterns.closure_enable('p', 'parent_id');
SELECT watch('p', '{parent_id}');
INSERT INTO p VALUES (201, 102), (102, 3), (3, NULL), (104, 201);
:same
SELECT * FROM below('p_closure');
INSERT INTO p1 VALUES (5, 104);
:same
INSERT INTO p2 (id, parent_id) VALUES (106, 5), (107, 106);
:same
COPY p31 (id, parent_id) FROM stdin;
208	107
209	208
\.
COPY p (id, parent_id) FROM stdin;
10	209
210	10
\.
:same
UPDATE p1 SET parent_id = 106 WHERE id = 10;
:same
SELECT refused('UPDATE p1 SET parent_id = 107 WHERE id = 3');
SELECT refused('INSERT INTO p31 VALUES (211, 211)');
UPDATE p SET parent_id = CASE id WHEN 201 THEN NULL WHEN 102 THEN 208 WHEN 3 THEN 10 END WHERE id IN (3, 102, 201);
:same
DELETE FROM p31 WHERE id = 209;
:same
-- Rows that go to another partition, by the root and by a partition of a
-- partitioned one; the cascade takes the children along.
UPDATE p SET id = 110 WHERE id = 10;
:same
UPDATE p SET id = id + 107, parent_id = parent_id WHERE id IN (5, 107);
:same
UPDATE p SET id = (id + 150) % 300 WHERE id IN (201, 106, 102);
:same
CREATE TABLE p32 PARTITION OF p3 FOR VALUES FROM (300) TO (400);
UPDATE p3 SET id = id + 100 WHERE id IN (256, 208);
:same
SELECT tableoid::regclass, count(*) FROM p GROUP BY 1 ORDER BY 1;
MERGE INTO p USING (SELECT id FROM p WHERE id < 100 UNION VALUES (99), (199), (399)) s ON p.id = s.id
    WHEN MATCHED THEN UPDATE SET v = 'x', parent_id = 399
    WHEN NOT MATCHED THEN INSERT VALUES (s.id, CASE s.id WHEN 99 THEN 199 WHEN 199 THEN 399 END);
:same
INSERT INTO p VALUES (99, 301), (12, 99) ON CONFLICT (id) DO UPDATE SET parent_id = NULL;
:same
DELETE FROM p WHERE parent_id IS NULL AND id < 300;
:same
-- A partition that is created, one that is attached with rows.
CREATE TABLE p4 PARTITION OF p FOR VALUES FROM (400) TO (500);
INSERT INTO p4 VALUES (401, 402), (402, NULL);
:same
CREATE TABLE p5 (id int PRIMARY KEY, parent_id int, v text);
INSERT INTO p5 VALUES (501, 502), (502, 401);
ALTER TABLE p ATTACH PARTITION p5 FOR VALUES FROM (500) TO (600);
SELECT severity, object, problem, remedy FROM dbpatterns.closure_check('p');
SELECT * FROM dbpatterns.closure_sync('p');
:same
INSERT INTO p5 VALUES (503, 501);
:same
DELETE FROM p4 WHERE id = 401;
:same
TRUNCATE p;
SELECT * FROM p_closure;
INSERT INTO p VALUES (2, 1), (1, NULL), (401, 2);
:same
DROP TABLE p;
SELECT to_regclass('p_closure') IS NULL AS closure_is_gone;

-- Partitions whose key has the tenant in front, and a row that moves there.
CREATE TABLE h (region text, id int, parent_id int, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE ha PARTITION OF h FOR VALUES IN ('a');
CREATE TABLE hb PARTITION OF h DEFAULT;
SELECT dbpatterns.closure_enable('h', '{region,parent_id}');
SELECT watch('h', '{region,parent_id}', '{region,id}', nscope => 1);
INSERT INTO h VALUES ('a', 1, NULL), ('a', 2, 1), ('b', 2, 1), ('b', 1, NULL), ('a', 3, 2);
:same
UPDATE h SET region = 'c' WHERE region = 'a';
:same
UPDATE hb SET parent_id = 2 WHERE region = 'c' AND id = 1;
:same
UPDATE h SET region = 'a', parent_id = CASE id WHEN 3 THEN parent_id END WHERE region = 'c' AND id > 1;
:same
-- Partitions that are truncated, detached, attached again, dropped.
TRUNCATE ha;
:same
ALTER TABLE h DETACH PARTITION hb;
:same
INSERT INTO hb VALUES ('b', 3, 2);
UPDATE hb SET region = 'z' WHERE region = 'c';
:same
ALTER TABLE h ATTACH PARTITION hb DEFAULT;
:same
UPDATE hb SET region = 'y' WHERE region = 'z';
:same
CREATE TABLE hd PARTITION OF h FOR VALUES IN ('d');
INSERT INTO hd VALUES ('d', 2, 1), ('d', 1, NULL);
:same
DROP TABLE hd;
:same
SELECT severity, object, problem, remedy FROM dbpatterns.closure_check('h');
DROP TABLE h;

-- An inheritance child of its own is another table.
CREATE TABLE base (id int PRIMARY KEY, parent_id int);
SELECT dbpatterns.closure_enable('base', 'parent_id');
SELECT refused('CREATE TABLE derived (extra int) INHERITS (base)');
CREATE TABLE derived (id int NOT NULL, parent_id int);
SELECT refused('ALTER TABLE derived INHERIT base');
CREATE TABLE base2 (id int PRIMARY KEY, parent_id int);
CREATE TABLE derived2 (extra int) INHERITS (base2);
SELECT refused($$SELECT dbpatterns.closure_enable('base2', 'parent_id')$$);
SELECT refused($$SELECT dbpatterns.closure_enable('derived2', 'parent_id', key => '{id}')$$);
DROP TABLE derived2, base2, base;

-- Two hierarchies on one table.
CREATE TABLE person (id int PRIMARY KEY, manager_id int REFERENCES person ON DELETE SET NULL, mentor_id int, v int);
INSERT INTO person SELECT i, nullif(i / 2, 0), nullif(i / 3, 0) FROM generate_series(1, 20) i;
SELECT dbpatterns.closure_enable('person', 'manager_id', closure => 'managers');
SELECT dbpatterns.closure_enable('person', 'mentor_id', closure => 'mentors');
SELECT watch('person', '{manager_id}', closure => 'managers'), watch('person', '{mentor_id}', closure => 'mentors');
:same
UPDATE person SET manager_id = 3, mentor_id = 2 WHERE id IN (4, 10);
:same
UPDATE person SET manager_id = CASE id WHEN 1 THEN 2 END, mentor_id = CASE id WHEN 1 THEN 20 ELSE mentor_id END WHERE id IN (1, 2);
:same
SELECT refused('UPDATE person SET manager_id = 20, mentor_id = NULL WHERE id = 2');
SELECT refused('UPDATE person SET manager_id = NULL, mentor_id = 7 WHERE id = 2');
:same
DELETE FROM person WHERE id IN (2, 5);
:same
INSERT INTO person VALUES (2, 3, NULL), (21, 2, 22), (22, 21, 21);
INSERT INTO person VALUES (2, 3, NULL), (21, 2, 22), (22, 21, NULL);
:same
UPDATE person SET id = 100 WHERE id = 22;
:same
SELECT refused($$SELECT dbpatterns.closure_disable('person')$$);
SELECT dbpatterns.closure_disable('person', closure => 'managers');
UPDATE person SET manager_id = NULL, mentor_id = NULL WHERE id > 15;
SELECT count(*) FROM managers WHERE descendant = 16;
DROP TABLE managers;
:same
TRUNCATE person;
:same
DROP TABLE person;

-- Triggers of the user's that change what is written: the statement does not
-- name the parent column.
CREATE TABLE node (id int PRIMARY KEY, parent_id int, name text);
CREATE FUNCTION by_name() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.name = 'none' THEN
        RETURN NULL;
    END IF;
    new.parent_id := nullif(substring(new.name FROM '\d+'), '')::int;
    RETURN new;
END $$;
CREATE TRIGGER by_name BEFORE INSERT OR UPDATE ON node FOR EACH ROW EXECUTE FUNCTION by_name();
SELECT dbpatterns.closure_enable('node', 'parent_id');
SELECT watch('node', '{parent_id}');
INSERT INTO node VALUES (1, 7, 'root'), (2, NULL, 'below 1'), (3, NULL, 'below 2'), (4, 1, 'none');
:same
UPDATE node SET name = 'below 1' WHERE id = 3;
:same
SELECT refused($$UPDATE node SET name = 'below 3' WHERE id = 1$$);
UPDATE node SET parent_id = 3 WHERE id = 1;
UPDATE node SET name = 'none', parent_id = NULL WHERE id = 2;
:same
SELECT * FROM below('node_closure');
-- Through views.
CREATE VIEW named AS SELECT id, name FROM node;
INSERT INTO named VALUES (5, 'below 3');
UPDATE named SET name = 'below 5' WHERE id = 2;
DELETE FROM named WHERE id = 3;
:same
DROP VIEW named;
DROP TRIGGER by_name ON node;

-- Triggers that fire before and after ours and move the same row again.
CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE t.node SET parent_id = tg_argv[0]::int WHERE id = new.id AND parent_id IS DISTINCT FROM tg_argv[0]::int;
    RETURN NULL;
END $$;
CREATE TRIGGER a_again AFTER INSERT OR UPDATE ON node FOR EACH ROW WHEN (new.id = 10) EXECUTE FUNCTION again(2);
CREATE TRIGGER z_again AFTER INSERT OR UPDATE ON node FOR EACH ROW WHEN (new.id = 11) EXECUTE FUNCTION again(1);
INSERT INTO node VALUES (10, 1), (11, 2), (12, 10), (13, 11);
:same
UPDATE node SET parent_id = NULL WHERE id IN (10, 11);
:same
-- A statement trigger that moves rows when ours has fired; one before.
CREATE FUNCTION tidy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE t.node SET parent_id = 1 WHERE parent_id IS NULL AND id > 1;
    RETURN NULL;
END $$;
CREATE TRIGGER z_tidy AFTER INSERT OR DELETE ON node EXECUTE FUNCTION tidy();
CREATE TRIGGER a_tidy BEFORE INSERT ON node EXECUTE FUNCTION tidy();
INSERT INTO node VALUES (20, NULL), (21, 20);
:same
DELETE FROM node WHERE id = 20;
:same
DROP TABLE node;

-- Generated columns: the parent is computed from the key, or from others.
CREATE TABLE path (id text PRIMARY KEY, parent_id text GENERATED ALWAYS AS (nullif(regexp_replace(id, '\.?[^.]*$', ''), '')) STORED);
SELECT dbpatterns.closure_enable('path', 'parent_id');
SELECT watch('path', '{parent_id}');
INSERT INTO path VALUES ('a.b.c'), ('a.b'), ('a'), ('x.y');
:same
SELECT * FROM below('path_closure');
UPDATE path SET id = regexp_replace(id, '^a\.b', 'x') WHERE id LIKE 'a.b%';
:same
UPDATE path SET id = 'a.z' WHERE id = 'x.c';
:same
CREATE TABLE code (kind int, nr int, parent_nr int, id int GENERATED ALWAYS AS (kind * 100 + nr) STORED PRIMARY KEY,
    parent_id int GENERATED ALWAYS AS (kind * 100 + parent_nr) STORED);
SELECT dbpatterns.closure_enable('code', 'parent_id');
SELECT watch('code', '{parent_id}');
INSERT INTO code VALUES (1, 1, NULL), (1, 2, 1), (1, 3, 2);
:same
UPDATE code SET kind = 2;
:same
SELECT refused('UPDATE code SET parent_nr = 3 WHERE nr = 1');
UPDATE code SET parent_nr = 1 WHERE nr = 3;
:same
TABLE code_closure ORDER BY 1, 2;
-- Domains over the same type on either side.
CREATE DOMAIN node_id AS int CHECK (value > 0);
CREATE DOMAIN node_ref AS node_id;
CREATE TABLE dom (id node_id PRIMARY KEY, parent_id node_ref);
SELECT dbpatterns.closure_enable('dom', 'parent_id');
SELECT watch('dom', '{parent_id}');
INSERT INTO dom VALUES (2, 1), (1, NULL), (3, 2);
:same
UPDATE dom SET parent_id = CASE id WHEN 3 THEN 1 WHEN 2 THEN 3 END WHERE id > 1;
:same
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
 WHERE attrelid = 'dom_closure'::regclass AND attnum > 0 ORDER BY attnum;

-- Unlogged and temporary tables have closures of their kind.
CREATE UNLOGGED TABLE quick (id int PRIMARY KEY, parent_id int);
SELECT dbpatterns.closure_enable('quick', 'parent_id');
SELECT watch('quick', '{parent_id}');
INSERT INTO quick VALUES (2, 1), (1, NULL);
:same
CREATE TEMP TABLE gone (id int PRIMARY KEY, parent_id int);
CREATE INDEX ON gone (parent_id);
SELECT dbpatterns.closure_enable('gone', 'parent_id');
SELECT watch('gone', '{parent_id}', closure => 'pg_temp.gone_closure');
INSERT INTO gone VALUES (2, 1), (1, NULL), (3, 2);
:same
UPDATE gone SET parent_id = CASE id WHEN 3 THEN 1 WHEN 2 THEN 3 END WHERE id > 1;
:same
SELECT relname, relpersistence, relnamespace::regnamespace = 't'::regnamespace AS beside FROM pg_class
 WHERE oid IN ('quick_closure'::regclass, 'pg_temp.gone_closure'::regclass) ORDER BY 1;
ALTER TABLE quick SET LOGGED;
SELECT relname, relpersistence FROM pg_class WHERE oid = 'quick_closure'::regclass;
SELECT severity, object, problem, remedy FROM dbpatterns.closure_check('quick');
-- Rows that leave a temporary table when the transaction ends fire no trigger: a
-- limit, of which the check knows.
CREATE TEMP TABLE shortly (id int PRIMARY KEY, parent_id int) ON COMMIT DELETE ROWS;
CREATE INDEX ON shortly (parent_id);
SELECT dbpatterns.closure_enable('shortly', 'parent_id');
BEGIN;
INSERT INTO shortly VALUES (2, 1), (1, NULL);
COMMIT;
SELECT problem FROM dbpatterns.closure_check('shortly') ORDER BY 1;
SELECT count(*) FROM dbpatterns.closure_sync('shortly');
SELECT problem FROM dbpatterns.closure_check('shortly');
DROP TABLE gone, shortly;
:finish

-- Erasing personal data from the log: the values go, the facts stay.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/audit.sql'
\i :include
\set include :srcdir '/sql/include/seal.sql'
\i :include

-- Every trace of a text in the log and in the seals.
CREATE FUNCTION traces(secret text) RETURNS bigint LANGUAGE sql AS $$
    SELECT (SELECT count(*) FROM _dbpatterns.audit_log e WHERE e::text LIKE '%' || secret || '%')
         + (SELECT count(*) FROM _dbpatterns.audit_block e WHERE e::text LIKE '%' || secret || '%')
         + (SELECT count(*) FROM _dbpatterns.audit_leaf e WHERE e::text LIKE '%' || secret || '%')
$$;
-- Entries that are no markers, since the last look.
CREATE FUNCTION entries() RETURNS TABLE (op "char", old jsonb, new jsonb) LANGUAGE sql AS $$
    SELECT n.op, n.old, n.new FROM news() n WHERE n.op <> 'M'
$$;
-- What a marker says, without numbers and hashes.
CREATE FUNCTION markers() RETURNS TABLE (marker jsonb, blocks text[]) LANGUAGE sql AS $$
    SELECT new #- '{detail,change}' #- '{detail,blocks}', ARRAY(SELECT jsonb_object_keys(new #> '{detail,blocks}') ORDER BY 1)
      FROM _dbpatterns.audit_log WHERE op = 'M' AND new ->> 'event' = 'erased' ORDER BY id
$$;

CREATE TABLE person (id int PRIMARY KEY, name text, mail text, note jsonb);
SELECT audit('person');
INSERT INTO person VALUES (1, 'Ann Alden', 'ann@x.test', '{"likes": "ann@x.test"}'), (2, 'Bob', 'bob@x.test', NULL);
UPDATE person SET mail = 'ann@y.test' WHERE id = 1;
SELECT * FROM seal();
UPDATE person SET name = 'Ann Brook' WHERE id = 1;

-- Some columns, in sealed entries and in later ones.
SELECT dbpatterns.audit_erase('person', '{"id": 1}', 'request 1', '{mail,note}');
SELECT * FROM entries();
SELECT traces('ann@'), traces('Ann'), traces('bob@');
SELECT * FROM verify();
SELECT * FROM markers();
-- Again: nothing is left to erase, and nothing is logged.
SELECT dbpatterns.audit_erase('person', '{"id": 1}', 'request 1', '{mail,note}');
SELECT * FROM markers();
-- The history of the row is still there.
SELECT op, key, new FROM dbpatterns.audit_history('person', '{"id": 1}');

-- All, the key included.  What is left does not lead to the key: neither by
-- name nor by its hash.
SELECT row_key AS ann FROM _dbpatterns.audit_log WHERE new ->> 'name' = 'Ann Alden' \gset
SELECT * FROM seal();
SELECT dbpatterns.audit_erase('person', '{"id": 1}', reason => 'request 2');
SELECT skip();
SELECT op, old, new FROM _dbpatterns.audit_log WHERE op IN ('I', 'U', 'D') ORDER BY id;
SELECT traces('Ann'), traces(:'ann');
SELECT count(DISTINCT row_key) AS rows FROM _dbpatterns.audit_log WHERE op IN ('I', 'U', 'D');
SELECT * FROM dbpatterns.audit_history('person', '{"id": 1}');
SELECT * FROM verify();
SELECT * FROM seal();
SELECT * FROM verify();
SELECT * FROM markers();

-- Nobody can find out an erased value by trying: the salt is gone.
SELECT bool_or(l.hash = sha256(substr(b.salts, 20 * l.leaf + 1, 16) || '\x01'::bytea)) AS found,
       count(DISTINCT substr(b.salts, 20 * l.leaf + 1, 16)) = count(DISTINCT (l.block, l.leaf)) AS new_salts
  FROM _dbpatterns.audit_leaf l JOIN _dbpatterns.audit_block b USING (block);

-- The row goes on; erasing it later finds only what is new.
UPDATE person SET name = 'Ann Cole' WHERE id = 1;
SELECT dbpatterns.audit_erase('person', '{"id": 1}', 'request 3', '{name}');
SELECT * FROM entries();

-- A key that changes, and that others use before and afterwards.  The row
-- named is the one that has the number 20 now: once it was 10, then 11.
INSERT INTO person VALUES (10, 'first ten');
DELETE FROM person WHERE id = 10;
INSERT INTO person VALUES (10, 'Zoe');
UPDATE person SET name = 'Zoe Z' WHERE id = 10;
UPDATE person SET id = 11 WHERE id = 10;
INSERT INTO person VALUES (10, 'third ten');
SELECT * FROM seal();
UPDATE person SET id = 20 WHERE id = 11;
INSERT INTO person VALUES (11, 'second eleven');
SELECT dbpatterns.audit_erase('person', '{"id": 20}', 'request 4', '{name}');
SELECT * FROM entries();
-- Named by a former key it is found, too, with all who had that key.
UPDATE person SET name = 'Zoe Y' WHERE id = 20;
SELECT dbpatterns.audit_erase('person', '{"id": 10}', 'request 5', '{name}');
SELECT traces('first ten'), traces('Zoe'), traces('third ten'), traces('second eleven');
SELECT * FROM verify();

-- Columns under former names, and columns that are gone.
ALTER TABLE person RENAME mail TO email;
UPDATE person SET email = 'robert@x.test' WHERE id = 2;
ALTER TABLE person DROP COLUMN note;
SELECT dbpatterns.audit_erase('person', '{"id": 2}', 'request 6', '{email}');
SELECT traces('bob@'), traces('robert@');
SELECT dbpatterns.audit_erase('person', '{"id": 2}', 'request 7', '{note}');
SELECT op, old, new FROM dbpatterns.audit_history('person', '{"id": 2}');

-- A composite key; only the row named is touched.
CREATE TABLE line (doc int, no int, text text, PRIMARY KEY (doc, no));
SELECT audit('line');
INSERT INTO line VALUES (1, 1, 'a'), (1, 2, 'b'), (2, 1, 'c');
SELECT skip();
SELECT dbpatterns.audit_erase('line', '{"doc": 1, "no": 1}', reason => 'request 8');
SELECT new FROM _dbpatterns.audit_log e JOIN _dbpatterns.audit_shape s USING (shape)
 WHERE op = 'I' AND table_name = 'line' ORDER BY id;
-- Redacted values stay redacted, omitted ones tell nothing any more.
CREATE TABLE secret (id int PRIMARY KEY, code text, body text);
SELECT dbpatterns.audit_enable('secret', redact => '{code}');
INSERT INTO secret VALUES (1, 'x', 'y');
SELECT tamper($$UPDATE _dbpatterns.audit_log SET new = jsonb_set(new, '{body}', '{"$dbp": "omitted", "bytes": 1, "sha256": "00"}')
                 WHERE new ->> 'body' = 'y'$$);
SELECT dbpatterns.audit_erase('secret', '{"id": 1}', 'request 9', '{code,body}');
SELECT new FROM _dbpatterns.audit_log WHERE new #>> '{code,$dbp}' = 'redacted';

-- What an erasure leaves is protected like the rest.
SELECT * FROM seal();
UPDATE person SET name = 'Bert' WHERE id = 2;
SELECT * FROM seal();
SELECT dbpatterns.audit_erase('person', '{"id": 2}', 'nothing new', '{email}');
SELECT * FROM verify();
BEGIN;
SELECT tamper($$UPDATE _dbpatterns.audit_log SET new = jsonb_set(new, '{name}', '"Rob"') WHERE new ->> 'name' = 'Bob'$$);
SELECT * FROM verify() WHERE NOT ok;
ROLLBACK;
BEGIN;
SELECT tamper($$UPDATE _dbpatterns.audit_log SET op = 'D' WHERE new ->> 'name' = 'Bob'$$);
SELECT * FROM verify() WHERE NOT ok;
ROLLBACK;
-- Values that somebody else removed, with proof made up.
BEGIN;
SELECT tamper($$UPDATE _dbpatterns.audit_log SET new = new || '{"name": {"$dbp": "erased"}}' WHERE new ->> 'name' = 'Bert'$$);
SELECT * FROM verify() WHERE NOT ok;
INSERT INTO _dbpatterns.audit_leaf SELECT max(block), 1, 0, 1, sha256('a'), sha256('b') FROM _dbpatterns.audit_block;
SELECT * FROM verify() WHERE NOT ok;
ROLLBACK;
-- Proof that was removed or changed.
BEGIN;
SELECT tamper($$DELETE FROM _dbpatterns.audit_leaf WHERE block = 1 AND leaf = (SELECT max(leaf) FROM _dbpatterns.audit_leaf WHERE block = 1)$$);
SELECT block, ok FROM verify() WHERE NOT ok;
ROLLBACK;
BEGIN;
SELECT tamper($$DELETE FROM _dbpatterns.audit_leaf$$);
SELECT block, ok FROM verify() WHERE NOT ok;
ROLLBACK;
-- The marker removed: the block it is sealed in tells, and those it explains.
BEGIN;
SELECT tamper($$DELETE FROM _dbpatterns.audit_log WHERE new #>> '{detail,reason}' = 'request 1'$$);
SELECT block, problem ~ '^no marker in the log explains change' AS unexplained, problem ~ 'missing' AS missing FROM verify() WHERE NOT ok;
ROLLBACK;
SELECT * FROM verify() WHERE NOT ok;

-- A partition stands for its root.
CREATE TABLE part (id int PRIMARY KEY, name text) PARTITION BY RANGE (id);
CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (10);
SELECT audit('part');
INSERT INTO part VALUES (1, 'Pia');
SELECT dbpatterns.audit_erase('part1', '{"id": 1}', reason => 'request 10');
SELECT traces('Pia');

-- Rolled back, nothing has happened.
INSERT INTO person VALUES (30, 'Quin');
SELECT * FROM seal();
BEGIN;
SELECT dbpatterns.audit_erase('person', '{"id": 30}', reason => 'request 11');
SELECT traces('Quin');
ROLLBACK;
SELECT traces('Quin') > 0 AS back;
SELECT * FROM verify() WHERE NOT ok;
-- In one transaction with the removal of the row, and in any isolation level.
BEGIN ISOLATION LEVEL SERIALIZABLE;
DELETE FROM person WHERE id = 30;
SELECT dbpatterns.audit_erase('person', '{"id": 30}', reason => 'request 11');
COMMIT;
SELECT traces('Quin');
SELECT * FROM seal();
SELECT * FROM verify() WHERE NOT ok;

-- Bad input.
CREATE VIEW v AS SELECT 1 AS id;
CREATE TABLE never (id int PRIMARY KEY);
SELECT refused($$SELECT dbpatterns.audit_erase(NULL, '{"id": 1}', reason => 'x')$$);
SELECT refused($$SELECT dbpatterns.audit_erase('person', NULL, reason => 'x')$$);
SELECT refused($$SELECT dbpatterns.audit_erase('person', '{"id": 1}', NULL)$$);
SELECT refused($$SELECT dbpatterns.audit_erase('v', '{"id": 1}', reason => 'x')$$);
SELECT refused($$SELECT dbpatterns.audit_erase('never', '{"id": 1}', reason => 'x')$$);
SELECT refused($$SELECT dbpatterns.audit_erase('person', '{"name": "Bob"}', reason => 'x')$$);
SELECT refused($$SELECT dbpatterns.audit_erase('person', '{"id": "x"}', reason => 'x')$$);
SELECT refused($$SELECT dbpatterns.audit_erase('person', '{"id": 1}', 'x', '{phone}')$$);
SELECT refused($$SELECT dbpatterns.audit_erase('person', '{"id": 1}', 'x', '{name,NULL}')$$);
SELECT refused($$SELECT dbpatterns.audit_erase('person', '{"id": 99}', 'x', '{name}')$$);
-- Sealed entries that are not what was sealed must be looked at first.
BEGIN;
SELECT tamper($$DELETE FROM _dbpatterns.audit_log WHERE id = (SELECT min(id) FROM _dbpatterns.audit_log)$$);
SELECT refused($$SELECT dbpatterns.audit_erase('person', '{"id": 2}', reason => 'x')$$);
ROLLBACK;
BEGIN;
SELECT tamper($$UPDATE _dbpatterns.audit_log SET new = jsonb_set(new, '{name}', '"Rob"') WHERE new ->> 'name' = 'Bert'$$);
SELECT refused($$SELECT dbpatterns.audit_erase('person', '{"id": 2}', reason => 'x')$$);
ROLLBACK;

:finish

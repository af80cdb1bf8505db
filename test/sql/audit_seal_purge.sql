-- What was sealed stays provable when older entries are purged.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/audit.sql'
\i :include
\set include :srcdir '/sql/include/seal.sql'
\i :include

CREATE TABLE item (id int PRIMARY KEY, name text);
SELECT audit('item');
SELECT * FROM seal();

-- Entries of long ago are entries of today whose transaction is made older
-- before they are sealed.
CREATE FUNCTION log_at(at timestamptz, VARIADIC ids int[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO item SELECT i, 'item ' || i FROM unnest(ids) i;
    PERFORM dbpatterns.audit_flush();
    PERFORM tamper(format('UPDATE _dbpatterns.audit_log SET xact_time = %L WHERE xact_time = now()', at));
END $$;
CREATE TABLE _dbpatterns.audit_log_20200101 PARTITION OF _dbpatterns.audit_log FOR VALUES FROM ('2020-01-01+00') TO ('2020-02-01+00');
CREATE TABLE _dbpatterns.audit_log_20200201 PARTITION OF _dbpatterns.audit_log FOR VALUES FROM ('2020-02-01+00') TO ('2020-03-01+00');

-- Block 2: January.  3: January and February, mixed.  4: February.
-- 5: February and today.
SELECT log_at('2020-01-10', 11, 12, 13);
SELECT * FROM seal();
SELECT log_at('2020-01-31', 21, 22);
SELECT log_at('2020-02-01', 23, 24);
SELECT log_at('2020-01-31 12:00', 25);
SELECT * FROM seal();
SELECT log_at('2020-02-10', 31);
SELECT * FROM seal();
SELECT log_at('2020-02-20', 41, 42);
INSERT INTO item VALUES (43, 'item 43');
SELECT * FROM seal();
SELECT dbpatterns.audit_erase('item', '{"id": 22}', reason => 'from January');
SELECT dbpatterns.audit_erase('item', '{"id": 42}', 'from February', '{name}');
SELECT dbpatterns.audit_erase('item', '{"id": 43}', 'from today', '{name}');
SELECT * FROM verify();

-- Nothing changes when nothing is old enough.
CALL dbpatterns.audit_purge('2020-01-15');
SELECT count(*) FROM _dbpatterns.audit_leaf WHERE now IS NULL;

-- January goes: block 2 as a whole, of block 3 what was in January.
CALL dbpatterns.audit_purge('2020-02-05');
SELECT new ->> 'name' AS name FROM _dbpatterns.audit_log WHERE op = 'I' ORDER BY id;
SELECT * FROM verify();
SELECT block, purged IS NOT NULL AS purged, salts IS NULL AS no_salts FROM _dbpatterns.audit_block ORDER BY 1;
SELECT block, count(*) FILTER (WHERE now IS NULL) AS purged, count(*) FILTER (WHERE now IS NOT NULL) AS erased
  FROM _dbpatterns.audit_leaf GROUP BY 1 ORDER BY 1;
CREATE FUNCTION markers() RETURNS TABLE (event text, partition text, whole jsonb, blocks text[]) LANGUAGE sql AS $$
    SELECT new ->> 'event', new #>> '{detail,partition}', new #> '{detail,whole}',
           ARRAY(SELECT jsonb_object_keys(new #> '{detail,blocks}') ORDER BY 1)
      FROM _dbpatterns.audit_log WHERE op = 'M' AND new -> 'detail' ? 'change' ORDER BY id
$$;
SELECT * FROM markers();

-- The rest of block 3 is as well protected as before, and nobody can pass off
-- something else as purged.
BEGIN;
SELECT tamper($$DELETE FROM _dbpatterns.audit_log WHERE new ->> 'name' = 'item 24'$$);
SELECT * FROM verify(3, 3);
INSERT INTO _dbpatterns.audit_leaf SELECT 3, 5, 0, max(change), sha256('x'), NULL FROM _dbpatterns.audit_leaf WHERE now IS NULL;
SELECT block, ok, regexp_replace(problem, '\d+', '#') AS problem FROM verify(3, 3);
ROLLBACK;
BEGIN;
SELECT tamper($$UPDATE _dbpatterns.audit_block SET purged = (SELECT max(purged) FROM _dbpatterns.audit_block), salts = NULL WHERE block = 4$$);
SELECT block, ok, regexp_replace(problem, '\d+', '#') AS problem FROM verify(4, 4);
ROLLBACK;
BEGIN;
SELECT tamper($$DELETE FROM _dbpatterns.audit_leaf WHERE now IS NULL AND leaf = 0$$);
SELECT block, ok, regexp_replace(problem, '\d+', '#') AS problem FROM verify(3, 3);
ROLLBACK;

-- The markers of these changes are to become so old that a later purge takes
-- them along; the changes of what stays are then explained by its own.
SELECT tamper($$UPDATE _dbpatterns.audit_log SET xact_time = '2020-02-25' WHERE op = 'M' AND new -> 'detail' ? 'change'$$);
SELECT * FROM seal();
SELECT * FROM verify();
-- Inside a transaction block, and rolled back.
BEGIN;
CALL dbpatterns.audit_purge('2020-03-01');
SELECT * FROM verify();
ROLLBACK;
SELECT * FROM verify() WHERE NOT ok;
-- What was tampered with before is not made right by that.
BEGIN;
SELECT tamper($$UPDATE _dbpatterns.audit_leaf SET hash = sha256('x') WHERE block = 5 AND leaf = (SELECT max(leaf) FROM _dbpatterns.audit_leaf WHERE block = 5)$$);
CALL dbpatterns.audit_purge('2020-03-01');
SELECT block, ok, regexp_replace(problem, '\d+', '#') AS problem FROM verify() WHERE NOT ok;
ROLLBACK;
CALL dbpatterns.audit_purge('2020-03-01');
SELECT * FROM verify();
SELECT * FROM markers();
SELECT block, count(*) FILTER (WHERE now IS NULL) AS purged, count(*) FILTER (WHERE now IS NOT NULL) AS erased
  FROM _dbpatterns.audit_leaf GROUP BY 1 ORDER BY 1;
SELECT new FROM _dbpatterns.audit_log WHERE op = 'I' ORDER BY id;
-- The default partition, where one row after the other is deleted.
-- Block 8: March.  9: March and today.
SELECT * FROM seal();
SELECT log_at('2020-03-10', 51, 52);
SELECT * FROM seal();
SELECT log_at('2020-03-20', 53);
SELECT log_at('2020-04-20', 54);
INSERT INTO item VALUES (55, 'item 55');
SELECT * FROM seal();
CALL dbpatterns.audit_purge('2020-04-01');
SELECT * FROM verify();
CALL dbpatterns.audit_purge('2020-05-01');
SELECT * FROM verify();
SELECT new FROM _dbpatterns.audit_log WHERE op = 'I' ORDER BY id;

-- A digest from before the purge still proves the rest; sealing goes on.
SELECT dbpatterns.audit_digest(9) AS digest \gset
SELECT * FROM seal();
SELECT * FROM verify(9, NULL, :'digest');

:finish

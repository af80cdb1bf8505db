-- Statements of an application: whatever it sends, it meets rows of its tenant only.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/tenant.sql'
\i :include
CREATE TABLE item (tenant_id int NOT NULL, id int, body text, PRIMARY KEY (tenant_id, id));
CREATE UNIQUE INDEX item_body ON item (body);       -- tells of others' values, and so may conflict with them
SET client_min_messages = warning;
SELECT count(*) FROM dbpatterns.tenant_enable('item');
INSERT INTO item SELECT t, i, format('%s of %s', i, t) FROM generate_series(1, 20) t, generate_series(1, 500) i;
ANALYZE item;
GRANT SELECT, INSERT, UPDATE, DELETE ON item TO regress_dbp_app;
GRANT EXECUTE ON FUNCTION dbpatterns.tenant_set(text, text) TO regress_dbp_app;
GRANT CREATE ON SCHEMA t TO regress_dbp_app;
SET ROLE regress_dbp_app;

-- ON CONFLICT: onto one's own row, and never onto another's.
BEGIN;
SELECT dbpatterns.tenant_set('1');
INSERT INTO item (id, body) VALUES (1, 'new') ON CONFLICT (tenant_id, id) DO UPDATE SET body = excluded.body RETURNING tenant_id, id, body;
SAVEPOINT s;
INSERT INTO item (id, body) VALUES (900, '1 of 2') ON CONFLICT (body) DO UPDATE SET body = 'taken over' RETURNING *;
ROLLBACK TO s;
INSERT INTO item (id, body) VALUES (900, '1 of 2') ON CONFLICT DO NOTHING RETURNING *;
INSERT INTO item (id, body) VALUES (900, '1 of 2');
ROLLBACK TO s;
-- MERGE sees one's own rows, and inserts none of another's.
MERGE INTO item USING (VALUES (2, 1), (1, 2)) v (tenant, id) ON item.tenant_id = v.tenant AND item.id = v.id
    WHEN MATCHED THEN UPDATE SET body = 'merged' WHEN NOT MATCHED THEN DO NOTHING;
SELECT tenant_id, id FROM item WHERE body = 'merged';
MERGE INTO item USING (VALUES (2, 901)) v (tenant, id) ON item.tenant_id = v.tenant AND item.id = v.id
    WHEN NOT MATCHED THEN INSERT VALUES (v.tenant, v.id, 'planted');
ROLLBACK TO s;
-- COPY of the table and of queries.
DELETE FROM item WHERE id > 3;
COPY item (tenant_id, id) TO STDOUT;
COPY (SELECT count(*), count(DISTINCT tenant_id) FROM item) TO STDOUT;
ROLLBACK TO s;
-- A row cannot leave, nor be locked or deleted from outside.
UPDATE item SET tenant_id = 2 WHERE id = 3;
ROLLBACK TO s;
SELECT count(*) FROM item WHERE tenant_id = 2;
SELECT count(*) FROM (SELECT FROM item WHERE tenant_id = 2 FOR UPDATE) x;
DELETE FROM item WHERE tenant_id <> 1;
COMMIT;

-- A cursor shows the tenant it was opened for, and ends with it.
BEGIN;
SELECT dbpatterns.tenant_set('1');
DECLARE c CURSOR FOR SELECT DISTINCT tenant_id FROM item;
COMMIT;
FETCH c;
BEGIN;
DECLARE c CURSOR FOR SELECT DISTINCT tenant_id FROM item;
SELECT dbpatterns.tenant_set('2');
FETCH ALL c;
COMMIT;

-- Plans that are kept: prepared statements, PL/pgSQL, SQL functions, generic or not.
CREATE FUNCTION t.pl() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT string_agg(DISTINCT tenant_id::text, ' ') FROM t.item WHERE id < 5); END $$;
CREATE FUNCTION t.sq() RETURNS text LANGUAGE sql STABLE AS $$ SELECT string_agg(DISTINCT tenant_id::text, ' ') FROM t.item WHERE id < 5 $$;
PREPARE p (int) AS SELECT string_agg(DISTINCT tenant_id::text, ' '), count(*) FROM item WHERE id < $1;
CREATE TEMP TABLE seen (tenant text, pl text, sq text);
CREATE FUNCTION t.look() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dbpatterns.tenant_set((1 + (SELECT count(*) FROM seen) % 7)::text);
    INSERT INTO seen SELECT dbpatterns.current_tenant(), t.pl(), t.sq();
END $$;
SELECT 'BEGIN', 'SELECT t.look()', 'EXECUTE p (5)', 'COMMIT' FROM generate_series(1, 14)
\o /dev/null
\gexec
\o
SELECT count(*), count(*) FILTER (WHERE tenant = pl AND tenant = sq) AS own FROM seen;
SET plan_cache_mode = force_generic_plan;
BEGIN; SELECT dbpatterns.tenant_set('3'); EXECUTE p (5); COMMIT;
BEGIN; SELECT dbpatterns.tenant_set('4'); EXECUTE p (5); COMMIT;
EXECUTE p (5);
RESET plan_cache_mode;

-- Parallel plans.
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET enable_indexscan = off;
SET enable_indexonlyscan = off;
SET enable_bitmapscan = off;
BEGIN;
SELECT dbpatterns.tenant_set('5');
CREATE TEMP TABLE plan (line text);
DO $$ DECLARE l text; BEGIN FOR l IN EXPLAIN SELECT count(*) FROM t.item LOOP INSERT INTO plan VALUES (l); END LOOP; END $$;
SELECT count(*) > 0 AS parallel FROM plan WHERE line ~ 'Gather';
SELECT count(*), min(tenant_id), max(tenant_id) FROM item;
COMMIT;
SELECT count(*) FROM item;
RESET enable_indexscan; RESET enable_indexonlyscan; RESET enable_bitmapscan;

-- What the server tells of data: statistics are hidden, and a plan by the tenant's index meets no row of others.
SELECT count(*) FROM pg_stats WHERE tablename = 'item';
BEGIN;
SELECT dbpatterns.tenant_set('5');
DO $$ DECLARE l text; BEGIN FOR l IN EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) SELECT body FROM t.item WHERE id = 7 LOOP
    IF l ~ 'Rows Removed' THEN RAISE EXCEPTION 'sees others: %', l; END IF; END LOOP; END $$;
COMMIT;

-- A user who is put out is out with the next transaction.
RESET ROLE;
CREATE TABLE note (tenant_id int NOT NULL, owner text NOT NULL, body text);
SELECT count(*) FROM dbpatterns.tenant_enable('note', user_column => 'owner');
INSERT INTO note VALUES (1, 'ann', 'a'), (1, 'bob', 'b');
GRANT SELECT ON note TO regress_dbp_app;
SET ROLE regress_dbp_app;
BEGIN; SELECT dbpatterns.tenant_set('1', 'ann'); SELECT body FROM note; COMMIT;
BEGIN; SELECT dbpatterns.tenant_set('1'); SELECT body FROM note; COMMIT;
RESET ROLE;
REVOKE CREATE ON SCHEMA t FROM regress_dbp_app;
DROP OWNED BY regress_dbp_app;
:finish

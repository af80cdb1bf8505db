-- For how long versions are kept.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/versioning.sql'
\i :include
SET TimeZone = 'America/New_York';
SET search_path = keep, dbpatterns, public;
SET client_min_messages = warning;
CREATE SCHEMA keep;
CREATE TABLE t (id int PRIMARY KEY, v int);
SELECT versioning_enable('t', partition_by => '1 month', keep => '10 years');
-- One partition for this month and two to come, in UTC, and one for the rest.
CREATE FUNCTION parts(history regclass) RETURNS TABLE (month int, whole boolean) LANGUAGE sql SET TimeZone = 'UTC' AS $$
    SELECT (extract(year FROM lower) - extract(year FROM now())) * 12 + extract(month FROM lower) - extract(month FROM now()),
           upper = lower + interval '1 month' AND lower = date_trunc('month', lower)
    FROM (SELECT (regexp_match(pg_get_expr(relpartbound, oid), 'FROM \(''([^'']*)''\)'))[1]::timestamptz AS lower,
                 (regexp_match(pg_get_expr(relpartbound, oid), 'TO \(''([^'']*)''\)'))[1]::timestamptz AS upper
          FROM pg_class WHERE oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = history)) b
    WHERE lower IS NOT NULL ORDER BY 1 $$;
SELECT * FROM parts('t_history');
SELECT count(*) FROM pg_class WHERE relname = 't_history_default' AND relispartition;
CALL versioning_run('t');
SELECT * FROM parts('t_history');

-- Versions go to the partition of their end, those of no partition to the default one.
INSERT INTO t SELECT g, 0 FROM generate_series(1, 5) g;
UPDATE t SET v = 1;
SELECT count(*) FROM t_history_default;
SELECT set_system_time('2001-01-01');
INSERT INTO t VALUES (6, 0);
SELECT set_system_time('2002-01-01');
UPDATE t SET v = 1 WHERE id = 6;
SELECT set_system_time(NULL);
UPDATE t SET v = 2 WHERE id = 6;
SELECT id, v FROM t_history_default;
SELECT count(*) FROM t_history;
SELECT id, v FROM t__as_of('2001-06-01');
SELECT id, v FROM t__as_of('2010-06-01');
-- A partition that is made later takes its versions from there.
SELECT set_system_time(date_trunc('month', now()) + interval '100 days');
UPDATE t SET v = 3 WHERE id = 1;
SELECT set_system_time(NULL);
SELECT count(*) FROM t_history_default;
SELECT versioning_enable('t', partition_by => '3 months', keep => '10 years');
SELECT count(*) FROM t_history_default;
SELECT count(*) FROM t_history;
SELECT count(*) > 3 AS more FROM parts('t_history');

-- The run removes what is too old; a purge whatever one says.
SET client_min_messages = notice;
CALL versioning_run();
SELECT count(*) FROM t_history WHERE upper(sys_period) < '2005-01-01';
CALL history_purge('t', '10 years');
CREATE TABLE p (id int PRIMARY KEY, v int);
SELECT versioning_enable('p');
SELECT set_system_time(now() - interval '5 days');
INSERT INTO p SELECT g, 0 FROM generate_series(1, 25) g;
SELECT set_system_time(now() - interval '2 days');
UPDATE p SET v = 1;
SELECT set_system_time(NULL);
UPDATE p SET v = 2;
CALL history_purge('p', '3 days', 10);
CALL history_purge('p', '1 day', 10);
SELECT v, count(*) FROM p__versions() GROUP BY 1 ORDER BY 1;
-- A whole partition is dropped.
CREATE TABLE q (id int PRIMARY KEY, v int);
SELECT versioning_enable('q', partition_by => '1 day');
CREATE TABLE q_old PARTITION OF q_history FOR VALUES FROM ('2001-01-01') TO ('2001-02-01');
SELECT set_system_time('2000-12-01');
INSERT INTO q VALUES (1, 1);
SELECT set_system_time('2001-01-15');
UPDATE q SET v = 2;
SELECT set_system_time(NULL);
SELECT count(*) FROM q_old;
CALL history_purge('q', '1 year');
SELECT to_regclass('q_old');

-- What is refused.
CALL history_purge('q', '-1 day');
CALL history_purge('q', '1 day', 0);
CALL history_purge('q', NULL);
CALL history_purge('pg_class', '1 day');
BEGIN;
CALL history_purge('q', '1 day');
ROLLBACK;
BEGIN;
CALL versioning_run();
ROLLBACK;
CALL versioning_run('pg_class');
SELECT versioning_enable('p', partition_by => '1 month');
SELECT versioning_enable('p', keep => '-1 month');

-- The old versions of one row go for good; who did that and why is kept, whose it
-- was is not.
SELECT history_erase('t', '{"id": 6}', 'request 4711');
SELECT history_erase('t', '{"id": 6}', 'once more');
SELECT history_erase('t', '{"id": 6}', ' ');
SELECT history_erase('t', '{"v": 6}', 'no key');
SELECT target, reason, versions, erased_by = session_user AS me FROM _dbpatterns.versioning_erasure;
SELECT id, v FROM t WHERE id = 6;
SET client_min_messages = warning;
DROP SCHEMA keep CASCADE;

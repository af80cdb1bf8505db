-- Keeping the log: partitions ahead of time, rows that wait in the default
-- partition, retention.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/audit.sql'
\i :include
DROP EXTENSION dbpatterns;
CREATE EXTENSION dbpatterns;

-- Partitions of the log by their bounds, relative to this month.
CREATE VIEW parts AS
SELECT regexp_replace(c.relname, '_\d.*', '') AS "table",
       row_number() OVER w AS n,
       (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([^'']*)'))[1]::timestamptz
           - date_trunc('month', now(), 'UTC') AS starts,
       (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''([^'']*)'))[1]::timestamptz
           - (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([^'']*)'))[1]::timestamptz AS width,
       (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([^'']*)'))[1]::timestamptz AS lower,
       (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''([^'']*)'))[1]::timestamptz AS upper,
       c.oid::regclass AS part
  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
 WHERE i.inhparent = '_dbpatterns.audit_log'::regclass
   AND c.relname !~ 'default'
WINDOW w AS (PARTITION BY i.inhparent
             ORDER BY (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([^'']*)'))[1]::timestamptz);
CREATE VIEW gaps AS
SELECT a.part FROM parts a JOIN parts b ON b."table" = a."table" AND b.n = a.n + 1 AND b.lower <> a.upper;

-- Before anything was enabled there is only the default partition; it takes
-- everything.
SELECT count(*) FROM parts;
CREATE TABLE a (id int PRIMARY KEY, v text);
CREATE TRIGGER trail AFTER INSERT OR UPDATE OR DELETE ON a
    FOR EACH ROW EXECUTE FUNCTION dbpatterns.audit_trigger();
INSERT INTO a SELECT i FROM generate_series(1, 3000) i;
SELECT tableoid::regclass, count(*) FROM _dbpatterns.audit_log WHERE op = 'I' GROUP BY 1;
SELECT severity, object, problem, remedy FROM dbpatterns.audit_check();

-- audit_run makes the partitions and moves those rows; the second run finds
-- nothing to do.
CALL dbpatterns.audit_run();
SELECT "table", n, starts = '0' AS this_month FROM parts WHERE n = 1 ORDER BY 1;
SELECT "table", max(upper) BETWEEN now() + '3 months' AND now() + '4 months 3 days' AS ahead FROM parts GROUP BY 1 ORDER BY 1;
SELECT count(DISTINCT p.n) FROM _dbpatterns.audit_log e JOIN parts p ON p.part = e.tableoid;
SELECT count(*), count(DISTINCT id) FROM _dbpatterns.audit_log WHERE op = 'I';
SELECT count(*) FROM _dbpatterns.audit_log_default;
SELECT * FROM dbpatterns.audit_check() WHERE severity <> 'error';
CREATE TABLE before AS SELECT part FROM parts;
CALL dbpatterns.audit_run();
SELECT count(*) FROM parts WHERE part NOT IN (SELECT part FROM before);
-- Other widths go on where the last partition ends.
SELECT max(upper) - now() AS ahead FROM parts \gset
CALL dbpatterns.audit_run(every => '1 day', ahead => :'ahead'::interval + '23 hours');
CALL dbpatterns.audit_run(every => '1 hour', ahead => :'ahead'::interval + '1 day 1 hour');
CALL dbpatterns.audit_run(every => '1 year', ahead => :'ahead'::interval + '2 days');
SELECT DISTINCT CASE WHEN width > '300 days' THEN 'year' WHEN width > '25 days' THEN 'month'
                     WHEN width = '1 day' THEN 'day' WHEN width = '1 hour' THEN 'hour' END AS width
  FROM parts ORDER BY 1;
SELECT * FROM gaps;
SELECT * FROM dbpatterns.progress;
-- It also works inside a transaction, and undoes with it.
BEGIN;
SELECT count(*) AS n FROM parts \gset
CALL dbpatterns.audit_run(ahead => '2 years');
SELECT count(*) > :n AS more FROM parts;
ROLLBACK;
SELECT count(*) = :n AS same FROM parts;
-- Whatever the settings of the session.
SET TimeZone = 'Pacific/Chatham';
SET DateStyle = 'SQL, DMY';
SET IntervalStyle = 'sql_standard';
CALL dbpatterns.audit_run(ahead => '16 months');
RESET TimeZone;
RESET DateStyle;
RESET IntervalStyle;
SELECT * FROM gaps;

-- Purge.  To have something old, entries of long ago are put where a restore
-- would put them: into the log, which routes them to the default partition.
INSERT INTO _dbpatterns.audit_log (xact_time, id, txn, shape, op)
    SELECT now() - i * interval '1 month', i, i, 1, 'I' FROM generate_series(2, 36) i;
SELECT count(*) FROM _dbpatterns.audit_log_default;
SELECT severity, object, problem, remedy FROM dbpatterns.audit_check() WHERE severity <> 'error';
CALL dbpatterns.audit_purge(now() - interval '24 months 1 day');
SELECT count(*) FROM _dbpatterns.audit_log_default;
SELECT op, new ? 'event' AS marker, new->>'event' AS event FROM _dbpatterns.audit_log WHERE op = 'M';
CALL dbpatterns.audit_run(keep => '12 months');
SELECT count(*) FROM _dbpatterns.audit_log_default;
SELECT count(*) FROM _dbpatterns.audit_log WHERE op = 'M';
-- Nothing to remove, nothing to tell.
CALL dbpatterns.audit_purge(now() - interval '12 months 1 day');
SELECT count(*) FROM _dbpatterns.audit_log WHERE op = 'M';

-- Whole partitions: those that end by then go, the one that goes on stays.
-- Here in a log that began nine months ago.
:finish
\i :include
DROP EXTENSION dbpatterns;
CREATE EXTENSION dbpatterns;
CREATE VIEW parts AS SELECT i.inhparent, i.inhrelid, pg_get_expr(c.relpartbound, c.oid) AS bound
  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
 WHERE i.inhparent = '_dbpatterns.audit_log'::regclass;
-- To begin with: audit_enable makes no partitions.
CREATE TABLE a (id int PRIMARY KEY);
SELECT audit('a');
SELECT inhparent::regclass, count(*) FROM parts GROUP BY 1 ORDER BY 1;
INSERT INTO _dbpatterns.audit_log (xact_time, id, txn, shape, op)
    SELECT now() - i * interval '1 month', i, i, 1, 'I' FROM generate_series(0, 9) i;
CALL dbpatterns.audit_run(ahead => '0');
SELECT inhparent::regclass, count(*) FROM parts GROUP BY 1 ORDER BY 1;
SELECT count(DISTINCT tableoid) FROM _dbpatterns.audit_log WHERE op = 'I';
SELECT count(*) FROM _dbpatterns.audit_log_default;
-- In the middle of a month: that month stays.
CALL dbpatterns.audit_purge(date_trunc('month', now(), 'UTC') - interval '4 months' + interval '10 days');
SELECT inhparent::regclass, count(*) FROM parts GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM _dbpatterns.audit_log WHERE op = 'I';
-- Inside a transaction, which is rolled back.
BEGIN;
CALL dbpatterns.audit_purge(now());
SELECT count(*) FROM _dbpatterns.audit_log WHERE op = 'I';
ROLLBACK;
SELECT count(*) FROM _dbpatterns.audit_log WHERE op = 'I';
-- Everything that can go.  Writers go on.
CALL dbpatterns.audit_purge(now());
INSERT INTO a VALUES (1);
SELECT * FROM tally();
SELECT inhparent::regclass, count(*) FROM parts GROUP BY 1 ORDER BY 1;
CALL dbpatterns.audit_run();
INSERT INTO a VALUES (2);
SELECT * FROM tally();

-- No partition at all, not even a default one: only then is there nothing to
-- be done for a writer.
BEGIN;
DO $$
DECLARE
    part record;
BEGIN
    FOR part IN SELECT * FROM parts LOOP
        EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', part.inhparent::regclass, part.inhrelid::regclass);
    END LOOP;
END $$;
SELECT regexp_replace(refused('INSERT INTO a VALUES (3); SELECT dbpatterns.audit_flush()'), 'rows of .*?\n', E'rows of ...\n');
ROLLBACK;
-- A log with a trigger of the auditor's own: rows go there all the same, with
-- the rights of the log's owner.
CREATE TABLE alert (what text);
CREATE FUNCTION alert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO t.alert VALUES (concat_ws(' ', new.op, new.new)); RETURN NULL; END $$;
CREATE TRIGGER alert AFTER INSERT ON _dbpatterns.audit_log FOR EACH ROW EXECUTE FUNCTION alert();
CREATE ROLE regress_dbp_user;
GRANT USAGE ON SCHEMA t TO regress_dbp_user;
GRANT INSERT ON a TO regress_dbp_user;
SET ROLE regress_dbp_user;
INSERT INTO a VALUES (4), (5);
RESET ROLE;
SELECT * FROM alert;
SELECT * FROM news();

:finish
DROP ROLE regress_dbp_user;

-- Partitioned tables, TRUNCATE, and triggers of the user's beside ours.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/versioning.sql'
\i :include
SET search_path = part, dbpatterns, public;
CREATE SCHEMA part;

CREATE TABLE m (id int, region text, v int, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE m_a PARTITION OF m FOR VALUES IN ('a');
-- Other order, and a hole.
CREATE TABLE m_b (hole int, v int, region text NOT NULL, id int NOT NULL);
ALTER TABLE m_b DROP COLUMN hole;
ALTER TABLE m ATTACH PARTITION m_b FOR VALUES IN ('b');
SELECT versioning_enable('m', time_source => 'clock');
SELECT set_system_time('2020-01-01');
SELECT versioning_enable('m');
INSERT INTO m VALUES (1, 'a', 1), (2, 'b', 1), (3, 'a', 1);

-- A row that moves to another partition leaves one version, not two, and begins
-- when that ended, also where its time had to be adjusted.
SELECT set_system_time('2020-02-01');
UPDATE m SET region = 'b' WHERE id = 1;
SELECT set_system_time('2019-01-01');
UPDATE m SET region = 'a' WHERE id = 1;
UPDATE m SET region = 'b' WHERE id = 3;
SELECT id, region, sys_period FROM m WHERE id IN (1, 3) ORDER BY id;
SELECT id, region, sys_period FROM m_history WHERE id IN (1, 3) ORDER BY id, sys_period;
-- In the transaction that made it, it leaves none.
BEGIN;
INSERT INTO m VALUES (4, 'a', 1);
SELECT set_system_time('2020-03-01');
UPDATE m SET region = 'b' WHERE id = 4;
COMMIT;
SELECT id, region, sys_period FROM m WHERE id = 4;
SELECT count(*) FROM m_history WHERE id = 4;

-- Changes of a partition itself.
SELECT set_system_time('2020-04-01');
UPDATE m_b SET v = 2;
DELETE FROM m_b WHERE id = 4;
SELECT id, region, v, sys_period FROM m__versions() WHERE id IN (2, 4) ORDER BY id, sys_period;

-- Partitions that come and go.
CREATE TABLE m_c PARTITION OF m FOR VALUES IN ('c');
INSERT INTO m VALUES (5, 'c', 1);
SELECT set_system_time('2020-05-01');
UPDATE m SET v = 3 WHERE region = 'c';
SELECT id, region, v, sys_period FROM m__versions() WHERE region = 'c' ORDER BY sys_period;
TRUNCATE m_c;
ALTER TABLE m DETACH PARTITION m_c;
TRUNCATE m_c;
UPDATE m_c SET v = 4;
\d m_c
ALTER TABLE m ATTACH PARTITION m_c FOR VALUES IN ('c');
TRUNCATE m_c;
SELECT * FROM versioning_check('m');
-- Columns are added to all.
ALTER TABLE m ADD COLUMN extra int DEFAULT 1;
SELECT set_system_time('2020-06-01');
UPDATE m SET extra = 2 WHERE id = 2;
SELECT id, extra FROM m_history WHERE upper(sys_period) = '2020-06-01';

-- TRUNCATE is refused, or archives, or is ignored.
TRUNCATE m;
SELECT versioning_enable('m', on_truncate => 'archive');
BEGIN;
SELECT count(*) FROM m;
SELECT set_system_time('2020-07-01');
TRUNCATE m;
SELECT count(*) FROM m_history WHERE upper(sys_period) = '2020-07-01';
ROLLBACK;
SELECT set_system_time('2020-07-01');
TRUNCATE m_a;
SELECT id, region FROM m_history WHERE upper(sys_period) = '2020-07-01' ORDER BY id;
SELECT versioning_enable('m', on_truncate => 'ignore');
TRUNCATE m;
SELECT count(*) FROM m_history WHERE upper(sys_period) = '2020-07-01';

-- A trigger that fires after ours and cancels a change leaves no version; one that
-- changes the row has its changes archived; the period is none of its business.
CREATE TABLE t (id int PRIMARY KEY, v int, touched timestamptz);
SELECT versioning_enable('t');
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.v = 1 THEN RETURN NULL; END IF;
    IF NEW.v = 2 THEN NEW.sys_period := '[1999-01-01,)'; END IF;
    IF NEW.v = 3 THEN NEW.sys_period := 'empty'; END IF;
    IF NEW.v = 4 AND TG_OP = 'UPDATE' THEN NEW.sys_period := OLD.sys_period; END IF;
    NEW.touched := '2000-01-01';
    RETURN NEW;
END $$;
CREATE TRIGGER zz_meddle BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION meddle();
INSERT INTO t VALUES (1, 0);
INSERT INTO t VALUES (2, 2);
INSERT INTO t VALUES (2, 3);
SELECT set_system_time('2020-08-01');
UPDATE t SET v = 1;
SELECT count(*) FROM t_history;
UPDATE t SET v = 2;
UPDATE t SET v = 3;
UPDATE t SET v = 4;
UPDATE t SET v = v;
SELECT id, v, touched, sys_period FROM t__versions() ORDER BY sys_period;
DROP TRIGGER zz_meddle ON t;

-- Triggers of the user's that run statements in the middle of ours: each statement
-- archives what it changed, also where a part is undone.
CREATE FUNCTION nest() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.id < 10 THEN
        UPDATE part.t SET v = v + 100 WHERE id = OLD.id + 10;
        BEGIN
            UPDATE part.t SET v = v + 1000 WHERE id = OLD.id + 10;
            RAISE division_by_zero;
        EXCEPTION WHEN division_by_zero THEN NULL;
        END;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER a_nest AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION nest();
TRUNCATE t_history;
SELECT set_system_time('2020-09-01');
DELETE FROM t;
TRUNCATE t_history;
INSERT INTO t SELECT g, 0 FROM generate_series(1, 3) g UNION ALL SELECT g, 0 FROM generate_series(11, 13) g;
SELECT set_system_time('2020-10-01');
UPDATE t SET v = 1 WHERE id < 10;
SELECT id, v, sys_period FROM t ORDER BY id;
SELECT id, v, sys_period FROM t_history ORDER BY id, v;

-- A history that has triggers, checks or a partitioning of the user's gets its rows by
-- INSERT, as its owner.
CREATE TABLE u (id int PRIMARY KEY, v int);
CREATE TABLE u_history (id int NOT NULL, v int CHECK (v < 100), sys_period tstzrange);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE WARNING '% archives %', current_user, NEW;
    RETURN NEW;
END $$;
CREATE TRIGGER note BEFORE INSERT ON u_history FOR EACH ROW EXECUTE FUNCTION note();
SELECT versioning_enable('u');
INSERT INTO u VALUES (1, 1), (2, 200);
SELECT set_system_time('2020-11-01');
UPDATE u SET v = 2 WHERE id = 1;
UPDATE u SET v = 2 WHERE id = 2;
SELECT id, v, sys_period FROM u_history;
CREATE TABLE w (id int PRIMARY KEY, v int);
CREATE TABLE w_history (id int, v int, twice int GENERATED ALWAYS AS (v * 2) STORED, sys_period tstzrange)
    PARTITION BY LIST (id);
CREATE TABLE w_history_1 PARTITION OF w_history FOR VALUES IN (1);
SELECT versioning_enable('w', partition_by => '1 month');
SELECT versioning_enable('w');
INSERT INTO w VALUES (1, 1), (2, 1);
SELECT set_system_time('2020-12-01');
UPDATE w SET v = 2 WHERE id = 1;
\set VERBOSITY terse
UPDATE w SET v = 2 WHERE id = 2;
SELECT tableoid::regclass, * FROM w_history;
SELECT set_system_time(NULL);
DROP SCHEMA part CASCADE;

-- Past states that the log cannot tell are refused, whatever made the gap.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/audit.sql'
\i :include
SET client_min_messages = warning;

-- Whether the state of a table at a time is told, by both readers of past
-- states: its rows, or the SQLSTATE and what is said.
CREATE FUNCTION past(target regclass, at timestamptz) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT row::text FROM dbpatterns.audit_table_at(target, at) row ORDER BY row;
EXCEPTION WHEN object_not_in_prerequisite_state THEN
    RETURN NEXT '55000: ' || regexp_replace(sqlerrm, '\d{4}-\d\d-\d\d \S+( [A-Z]\w+)?', '<time>', 'g');
END $$;
CREATE FUNCTION row_past(target regclass, key jsonb, at timestamptz) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN coalesce(dbpatterns.audit_row_at(target, key, at)::text, 'no row');
EXCEPTION WHEN object_not_in_prerequisite_state THEN
    RETURN '55000: ' || regexp_replace(sqlerrm, '\d{4}-\d\d-\d\d \S+( [A-Z]\w+)?', '<time>', 'g');
END $$;
CREATE FUNCTION markers() RETURNS SETOF jsonb LANGUAGE sql AS $$
    SELECT new FROM t.news() WHERE op = 'M'
$$;

-- Rows leave with a partition: dropped, alone or with others; detached from
-- the root or from below.  They come with one that is attached.
CREATE TABLE part (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (10);
CREATE TABLE part2 PARTITION OF part FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (id);
CREATE TABLE part21 PARTITION OF part2 FOR VALUES FROM (10) TO (15);
CREATE TABLE part22 PARTITION OF part2 FOR VALUES FROM (15) TO (20);
CREATE TABLE part3 PARTITION OF part FOR VALUES FROM (20) TO (30);
SELECT audit('part');
INSERT INTO part VALUES (1, 'one'), (11, 'eleven'), (16, 'sixteen'), (21, 'twenty-one');
SELECT clock_timestamp() AS t0 \gset
DROP TABLE part1;
SELECT * FROM past('part', :'t0');
SELECT row_past('part', '{"id": 1}', :'t0');
SELECT clock_timestamp() AS t0 \gset
SELECT * FROM past('part', :'t0');
ALTER TABLE part2 DETACH PARTITION part21;
SELECT * FROM past('part', :'t0');
SELECT clock_timestamp() AS t0 \gset
DROP TABLE part2;
SELECT * FROM past('part', :'t0');
SELECT clock_timestamp() AS t0 \gset
CREATE SCHEMA apart;
ALTER TABLE part3 SET SCHEMA apart;
DROP SCHEMA apart CASCADE;
SELECT * FROM past('part', :'t0');
SELECT clock_timestamp() AS t0 \gset
ALTER TABLE part ATTACH PARTITION part21 FOR VALUES FROM (10) TO (15);
SELECT * FROM past('part', :'t0');
SELECT clock_timestamp() AS t0 \gset
SELECT * FROM past('part', :'t0');
-- An empty one brings nothing.
CREATE TABLE part4 (LIKE part INCLUDING ALL);
ALTER TABLE part ATTACH PARTITION part4 FOR VALUES FROM (40) TO (50);
CREATE TABLE part5 PARTITION OF part FOR VALUES FROM (50) TO (60);
ALTER TABLE part5 ADD CHECK (v <> 'x');
SELECT * FROM past('part', :'t0');
SELECT * FROM markers();

-- Logging of a partition switched off for a while, row by row or for TRUNCATE.
INSERT INTO part VALUES (41, 'forty-one');
SELECT clock_timestamp() AS t0 \gset
ALTER TABLE part4 DISABLE TRIGGER dbpatterns_80_audit;
SELECT * FROM past('part', :'t0');
ALTER TABLE part4 RENAME TO part6;
ALTER TABLE part6 ENABLE TRIGGER dbpatterns_80_audit;
SELECT * FROM past('part', :'t0');
SELECT clock_timestamp() AS t0 \gset
SELECT * FROM past('part', :'t0');
DROP TRIGGER dbpatterns_81_audit ON part6;
SELECT * FROM past('part', :'t0');
SELECT audit('part');
SELECT * FROM past('part', :'t0');
SELECT clock_timestamp() AS t0 \gset
SELECT * FROM past('part', :'t0');
ALTER TABLE part6 DISABLE TRIGGER ALL;
DROP TABLE part6;
SELECT clock_timestamp() AS t0 \gset
SELECT * FROM past('part', :'t0');

-- A trigger of ours, renamed and then dropped.
CREATE TABLE gap (id int PRIMARY KEY, v text);
SELECT audit('gap');
INSERT INTO gap VALUES (1, 'logged');
SELECT clock_timestamp() AS t0 \gset
ALTER TRIGGER dbpatterns_80_audit ON gap RENAME TO mine;
SELECT * FROM past('gap', :'t0');
DROP TRIGGER mine ON gap;
UPDATE gap SET v = 'not logged';
SELECT audit('gap');
SELECT * FROM past('gap', :'t0');
SELECT row_past('gap', '{"id": 1}', :'t0');
SELECT clock_timestamp() AS t0 \gset
ALTER TRIGGER dbpatterns_81_audit ON gap RENAME TO mine;
DROP TRIGGER mine ON gap;
TRUNCATE gap;
SELECT audit('gap');
SELECT * FROM past('gap', :'t0');

-- Triggers made by hand, dropped and made again.
CREATE TABLE hand (id int PRIMARY KEY, v text, w text);
CREATE TRIGGER rows AFTER INSERT OR UPDATE OR DELETE ON hand
    FOR EACH ROW EXECUTE FUNCTION dbpatterns.audit_trigger();
INSERT INTO hand VALUES (1, 'logged', 'w');
SELECT clock_timestamp() AS t0 \gset
SELECT * FROM past('hand', :'t0');
CREATE TRIGGER truncation BEFORE TRUNCATE ON hand
    EXECUTE FUNCTION dbpatterns.audit_trigger();
SELECT * FROM past('hand', :'t0');
SELECT clock_timestamp() AS t0 \gset
ALTER TABLE hand ADD x int;
ALTER TRIGGER rows ON hand RENAME TO lines;
SELECT * FROM past('hand', :'t0');
DROP TRIGGER lines ON hand;
UPDATE hand SET v = 'not logged';
CREATE TRIGGER rows AFTER INSERT OR UPDATE OR DELETE ON hand
    FOR EACH ROW EXECUTE FUNCTION dbpatterns.audit_trigger();
SELECT * FROM past('hand', :'t0');
SELECT clock_timestamp() AS t0 \gset
SELECT * FROM past('hand', :'t0');
-- With other options: a column that was not logged all the time is not shown.
CREATE OR REPLACE TRIGGER rows AFTER INSERT OR UPDATE OR DELETE ON hand
    FOR EACH ROW EXECUTE FUNCTION dbpatterns.audit_trigger('{"exclude": ["w"]}');
UPDATE hand SET w = 'not logged';
CREATE OR REPLACE TRIGGER rows AFTER INSERT OR UPDATE OR DELETE ON hand
    FOR EACH ROW EXECUTE FUNCTION dbpatterns.audit_trigger();
SELECT * FROM past('hand', :'t0');
SELECT clock_timestamp() AS t0 \gset
SELECT * FROM past('hand', :'t0');
-- Two that log the same rows.
CREATE TRIGGER again AFTER INSERT OR UPDATE OR DELETE ON hand
    FOR EACH ROW EXECUTE FUNCTION dbpatterns.audit_trigger('{"key": ["v"]}');
UPDATE hand SET w = 'twice';
SELECT * FROM past('hand', :'t0');
SELECT * FROM markers();

-- Two triggers with different keys take turns; each shape is recorded once.
CREATE FUNCTION shapes() RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM _dbpatterns.audit_shape WHERE table_name = 'hand'
$$;
SELECT shapes() AS shapes \gset
\c -
SET search_path = t;
UPDATE hand SET w = 'in a new session';
SELECT shapes() - :shapes AS more;
-- A key that comes back is another shape: readers go by the last one.
CREATE TABLE keyed (a int, b int);
SELECT dbpatterns.audit_enable('keyed', key => '{a}');
SELECT dbpatterns.audit_enable('keyed', key => '{b}');
SELECT dbpatterns.audit_enable('keyed', key => '{a}');
SELECT key FROM _dbpatterns.audit_shape WHERE table_name = 'keyed' ORDER BY shape;

-- A column that got another type: what its values were is not known, for the
-- change may have computed them.  A key can no longer be followed.
CREATE TABLE retyped (id int PRIMARY KEY, price int, v text);
SELECT audit('retyped');
INSERT INTO retyped VALUES (1, 5, 'kept'), (2, 6, 'changed');
SELECT clock_timestamp() AS t0 \gset
UPDATE retyped SET price = 7, v = 'before' WHERE id = 2;
ALTER TABLE retyped ALTER price TYPE text USING (price * 100) || ' cents';
SELECT * FROM past('retyped', :'t0');
SELECT row_past('retyped', '{"id": 2}', :'t0');
SELECT clock_timestamp() AS t0 \gset
UPDATE retyped SET price = 'new';
SELECT * FROM past('retyped', :'t0');
-- Even to the same type, and in a table that inherits the column.
CREATE TABLE heir (PRIMARY KEY (id)) INHERITS (retyped);
SELECT audit('heir');
INSERT INTO heir VALUES (9, 'x', 'kept');
SELECT clock_timestamp() AS t0 \gset
ALTER TABLE retyped ALTER v TYPE text USING 'computed';
SELECT * FROM past('retyped', :'t0');
SELECT * FROM past('heir', :'t0');
DROP TABLE heir;
-- Event triggers need not have seen it.
SELECT clock_timestamp() AS t0 \gset
ALTER EVENT TRIGGER dbpatterns_ddl_command_end DISABLE;
ALTER TABLE retyped ALTER v TYPE varchar;
ALTER EVENT TRIGGER dbpatterns_ddl_command_end ENABLE;
SELECT * FROM past('retyped', :'t0');
ALTER TABLE retyped ALTER id TYPE bigint USING id + 1;
SELECT * FROM past('retyped', :'t0');
SELECT row_past('retyped', '{"id": 2}', :'t0');
SELECT clock_timestamp() AS t0 \gset
SELECT * FROM past('retyped', :'t0');

-- A label of an enum is renamed.
CREATE TYPE color AS ENUM ('red', 'green');
CREATE DOMAIN paint AS color;
CREATE TABLE dyed (c color PRIMARY KEY, v text);
CREATE TABLE painted (id int PRIMARY KEY, c paint, all_of color[], v text);
SELECT audit('dyed'), audit('painted');
INSERT INTO dyed VALUES ('red', 'old');
INSERT INTO painted VALUES (1, 'red', '{red}', 'old'), (2, 'red', '{red}', 'old');
SELECT clock_timestamp() AS t0 \gset
UPDATE dyed SET v = 'new';
UPDATE painted SET c = 'green', all_of = '{}', v = 'new' WHERE id = 1;
ALTER TYPE color ADD VALUE 'blue';
SELECT * FROM past('dyed', :'t0');
SELECT * FROM past('painted', :'t0');
ALTER TYPE color RENAME VALUE 'red' TO 'rouge';
SELECT * FROM past('dyed', :'t0');
SELECT row_past('dyed', '{"c": "rouge"}', :'t0');
SELECT * FROM past('painted', :'t0');
SELECT clock_timestamp() AS t0 \gset
UPDATE dyed SET v = 'newer';
SELECT * FROM past('dyed', :'t0');
SELECT * FROM past('painted', :'t0');
SELECT * FROM markers();

-- An attribute of a composite type is dropped; names are not logged.
CREATE TYPE pair AS (x int, y int);
CREATE TABLE pairs (id int PRIMARY KEY, p pair, all_of pair[]);
SELECT audit('pairs');
INSERT INTO pairs VALUES (1, (1, 2), ARRAY[(3, 4)]::pair[]);
SELECT clock_timestamp() AS t0 \gset
ALTER TYPE pair RENAME TO couple;
ALTER TYPE couple RENAME ATTRIBUTE x TO z;
SELECT * FROM past('pairs', :'t0');
ALTER TYPE couple DROP ATTRIBUTE z;
SELECT * FROM past('pairs', :'t0');
SELECT * FROM markers();
:finish

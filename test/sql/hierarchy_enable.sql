-- What closure_enable makes, for every kind of key; what a second call changes;
-- what closure_disable leaves behind.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/hierarchy.sql'
\i :include

-- Columns of a table, its indexes, and the triggers of one.
CREATE FUNCTION shape(rel regclass) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT line FROM (
        SELECT attnum, concat_ws(' ', attname, format_type(atttypid, atttypmod),
                       'COLLATE ' || nullif(collname, 'default'), CASE WHEN attnotnull THEN 'NOT NULL' END)
          FROM pg_attribute LEFT JOIN pg_collation c ON c.oid = attcollation
         WHERE attrelid = rel AND attnum > 0 AND NOT attisdropped
        UNION ALL
        SELECT 100 - indisprimary::int, pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = rel) x (n, line)
     ORDER BY n
$$;
CREATE FUNCTION triggers(rel regclass) RETURNS TABLE (name name, fires "char", definition text) LANGUAGE sql AS $$
    SELECT tgname, tgenabled, regexp_replace(pg_get_triggerdef(oid), '^.* (AFTER.*) EXECUTE .*$', '\1')
      FROM pg_trigger WHERE tgrelid = rel AND NOT tgisinternal ORDER BY 1
$$;
CREATE VIEW argument AS
    SELECT tgrelid::regclass AS "table", tgname AS name,
           convert_from(substring(tgargs, 1, length(tgargs) - 1), 'SQL_ASCII') AS argument
      FROM pg_trigger WHERE NOT tgisinternal;

-- A tree with an integer key.  The index to find children by is made, too.
CREATE TABLE node (id int PRIMARY KEY, parent_id int REFERENCES node, name text);
INSERT INTO node VALUES (1, NULL, 'a'), (2, 1, 'b'), (3, 2, 'c'), (4, NULL, 'd');
SELECT dbpatterns.closure_enable('node', 'parent_id');
SELECT watch('node', '{parent_id}');
:same
SELECT * FROM below('node_closure');
SELECT * FROM shape('node_closure');
SELECT * FROM triggers('node');
SELECT argument FROM argument WHERE name = 'dbpatterns_40_closure';
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'node'::regclass AND NOT indisprimary;
SELECT target, closure, kind, key, parent, order_by, max_depth, on_orphan, counters, fire, active
  FROM dbpatterns.closure_status;
SELECT target, patterns FROM dbpatterns.status;
SELECT obj_description('node_closure'::regclass);
-- The planner has its statistics.
SELECT reltuples FROM pg_class WHERE oid = 'node_closure'::regclass;

-- The same again changes nothing, whether or not the name is given.
SELECT dbpatterns.closure_enable('node', 'parent_id');
SELECT dbpatterns.closure_enable('node', ARRAY['parent_id'], closure => 'node_closure', key => '{id}');

-- Other settings alter it in place: the closure table stays the same one.
SELECT 'node_closure'::regclass::oid AS before \gset
SELECT dbpatterns.closure_enable('node', 'parent_id', max_depth => NULL, order_by => 'name',
                                 on_orphan => 'error', counters => true, fire => 'always');
SELECT 'node_closure'::regclass::oid = :before AS same_table;
SELECT name, fires FROM triggers('node');
SELECT order_by, max_depth, on_orphan, counters, fire, active FROM dbpatterns.closure_status;
SELECT options FROM dbpatterns.status;
SELECT dbpatterns.closure_enable('node', 'parent_id');
SELECT name, fires FROM triggers('node');
-- A stricter one is refused if the rows do not allow it.
SELECT split_part(refused('SELECT dbpatterns.closure_enable(''node'', ''parent_id'', max_depth => 1)'), E'\n', 1) AS refused;
SELECT max_depth, active FROM dbpatterns.closure_status;

-- Triggers that are missing, renamed or disabled are made anew, and what they
-- did not see is made up for.
ALTER TABLE node DISABLE TRIGGER dbpatterns_40_closure;
DROP TRIGGER dbpatterns_41_closure ON node;
SELECT active FROM dbpatterns.closure_status;
INSERT INTO node VALUES (5, 4, 'e');
UPDATE node SET parent_id = 4 WHERE id = 2;
SELECT dbpatterns.closure_enable('node', 'parent_id');
:same
SELECT active FROM dbpatterns.closure_status;
ALTER TRIGGER dbpatterns_42_closure ON node RENAME TO mine;
SELECT dbpatterns.closure_enable('node', 'parent_id');
SELECT name FROM triggers('node');
:same

-- Disabled, the closure table is a table like any other, which outlives the
-- other one.
SELECT dbpatterns.closure_disable('node');
SELECT * FROM triggers('node');
SELECT * FROM dbpatterns.status;
SELECT refused('SELECT dbpatterns.closure_enable(''node'', ''parent_id'')');
DROP TABLE node;
SELECT count(*) FROM node_closure;
DROP TABLE node_closure;

-- Or it is dropped; a table without one says so.
CREATE TABLE node (id int PRIMARY KEY, parent_id int, name text);
CREATE INDEX ON node (parent_id, name);
SELECT dbpatterns.closure_enable('node', 'parent_id');
SELECT dbpatterns.closure_disable('node', drop_closure => true);
SELECT to_regclass('node_closure');
SELECT dbpatterns.closure_disable('node');
SELECT refused('SELECT dbpatterns.closure_disable(''node'', ''node_closure'')');

-- Several hierarchies on one table, with a name of their own each.
ALTER TABLE node ADD mentor_id int, ADD buddy_id int;
CREATE INDEX ON node (mentor_id);
CREATE INDEX ON node (buddy_id);
SELECT dbpatterns.closure_enable('node', 'parent_id');
SELECT dbpatterns.closure_enable('node', 'mentor_id', closure => 'mentors');
SELECT dbpatterns.closure_enable('node', 'buddy_id', closure => 'Bud"dies''_closure');
SELECT dbpatterns.closure_enable('node', 'mentor_id');
SELECT name, argument FROM argument WHERE name ~ '4[03]' ORDER BY 1;
SELECT closure, parent, active FROM dbpatterns.closure_status ORDER BY closure::text COLLATE "C";
SELECT refused('SELECT dbpatterns.closure_disable(''node'')');
SELECT refused('SELECT dbpatterns.closure_disable(''node'', ''others'')');
SELECT refused('SELECT dbpatterns.closure_enable(''node'', ''buddy_id'', closure => ''mentors'')');
SELECT dbpatterns.closure_disable('node', 'mentors', true);
SELECT name FROM triggers('node');
SELECT dbpatterns.closure_enable('node', 'mentor_id', closure => 'mentors');
SELECT name FROM triggers('node') WHERE name ~ '40';
SELECT closure, active FROM dbpatterns.closure_status ORDER BY closure::text COLLATE "C";
DROP TABLE node;
SELECT relname FROM pg_class WHERE relnamespace = 't'::regnamespace AND relkind = 'r' ORDER BY 1;

-- Keys of other types.  Updates are filtered by a condition where a dump can
-- restore it.
CREATE DOMAIN code AS text COLLATE "C" CHECK (VALUE <> '');
CREATE TYPE colour AS ENUM ('red', 'green');
CREATE TABLE k_uuid (id uuid PRIMARY KEY, up uuid);
CREATE TABLE k_text (id varchar(10) COLLATE "C" PRIMARY KEY, up varchar(20) COLLATE "C");
CREATE TABLE k_domain (id code PRIMARY KEY, up text COLLATE "C");
CREATE TABLE k_enum (id colour PRIMARY KEY, up colour);
CREATE TABLE k_numeric (id numeric(10, 2) PRIMARY KEY, up numeric);
CREATE TABLE k_array (id int[] PRIMARY KEY, up int[]);
CREATE TABLE k_generated (id int PRIMARY KEY, path text, up int GENERATED ALWAYS AS (length(path)) STORED);
CREATE TABLE k_deferred (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, up int);
CREATE TABLE k_unique (id int NOT NULL, up int, UNIQUE (id));
CREATE TABLE "k ""quoted""" ("the id" int PRIMARY KEY, "the ""up""" int);
-- A type whose operators are not found by every search_path.
SET client_min_messages = warning;
CREATE TYPE num;
CREATE FUNCTION num_in(cstring) RETURNS num LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
CREATE FUNCTION num_out(num) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int4out';
CREATE TYPE num (INPUT = num_in, OUTPUT = num_out, LIKE = int4);
CREATE FUNCTION num_eq(num, num) RETURNS bool LANGUAGE internal IMMUTABLE STRICT AS 'int4eq';
CREATE FUNCTION num_lt(num, num) RETURNS bool LANGUAGE internal IMMUTABLE STRICT AS 'int4lt';
CREATE FUNCTION num_gt(num, num) RETURNS bool LANGUAGE internal IMMUTABLE STRICT AS 'int4gt';
CREATE FUNCTION num_cmp(num, num) RETURNS int LANGUAGE internal IMMUTABLE STRICT AS 'btint4cmp';
CREATE FUNCTION num_hash(num) RETURNS int LANGUAGE internal IMMUTABLE STRICT AS 'hashint4';
CREATE OPERATOR = (FUNCTION = num_eq, LEFTARG = num, RIGHTARG = num, COMMUTATOR = =, HASHES, MERGES);
CREATE OPERATOR < (FUNCTION = num_lt, LEFTARG = num, RIGHTARG = num, COMMUTATOR = >);
CREATE OPERATOR > (FUNCTION = num_gt, LEFTARG = num, RIGHTARG = num, COMMUTATOR = <);
CREATE OPERATOR CLASS num_btree DEFAULT FOR TYPE num USING btree AS
    OPERATOR 1 <, OPERATOR 3 =, OPERATOR 5 >, FUNCTION 1 num_cmp(num, num);
CREATE OPERATOR CLASS num_hashed DEFAULT FOR TYPE num USING hash AS OPERATOR 1 =, FUNCTION 1 num_hash(num);
CREATE TABLE k_num (id num PRIMARY KEY, up num);

SELECT dbpatterns.closure_enable(name::regclass, 'up')
  FROM unnest('{k_uuid,k_text,k_domain,k_enum,k_numeric,k_array,k_generated,k_deferred,k_num}'::text[]) name;
SELECT dbpatterns.closure_enable('k_unique', 'up', key => '{id}');
SELECT dbpatterns.closure_enable('"k ""quoted"""', 'the "up"');
SELECT target, (SELECT string_agg(s, ', ') FROM shape(closure) s WHERE s !~ 'INDEX') AS shape
  FROM dbpatterns.closure_status ORDER BY target::text COLLATE "C";
SELECT tgrelid::regclass, tgqual IS NOT NULL AS filtered FROM pg_trigger
 WHERE tgname = 'dbpatterns_41_closure' ORDER BY tgrelid::regclass::text COLLATE "C";
RESET client_min_messages;
INSERT INTO k_num VALUES ('1', NULL), ('2', '1'), ('3', '1');
UPDATE k_num SET up = '2' WHERE id = '3';
SELECT * FROM below('k_num_closure');
INSERT INTO k_domain VALUES ('a', NULL), ('b', 'a');
SELECT * FROM below('k_domain_closure');

-- Keys of several columns.  What key and parent have in common is the scope: it
-- comes first, whatever the order in the primary key.
CREATE TABLE m (tenant int, id int, up int, side int, side2 int, extra text NOT NULL, PRIMARY KEY (id, tenant));
CREATE INDEX ON m (tenant, up);
SELECT dbpatterns.closure_enable('m', '{tenant,up}');
SELECT * FROM shape('m_closure');
SELECT key, parent, argument::jsonb -> 'scope' AS scope FROM dbpatterns.closure_status
  JOIN argument a ON a."table" = target AND a.name = 'dbpatterns_40_closure' WHERE target = 'm'::regclass;
-- The same by argument.
SELECT dbpatterns.closure_enable('m', 'up', scope => '{tenant}');
-- Without a scope.
CREATE INDEX ON m (side, side2);
SELECT dbpatterns.closure_enable('m', '{side2,side}', closure => 'm_side');
SELECT * FROM shape('m_side');
-- A scope that is not in the key.
CREATE TABLE s (id int PRIMARY KEY, up int, region text NOT NULL);
CREATE INDEX ON s (region, up);
SELECT dbpatterns.closure_enable('s', 'up', scope => '{region}');
SELECT * FROM shape('s_closure');

-- Long names are cut, not refused; names that are taken are gone round.
CREATE TABLE a_table_with_a_name_that_is_as_long_as_a_name_can_be_in_postgre (id int PRIMARY KEY, up int);
CREATE TABLE b (id int PRIMARY KEY, up int);
CREATE INDEX ON b (up);
CREATE SEQUENCE b_closure_pkey;
CREATE SEQUENCE b_closure_descendant_idx;
SET client_min_messages = warning;
SELECT dbpatterns.closure_enable('a_table_with_a_name_that_is_as_long_as_a_name_can_be_in_postgre', 'up');
RESET client_min_messages;
SELECT dbpatterns.closure_enable('b', 'up');
SELECT indexrelid::regclass FROM pg_index
 WHERE indrelid IN ('b_closure'::regclass, 'a_table_with_a_name_that_is_as_long_as_a_name_can_be_in_closure'::regclass)
 ORDER BY indexrelid::regclass::text COLLATE "C";

-- Unlogged and temporary tables have a closure table like themselves; temporary
-- ones are not listed.
CREATE UNLOGGED TABLE u (id int PRIMARY KEY, up int);
CREATE TEMP TABLE tmp (id int PRIMARY KEY, up int);
CREATE INDEX ON u (up);
CREATE INDEX ON tmp (up);
SELECT dbpatterns.closure_enable('u', 'up');
SELECT dbpatterns.closure_enable('tmp', 'up');
SELECT to_regclass('pg_temp.tmp_closure') IS NOT NULL AS beside;
SELECT relname, relpersistence FROM pg_class WHERE relname IN ('u_closure', 'tmp_closure') ORDER BY 1;
INSERT INTO tmp VALUES (1, NULL), (2, 1);
SELECT * FROM below('pg_temp.tmp_closure');
SELECT count(*) FROM dbpatterns.closure_status WHERE target = 'tmp'::regclass;
SELECT dbpatterns.closure_disable('tmp', drop_closure => true);
SELECT to_regclass('pg_temp.tmp_closure');

-- Rights.  The closure table belongs to the owner, whoever enables it; who may
-- read the table may read it; who may write needs no right on it.
CREATE ROLE regress_dbp_owner;
CREATE ROLE regress_dbp_reader;
CREATE ROLE regress_dbp_writer;
GRANT USAGE, CREATE ON SCHEMA t TO regress_dbp_owner;
GRANT USAGE ON SCHEMA t TO PUBLIC;
CREATE TABLE owned (id int PRIMARY KEY, up int);
CREATE INDEX ON owned (up);
ALTER TABLE owned OWNER TO regress_dbp_owner;
GRANT SELECT ON owned TO regress_dbp_reader WITH GRANT OPTION;
GRANT SELECT, INSERT ON owned TO regress_dbp_writer;
GRANT SELECT ON owned TO PUBLIC;
SELECT dbpatterns.closure_enable('owned', 'up');
SELECT pg_get_userbyid(relowner) AS owner, CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END AS grantee,
       privilege_type, is_grantable
  FROM pg_class, aclexplode(relacl)
 WHERE oid = 'owned_closure'::regclass AND grantee <> relowner ORDER BY 2;
SELECT enabled_by = session_user AS by_us FROM dbpatterns.closure_status WHERE target = 'owned'::regclass;
SET ROLE regress_dbp_owner;
SELECT dbpatterns.closure_disable('owned', drop_closure => true);
SELECT dbpatterns.closure_enable('owned', 'up');
SET ROLE regress_dbp_writer;
INSERT INTO owned VALUES (1, NULL), (2, 1);
SELECT * FROM owned_closure ORDER BY 1, 2;
SELECT refused('INSERT INTO owned_closure VALUES (7, 7, 0)');
RESET ROLE;
SELECT dbpatterns.closure_disable('owned', drop_closure => true);
-- Policies would not be asked for the closure table, so nobody gets it.
ALTER TABLE owned ENABLE ROW LEVEL SECURITY;
SELECT dbpatterns.closure_enable('owned', 'up');
SELECT relacl FROM pg_class WHERE oid = 'owned_closure'::regclass;

-- Partitions have the triggers for statements that name them.
CREATE TABLE p (id int PRIMARY KEY, up int) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (30) PARTITION BY RANGE (id);
CREATE TABLE p21 PARTITION OF p2 FOR VALUES FROM (10) TO (20);
SELECT dbpatterns.closure_enable('p', 'up', fire => 'always');
SELECT watch('p', '{up}');
SELECT tgrelid::regclass AS "table", string_agg(substr(tgname, 12, 2) || tgenabled::text, ' ' ORDER BY tgname)
  FROM pg_trigger WHERE tgrelid::regclass::text ~ '^p[0-9]*$' GROUP BY 1 ORDER BY 1;
SELECT indrelid::regclass FROM pg_index WHERE indrelid = 'p21'::regclass;
INSERT INTO p VALUES (1, NULL), (2, 1), (11, 2);
INSERT INTO p21 VALUES (12, 11);
:same
TRUNCATE p21;
:same
ALTER TABLE p21 DISABLE TRIGGER ALL;
INSERT INTO p21 VALUES (13, 1);
SELECT dbpatterns.closure_enable('p', 'up');
:same
SELECT tgrelid::regclass AS "table", string_agg(substr(tgname, 12, 2) || tgenabled::text, ' ' ORDER BY tgname)
  FROM pg_trigger WHERE tgrelid::regclass::text ~ '^p[0-9]*$' GROUP BY 1 ORDER BY 1;
SELECT dbpatterns.closure_disable('p');
SELECT count(*) FROM pg_trigger WHERE tgrelid::regclass::text ~ '^p[0-9]*$';

SET client_min_messages = warning;
DROP SCHEMA t CASCADE;
CREATE SCHEMA t;
DROP OWNED BY regress_dbp_owner, regress_dbp_reader, regress_dbp_writer;
DROP ROLE regress_dbp_owner, regress_dbp_reader, regress_dbp_writer;
:finish

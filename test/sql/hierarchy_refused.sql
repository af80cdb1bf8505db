-- What cannot be right is refused, with an SQLSTATE and a way out, and leaves
-- nothing behind.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/hierarchy.sql'
\i :include

CREATE TABLE n (id int PRIMARY KEY, up int, big bigint, label text COLLATE "C", body json, spot point,
                maybe int UNIQUE, name text, region text);
CREATE INDEX ON n (up);

-- Arguments.
SELECT refused(format('SELECT dbpatterns.closure_enable(%s)', arguments)) FROM unnest(ARRAY[
    'NULL, ''up''', '''n'', NULL::name', '''n'', NULL::name[]', '0, ''up''', '4000000000, ''up''',
    '''no_such_table'', ''up''',
    '''n'', ''{}''', '''n'', ''{up''', '''n'', ''{NULL}''', '''n'', ''{up,up}''', '''n'', ''none''', '''n'', ''UP''',
    '''n'', ''ctid''', '''n'', ''{a_rather_long_name_of_a_column,another_rather_long_name_of_a_column}''',
    '''n'', ''up'', key => ''{none}''', '''n'', ''up'', key => ''{NULL}''', '''n'', ''up'', scope => ''{none}''',
    '''n'', ''up'', order_by => ''none''',
    '''n'', ''up'', max_depth => 0', '''n'', ''up'', max_depth => -1',
    '''n'', ''up'', on_orphan => ''ignore''', '''n'', ''up'', on_orphan => NULL',
    '''n'', ''up'', fire => ''never''', '''n'', ''up'', fire => NULL', '''n'', ''up'', closure => ''''']) AS arguments;
SELECT refused(format('SELECT dbpatterns.closure_disable(%s)', arguments)) FROM unnest(ARRAY[
    'NULL', '0', '''no_such_table''']) AS arguments;
-- NULL where it means the default, and the empty list.
BEGIN;
SELECT dbpatterns.closure_enable('n', 'up', key => NULL, closure => NULL, max_depth => NULL, order_by => NULL,
                                 scope => '{}', counters => NULL);
ROLLBACK;

-- Columns.
CREATE TABLE two (a int, b int, up int, up2 int, PRIMARY KEY (a, b));
CREATE TABLE nine (a int, b int, c int, d int, e int, f int, g int, h int, i int, j int,
                   PRIMARY KEY (a, b, c, d, e, f, g, h, i));
CREATE TABLE clash (ancestor int, id int, up int, PRIMARY KEY (ancestor, id));
CREATE TABLE depth (depth int, id int, up int, PRIMARY KEY (depth, id));
CREATE TABLE body (id text PRIMARY KEY, up text COLLATE "C");
CREATE TABLE bits (id varbit PRIMARY KEY, up varbit);
SELECT refused(format('SELECT dbpatterns.closure_enable(%s)', arguments)) FROM unnest(ARRAY[
    '''n'', ''big''', '''n'', ''name''', '''body'', ''up''', '''n'', ''id''', '''n'', ''{id,up}''',
    '''two'', ''up''', '''two'', ''{up,up2,a}''', '''two'', ''{a,b}''', '''two'', ''{b,a}''',
    '''nine'', ''{a,b,c,d,e,f,g,h,j}''',
    '''clash'', ''{ancestor,up}''', '''depth'', ''{depth,up}''', '''bits'', ''up''',
    '''n'', ''up'', scope => ''{region}''', '''n'', ''up'', order_by => ''body''', '''n'', ''up'', order_by => ''spot''']) AS arguments;

-- Keys.
CREATE TABLE bare (id int NOT NULL, up int, other int NOT NULL, third int NOT NULL, label text NOT NULL, up2 text);
CREATE UNIQUE INDEX ON bare (other) WHERE up IS NULL;
CREATE UNIQUE INDEX ON bare ((third + 0));
CREATE UNIQUE INDEX ON bare (id, other);
CREATE UNIQUE INDEX ON bare (label COLLATE "C");
SELECT refused(format('SELECT dbpatterns.closure_enable(%s)', arguments)) FROM unnest(ARRAY[
    '''bare'', ''up''', '''bare'', ''up'', key => ''{id}''', '''bare'', ''up'', key => ''{other}''',
    '''bare'', ''up'', key => ''{third}''', '''bare'', ''up2'', key => ''{label}''',
    '''n'', ''up'', key => ''{maybe}''']) AS arguments;

-- Things that are no ordinary tables.
CREATE VIEW v AS SELECT * FROM n;
CREATE MATERIALIZED VIEW m AS SELECT * FROM n;
CREATE FOREIGN DATA WRAPPER regress_dbp_fdw;
CREATE SERVER regress_dbp_server FOREIGN DATA WRAPPER regress_dbp_fdw;
CREATE FOREIGN TABLE f (id int NOT NULL, up int) SERVER regress_dbp_server;
CREATE TABLE p (id int PRIMARY KEY, up int) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (id);
CREATE TABLE p11 PARTITION OF p1 FOR VALUES FROM (0) TO (10);
CREATE INDEX ON p (up);
SELECT refused(format('SELECT dbpatterns.closure_enable(%L, ''up'')', name)) FROM unnest(ARRAY[
    'v', 'm', 'f', 'p1', 'p11', 'pg_class', 'information_schema.sql_features', '_dbpatterns.registry',
    'dbpatterns.status']) AS name;
SELECT refused('SELECT dbpatterns.closure_disable(''p11'')');
SELECT refused('SELECT dbpatterns.closure_disable(''pg_class'')');
-- Not the closure table of another hierarchy.
SELECT dbpatterns.closure_enable('n', 'up');
ALTER TABLE n_closure ADD up int, ADD UNIQUE (descendant);
SELECT refused('SELECT dbpatterns.closure_enable(''n_closure'', ''up'', key => ''{descendant}'')');
SELECT dbpatterns.closure_disable('n', drop_closure => true);

-- Rows that no trigger of the table would see.
CREATE TABLE heir () INHERITS (n);
SELECT refused('SELECT dbpatterns.closure_enable(''n'', ''up'')');
SELECT refused('SELECT dbpatterns.closure_enable(''heir'', ''up'', key => ''{id}'')');
ALTER TABLE heir ADD PRIMARY KEY (id);
SELECT refused('SELECT dbpatterns.closure_enable(''heir'', ''up'')');
DROP TABLE heir;
CREATE TABLE q (id int, up int) PARTITION BY RANGE (id);
CREATE FOREIGN TABLE q1 PARTITION OF q FOR VALUES FROM (0) TO (10) SERVER regress_dbp_server;
CREATE UNLOGGED TABLE q2 PARTITION OF q FOR VALUES FROM (10) TO (20);
SELECT refused('SELECT dbpatterns.closure_enable(''q'', ''up'')');
DROP FOREIGN TABLE q1;
SELECT refused('SELECT dbpatterns.closure_enable(''q'', ''up'')');

-- A name that is taken.
CREATE VIEW n_closure AS SELECT 1 AS one;
SELECT refused('SELECT dbpatterns.closure_enable(''n'', ''up'')');
SELECT refused('SELECT dbpatterns.closure_enable(''n'', ''up'', closure => ''two'')');
DROP VIEW n_closure;

-- Rows that are no forest: cycles, all of them, parents that do not exist, and
-- levels beyond the limit.
INSERT INTO n (id, up) VALUES (1, 2), (2, 3), (3, 1), (4, 4), (5, 1), (6, NULL), (7, 6), (8, 7);
SELECT split_part(refused('SELECT dbpatterns.closure_enable(''n'', ''up'')'), E'\n', 1) AS refused;
DELETE FROM n WHERE id < 6;
SELECT split_part(refused('SELECT dbpatterns.closure_enable(''n'', ''up'', max_depth => 1)'), E'\n', 1) AS refused;
BEGIN;
SELECT dbpatterns.closure_enable('n', 'up', max_depth => 2);
ROLLBACK;
INSERT INTO n (id, up) VALUES (9, 99);
SELECT split_part(refused('SELECT dbpatterns.closure_enable(''n'', ''up'', on_orphan => ''error'')'), E'\n', 1) AS refused;
-- Also when it is the settings that change.
SELECT dbpatterns.closure_enable('n', 'up');
SELECT split_part(refused('SELECT dbpatterns.closure_enable(''n'', ''up'', on_orphan => ''error'')'), E'\n', 1) AS refused;
SELECT split_part(refused('SELECT dbpatterns.closure_enable(''n'', ''up'', max_depth => 1)'), E'\n', 1) AS refused;
SELECT max_depth, on_orphan, active FROM dbpatterns.closure_status;
-- Another key or parent needs another closure table.
SELECT refused('SELECT dbpatterns.closure_enable(''n'', ''maybe'', closure => ''n_closure'')');
SELECT dbpatterns.closure_disable('n', drop_closure => true);

-- Tables of others, and a schema where the owner may not create tables.
CREATE ROLE regress_dbp_owner;
CREATE ROLE regress_dbp_other;
GRANT USAGE ON SCHEMA t TO PUBLIC;
CREATE TABLE owned (id int PRIMARY KEY, up int);
CREATE INDEX ON owned (up);
ALTER TABLE owned OWNER TO regress_dbp_owner;
GRANT ALL ON owned TO regress_dbp_other;
SET ROLE regress_dbp_other;
SELECT refused('SELECT dbpatterns.closure_enable(''owned'', ''up'')');
SELECT refused('SELECT dbpatterns.closure_disable(''owned'')');
SET ROLE regress_dbp_owner;
SELECT refused('SELECT dbpatterns.closure_enable(''owned'', ''up'')');
RESET ROLE;
SELECT dbpatterns.closure_enable('owned', 'up');

-- A trigger made by hand can name any table in its argument; that of another
-- owner is not written to, nor does it go or move with the first.
CREATE TABLE precious (a int, d int, depth int NOT NULL, PRIMARY KEY (a, d));
CREATE INDEX ON precious (d, a);
CREATE TABLE bait (id int PRIMARY KEY, up int);
ALTER TABLE bait OWNER TO regress_dbp_other;
GRANT CREATE ON SCHEMA t TO regress_dbp_other;
SET ROLE regress_dbp_other;
CREATE TRIGGER trap AFTER INSERT OR DELETE ON bait FOR EACH ROW EXECUTE FUNCTION
    dbpatterns.closure_trigger('{"closure": "precious", "prefix": "x", "key": ["id"], "parent": ["up"]}');
SELECT refused('INSERT INTO bait VALUES (1, NULL)');
RESET ROLE;
ALTER TABLE bait SET (fillfactor = 90);
SELECT pg_get_userbyid(relowner) = current_user AS ours FROM pg_class WHERE oid = 'precious'::regclass;
DROP TABLE bait;
SELECT * FROM precious;

-- Arguments that nobody of ours wrote.
CREATE TABLE h (id int PRIMARY KEY, up int);
SELECT refused(format('CREATE OR REPLACE TRIGGER hand AFTER INSERT ON h FOR EACH ROW EXECUTE FUNCTION dbpatterns.closure_trigger(%s);'
                      'INSERT INTO h VALUES (1, NULL)', argument)) FROM unnest(ARRAY[
    '', '''x''', '''[]''', '''{}''', '''{"closure": 1}''', '''{"closure": "c", "prefix": "c", "key": ["id"], "parent": []}''',
    '''{"closure": "c", "prefix": "c", "key": ["id"], "parent": "up"}''',
    '''{"closure": "c", "prefix": "c", "key": ["id"], "parent": [["up"]]}''',
    '''{"closure": "c", "prefix": "c", "key": ["id"], "parent": ["up"], "max_depth": -1}''',
    '''{"closure": "c", "prefix": "c", "key": ["id"], "parent": ["up"], "max_depth": 1.5}''',
    '''{"closure": "c", "prefix": "c", "key": ["id"], "parent": ["up"], "scope": 1}''',
    '''{"closure": "c", "prefix": "c", "key": ["id", "up"], "parent": ["up", "id"], "scope": 1}''',
    '''{"closure": "c", "prefix": "c", "key": ["id"], "parent": ["up"], "on_orphan": "x"}''',
    '''{"closure": "c", "prefix": "c", "key": ["id"], "parent": ["up"]}''']) AS argument;

-- Nothing was left behind by what was refused.
SELECT target FROM dbpatterns.closure_status;
SELECT relname FROM pg_class WHERE relnamespace = 't'::regnamespace AND relname ~ 'closure' AND relkind IN ('r', 'v') ORDER BY 1;
SELECT tgrelid::regclass FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid
 WHERE tgname ~ 'dbpatterns' AND relnamespace = 't'::regnamespace ORDER BY 1, tgname;

SET client_min_messages = warning;
DROP SCHEMA t CASCADE;
CREATE SCHEMA t;
DROP SERVER regress_dbp_server;
DROP FOREIGN DATA WRAPPER regress_dbp_fdw;
DROP OWNED BY regress_dbp_owner, regress_dbp_other;
DROP ROLE regress_dbp_owner, regress_dbp_other;
:finish

-- Templates as projects have them, and hostile ones.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/tenant.sql'
\i :include
\set include :srcdir '/sql/include/things.sql'
\i :include
SET client_min_messages = error;
CREATE ROLE regress_dbp_evil;
CREATE ROLE regress_dbp_plain;
CREATE ROLE regress_dbp_group;
GRANT regress_dbp_group TO regress_dbp_plain;
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO regress_dbp_evil, regress_dbp_plain', current_database()); END $$;
GRANT EXECUTE ON FUNCTION dbpatterns.tenant_schema_create(text, name, name, name, jsonb, boolean) TO regress_dbp_plain;

-- A template that grew: children whose defaults are not their parents', partitions with what
-- only they have, objects that need each other in all directions.
CREATE SCHEMA grown;
SET search_path = grown;
CREATE TABLE par (a int NOT NULL DEFAULT 1, b text DEFAULT 'x', CONSTRAINT positive CHECK (a > 0));
CREATE TABLE one (c int) INHERITS (par);
ALTER TABLE one ALTER a DROP DEFAULT, ALTER b SET DEFAULT 'y';
CREATE TABLE two (a int NOT NULL DEFAULT 7, d int, CONSTRAINT positive CHECK (a > 0)) INHERITS (par);
CREATE TABLE both_of_them (b text DEFAULT 'g', a int DEFAULT 5) INHERITS (one, two);
CREATE TABLE m (id bigint NOT NULL, at timestamptz NOT NULL DEFAULT now(), k text, CONSTRAINT m_pk PRIMARY KEY (id, at) DEFERRABLE,
    CONSTRAINT filled CHECK (k <> '')) PARTITION BY RANGE (at);
CREATE TABLE m_old (at timestamptz NOT NULL, gone int, k text, id bigint NOT NULL, CONSTRAINT filled CHECK (k <> ''), CONSTRAINT m_old_id UNIQUE (id));
ALTER TABLE m_old DROP gone;
ALTER TABLE m ATTACH PARTITION m_old FOR VALUES FROM (MINVALUE) TO ('2020-01-01 00:00+00');
CREATE TABLE m_new PARTITION OF m (CONSTRAINT own CHECK (id > 5), k DEFAULT 'zz') FOR VALUES FROM ('2020-01-01 00:00+00') TO (MAXVALUE) WITH (fillfactor = 50);
CREATE INDEX m_k ON m (k);
CREATE INDEX m_k_twice ON m (k);
CREATE INDEX m_new_own ON m_new (lower(k));
ALTER INDEX m_new_own ALTER COLUMN 1 SET STATISTICS 321;
ALTER TABLE m_new REPLICA IDENTITY NOTHING;
CREATE TABLE m_line (id bigint REFERENCES m_old (id) DEFERRABLE NOT VALID);
CREATE TABLE h (a int, b int) PARTITION BY HASH (a);
CREATE TABLE h0 PARTITION OF h FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE h1 PARTITION OF h FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE INDEX h_nowhere ON ONLY h (b);
CREATE INDEX h_half ON ONLY h (a, b);
CREATE INDEX h1_half ON h1 (a, b);
ALTER INDEX h_half ATTACH PARTITION h1_half;
CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree) PARTITION BY RANGE (id);
CREATE TABLE tree_1 PARTITION OF tree FOR VALUES FROM (0) TO (10);
CREATE TABLE x (id int PRIMARY KEY, y int);
CREATE TABLE y (id int PRIMARY KEY, x int REFERENCES x DEFERRABLE INITIALLY DEFERRED);
ALTER TABLE x ADD FOREIGN KEY (y) REFERENCES y ON UPDATE CASCADE ON DELETE SET NULL (y) NOT VALID;
CREATE FUNCTION base(i int DEFAULT 3) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i';
CREATE FUNCTION many(i int DEFAULT base(4), j text DEFAULT 'it''s', VARIADIC k int[] DEFAULT '{}') RETURNS TABLE (a int, b text) LANGUAGE sql AS 'SELECT 1, ''x''';
CREATE FUNCTION of_rows(p par) RETURNS one[] LANGUAGE sql STABLE COST 3 AS 'SELECT NULL::one[]';
CREATE FUNCTION atomic() RETURNS SETOF par LANGUAGE sql BEGIN ATOMIC SELECT * FROM par WHERE base(par.a) > 1; END;
CREATE DOMAIN number AS int CONSTRAINT c1 CHECK (VALUE > 0);
ALTER DOMAIN number ADD CONSTRAINT c2 CHECK (VALUE < base(100)) NOT VALID;
CREATE DOMAIN number_of_number AS number DEFAULT base(2) CONSTRAINT "is ""there" NOT NULL;
CREATE TYPE word AS ENUM ('b', 'a');
ALTER TYPE word ADD VALUE 'first' BEFORE 'b';
CREATE TYPE comp AS (a number, b word[]);
COMMENT ON COLUMN comp.b IS 'words';
CREATE TABLE uses (c comp, d comp[], e number_of_number, r par, n numeric(10,2), i interval day to second(2) DEFAULT '-1 day +02:00'::interval,
    f float8 DEFAULT '0.30000000000000004'::float8, a text[] DEFAULT '{NULL}', day date DEFAULT '2026-02-03',
    EXCLUDE USING gist (int4range(1, n::int) WITH &&) WHERE (n > 0));
CREATE TABLE words (w tsvector, n int[]);
CREATE INDEX words_w ON words USING gist (w tsvector_ops (siglen = 100));
CREATE INDEX words_n ON words USING gin (n) WITH (fastupdate = off);
CREATE VIEW v1 AS SELECT *, base(a) AS bb FROM par;
CREATE VIEW v2 (q, w) WITH (security_barrier, check_option = local) AS SELECT a, b FROM v1;
CREATE VIEW grouped AS SELECT x.id, x.y, count(*) FROM x JOIN y ON y.x = x.id GROUP BY x.id;
CREATE MATERIALIZED VIEW mv1 WITH (fillfactor = 60) AS SELECT a, count(*) AS c FROM v1 GROUP BY a;
CREATE UNIQUE INDEX mv1_a ON mv1 (a);
ALTER MATERIALIZED VIEW mv1 CLUSTER ON mv1_a;
ALTER MATERIALIZED VIEW mv1 ALTER c SET STATISTICS 12;
-- Filled from one that is younger.
CREATE VIEW between AS SELECT 1 AS a;
CREATE MATERIALIZED VIEW mv2 AS SELECT * FROM between;
CREATE MATERIALIZED VIEW mv3 AS SELECT 1 AS a;
CREATE OR REPLACE VIEW between AS SELECT a FROM mv3;
CREATE FUNCTION trg() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER io INSTEAD OF INSERT ON v2 FOR EACH ROW EXECUTE FUNCTION trg('a', 'b''c');
CREATE TRIGGER each AFTER INSERT ON m FOR EACH ROW EXECUTE FUNCTION trg();
ALTER TABLE m_new DISABLE TRIGGER each;
ALTER TABLE m_old ENABLE ALWAYS TRIGGER each;
CREATE TRIGGER stmt AFTER UPDATE ON par REFERENCING OLD TABLE AS o NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION trg();
CREATE RULE two AS ON UPDATE TO x WHERE OLD.id <> NEW.id DO ALSO (INSERT INTO y VALUES (OLD.id); DELETE FROM y WHERE id = NEW.id);
ALTER TABLE x DISABLE RULE two;
COMMENT ON RULE two ON x IS 'two';
CREATE STATISTICS st (ndistinct, mcv) ON a, (a + 1), b FROM par;
ALTER STATISTICS st SET STATISTICS 55;
GRANT SELECT (a, b), UPDATE (b) ON par TO regress_dbp_app;
REVOKE ALL ON y FROM CURRENT_USER;
ALTER MATERIALIZED VIEW mv3 OWNER TO regress_dbp_group;
ALTER TYPE comp OWNER TO regress_dbp_group;
-- What younger servers have.
DO $$ BEGIN
    IF current_setting('server_version_num')::int >= 170000 THEN
        CREATE TABLE ident (id bigint GENERATED ALWAYS AS IDENTITY (START 7), k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
        CREATE TABLE ident_1 PARTITION OF ident FOR VALUES IN (1);
        EXECUTE 'GRANT MAINTAIN ON ident TO PUBLIC';
    END IF;
    IF current_setting('server_version_num')::int >= 180000 THEN
        EXECUTE 'CREATE TABLE young (a int CONSTRAINT nn1 NOT NULL NO INHERIT, b int, c int GENERATED ALWAYS AS (a * 2) VIRTUAL,
            CONSTRAINT nn2 NOT NULL b NOT VALID, CONSTRAINT ne CHECK (a > 0) NOT ENFORCED)';
        EXECUTE 'COMMENT ON CONSTRAINT nn1 ON young IS ''named''';
        EXECUTE 'CREATE TABLE younger (a int CONSTRAINT own_nn NOT NULL, b int CONSTRAINT nn2b NOT NULL) INHERITS (young)';
        EXECUTE 'CREATE TABLE room (id int4range, at daterange, PRIMARY KEY (id, at WITHOUT OVERLAPS))';
        EXECUTE 'CREATE TABLE booking (id int4range, at daterange, PRIMARY KEY (id, at WITHOUT OVERLAPS),
            FOREIGN KEY (id, PERIOD at) REFERENCES room (id, PERIOD at))';
    END IF;
END $$;
RESET search_path;
-- Settings of the session that would lose something, or give something away.
SET intervalstyle = sql_standard;
SET extra_float_digits = -5;
SET datestyle = 'SQL, DMY';
SET array_nulls = off;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO regress_dbp_evil, PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM PUBLIC;
SELECT dbpatterns.tenant_schema_create('clone', 'grown', wall => false);
RESET intervalstyle;
RESET extra_float_digits;
RESET datestyle;
RESET array_nulls;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM regress_dbp_evil, PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC;
-- Rights that were the default are written down now, and the same.
CREATE FUNCTION t.defaults(schema name) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(concat(has_table_privilege('regress_dbp_evil', oid, 'SELECT'), relname), ',' ORDER BY relname) FROM pg_class
        WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND relkind IN ('r', 'p', 'v', 'm')
$$;
SELECT t.defaults('grown') = t.defaults('clone') AS same, t.defaults('clone') ~ 'ttwo' AS open;
SELECT bool_and(has_function_privilege('regress_dbp_evil', oid, 'EXECUTE')) FROM pg_proc WHERE pronamespace = 'clone'::regnamespace;
SELECT dbpatterns.tenant_schema_create('same', 'grown', wall => false);
SELECT count(*) > 150 AS many FROM t.things('grown');
SELECT 'template' AS only_in, * FROM (SELECT t.things('grown') EXCEPT ALL SELECT t.things('same')) x
UNION ALL SELECT 'clone', * FROM (SELECT t.things('same') EXCEPT ALL SELECT t.things('grown')) x ORDER BY 1, 2;
SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d WHERE d.adrelid = 'clone.uses'::regclass ORDER BY d.adnum;

-- Functions that a superuser does not trust run as the owner of the template.
SET ROLE regress_dbp_evil;
CREATE SCHEMA evil;
SET search_path = evil;
CREATE TABLE runs (who text);
CREATE FUNCTION who(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
    'BEGIN IF current_user <> ''regress_dbp_evil'' THEN RAISE EXCEPTION ''runs as %'', current_user; END IF; RETURN i; END';
CREATE TABLE x (a int CHECK (who(1) = 1), b int);
CREATE INDEX ON x ((who(2) + a)) WHERE who(3) = 3;
CREATE TABLE p (a int) PARTITION BY RANGE ((a + who(4)));
CREATE TABLE p_1 PARTITION OF p DEFAULT;
CREATE DOMAIN d AS int CHECK (who(5) = 5);
CREATE TABLE td (a d DEFAULT 3::d, CHECK (a <> 4::d));
CREATE MATERIALIZED VIEW mv AS SELECT who(6);
RESET search_path;
RESET ROLE;
-- The owner has no rights on this function.
CREATE FUNCTION t.fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
REVOKE ALL ON FUNCTION t.fire() FROM PUBLIC;
CREATE TRIGGER fire BEFORE INSERT ON evil.x FOR EACH ROW EXECUTE FUNCTION t.fire();
SELECT dbpatterns.tenant_schema_create('e', 'evil', wall => false);
SELECT count(*) FROM pg_class WHERE relnamespace = 'e'::regnamespace AND relowner <> 'regress_dbp_evil'::regrole;
SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'e';

-- Commands about objects that are called as the system's would be about the system's.
SET ROLE regress_dbp_evil;
CREATE SCHEMA evil2;
CREATE TABLE evil2.pg_authid (a int);
GRANT ALL ON evil2.pg_authid TO PUBLIC;
CREATE DOMAIN evil2.text AS int;
CREATE TYPE evil2.name AS (a int);
CREATE FUNCTION evil2.lower(pg_catalog.text) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE evil2.line (a int);
RESET ROLE;
SELECT dbpatterns.tenant_schema_create('e2', 'evil2');
DROP TABLE evil2.pg_authid;
DROP DOMAIN evil2.text;
DROP TYPE evil2.name;
DROP FUNCTION evil2.lower(text);
SELECT dbpatterns.tenant_schema_create('e2', 'evil2', wall => false);
-- The type of this table's rows cannot be told from the system's.
CREATE FUNCTION evil2.f(evil2.line) RETURNS int LANGUAGE sql AS 'SELECT 1';
SELECT dbpatterns.tenant_schema_create('e3', 'evil2');

-- Strings that name the template would go on pointing there, and nothing depends on them.
CREATE SCHEMA st;
CREATE SEQUENCE st.s;
CREATE TABLE st.t (a int DEFAULT nextval('st.s'::text), st text DEFAULT 'st', c text CHECK (c <> 'a.st'), d text DEFAULT 'x "st" . y');
CREATE TABLE st.st (a int, "it's" int);
CREATE VIEW st.v AS SELECT st.a || 'x' || st."it's" || 'y' AS q FROM st.st;
CREATE VIEW st.w AS SELECT to_regclass('ST.st');
SELECT dbpatterns.tenant_schema_create('s', 'st');
ALTER TABLE st.t ALTER a DROP DEFAULT, ALTER d DROP DEFAULT;
DROP VIEW st.w;
SELECT dbpatterns.tenant_schema_create('s', 'st', wall => false);

-- A parent outside would show the rows of all clones.
CREATE TABLE t.base (a int);
CREATE SCHEMA heir;
CREATE TABLE heir.c () INHERITS (t.base);
SELECT dbpatterns.tenant_schema_create('h', 'heir');

-- Circles.
CREATE SCHEMA circle;
CREATE VIEW circle.a AS SELECT 1 AS x;
CREATE FUNCTION circle.f(circle.a) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE OR REPLACE VIEW circle.a AS SELECT 1 AS x, circle.f(NULL) AS y;
SELECT dbpatterns.tenant_schema_create('c', 'circle');

-- Who is no superuser clones what is his, or of a role that he is a member of.
SET ROLE regress_dbp_plain;
\set VERBOSITY sqlstate
SELECT dbpatterns.tenant_schema_create('n', 'st');
\set VERBOSITY default
CREATE SCHEMA mine;
CREATE TABLE mine.t (id serial PRIMARY KEY, x int REFERENCES mine.t);
SELECT dbpatterns.tenant_schema_create('n', 'mine', wall => false);
RESET ROLE;
CREATE SCHEMA ours;
CREATE TABLE ours.t (id serial, i int GENERATED ALWAYS AS IDENTITY);
CREATE MATERIALIZED VIEW ours.mv AS SELECT 1 AS n;
CREATE FUNCTION ours.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
ALTER TABLE ours.t OWNER TO regress_dbp_group;
ALTER MATERIALIZED VIEW ours.mv OWNER TO regress_dbp_group;
ALTER FUNCTION ours.f() OWNER TO regress_dbp_group;
-- Older than its schema.
CREATE TABLE t.older (a int);
ALTER TABLE t.older OWNER TO regress_dbp_group;
ALTER TABLE t.older SET SCHEMA ours;
ALTER SCHEMA ours OWNER TO regress_dbp_group;
SET ROLE regress_dbp_plain;
SELECT dbpatterns.tenant_schema_create('o', 'ours', wall => false);
RESET ROLE;
SELECT relname, relowner::regrole FROM pg_class WHERE relnamespace = 'o'::regnamespace ORDER BY 1;

-- A partition elsewhere keeps a schema.
CREATE SCHEMA parts;
CREATE TABLE parts.p (a int) PARTITION BY LIST (a);
SELECT dbpatterns.tenant_schema_create('p', 'parts');
CREATE TABLE t.p_1 PARTITION OF p.p DEFAULT;
SELECT dbpatterns.tenant_suspend('p');
SELECT dbpatterns.tenant_drop('p');
DROP TABLE t.p_1;
SELECT dbpatterns.tenant_drop('p');

-- One that was dropped by hand.
SELECT dbpatterns.tenant_schema_create('gone', 'parts');
DROP SCHEMA gone CASCADE;
SELECT dbpatterns.tenant_suspend('gone');
SELECT dbpatterns.tenant_drop('gone');

-- The wall of one tenant is not that of another that is cloned from it.
SELECT dbpatterns.tenant_schema_create('first', 'mine');
SELECT dbpatterns.tenant_schema_create('second', 'first');
SELECT dbpatterns.tenant_schema_create('third', 'first', wall => false);
SELECT polrelid::regclass, polname, pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polrelid IN ('second.t'::regclass, 'third.t'::regclass) ORDER BY 1, 2;

-- A search_path is pointed at the clone, whatever the name.
CREATE SCHEMA "A, ""b=";
CREATE FUNCTION "A, ""b=".f() RETURNS int LANGUAGE sql SET search_path = public, "A, ""b=", "$user" AS 'SELECT 1';
SELECT dbpatterns.tenant_schema_create('odd', 'A, "b=', wall => false);
SELECT dbpatterns.tenant_schema_create('odd2', 'odd', 'C, "d=', wall => false);
SELECT pronamespace::regnamespace, proconfig FROM pg_proc WHERE proname = 'f' AND pronamespace IN ('odd'::regnamespace, '"C, ""d="'::regnamespace) ORDER BY 1;

DROP SCHEMA "A, ""b=", odd, "C, ""d=", first, second, third CASCADE;
DROP SCHEMA grown, clone, same, evil, e, evil2, e2, st, s, heir, circle, mine, n, ours, o, parts CASCADE;
DO $$ BEGIN EXECUTE format('REVOKE CREATE ON DATABASE %I FROM regress_dbp_evil, regress_dbp_plain', current_database()); END $$;
DROP OWNED BY regress_dbp_evil, regress_dbp_plain, regress_dbp_group;
DROP ROLE regress_dbp_evil, regress_dbp_plain, regress_dbp_group;
:finish

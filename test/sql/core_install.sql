-- CREATE EXTENSION makes two schemas and touches nothing else; DROP EXTENSION
-- leaves nothing behind.
CREATE TEMP TABLE schemas_before AS SELECT nspname FROM pg_namespace;
CREATE EXTENSION dbpatterns;
SELECT nspname FROM pg_namespace
EXCEPT SELECT nspname FROM schemas_before
ORDER BY 1;

-- Every object of ours lives in one of the two, apart from what has no schema.
SELECT d.classid::regclass AS catalog, o.identity
  FROM pg_depend d, pg_identify_object(d.classid, d.objid, d.objsubid) o
 WHERE d.refclassid = 'pg_extension'::regclass
   AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'dbpatterns')
   AND d.deptype = 'e'
   AND o.schema IS DISTINCT FROM 'dbpatterns'
   AND o.schema IS DISTINCT FROM '_dbpatterns'
 ORDER BY 1, 2;

-- It belongs to no schema that could be dropped, wherever it was created.
DROP EXTENSION dbpatterns;
CREATE SCHEMA work;
SET search_path = work;
CREATE EXTENSION dbpatterns;
DROP SCHEMA work;
RESET search_path;
SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'dbpatterns';

-- Objects planted under our names beforehand are never adopted.
DROP EXTENSION dbpatterns;
\set SHOW_CONTEXT never
CREATE SCHEMA dbpatterns;
CREATE EXTENSION dbpatterns;
DROP SCHEMA dbpatterns;
SELECT nspname FROM pg_namespace WHERE nspname ~ 'dbpatterns';

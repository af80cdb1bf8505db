-- Closure tables as a whole: what is wrong with them, repair, rebuild.

CREATE FUNCTION dbpatterns.closure_check(
    target regclass DEFAULT NULL,
    OUT severity text, OUT object text, OUT problem text, OUT remedy text)
RETURNS SETOF record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_closure_check';
COMMENT ON FUNCTION dbpatterns.closure_check(regclass) IS
    'what stands between a table and an exact closure table; one row for each wrong pair';

CREATE FUNCTION dbpatterns.closure_sync(
    target regclass,
    closure name DEFAULT NULL,
    dry_run boolean DEFAULT false,
    OUT problem text, OUT ancestor text, OUT descendant text,
    OUT expected integer, OUT found integer)
RETURNS SETOF record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_closure_sync';
COMMENT ON FUNCTION dbpatterns.closure_sync(regclass, name, boolean) IS
    'repairs the pairs of a closure table that are not what its table asks for, and returns them';

CREATE PROCEDURE dbpatterns.closure_rebuild(target regclass, closure name DEFAULT NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'dbpatterns_closure_rebuild';
COMMENT ON PROCEDURE dbpatterns.closure_rebuild(regclass, name) IS
    'builds a closure table and its indexes anew while others go on reading and writing';

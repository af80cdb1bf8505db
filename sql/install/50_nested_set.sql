-- Hierarchies kept as nested sets: each node of a tree has an interval of
-- numbers that holds those of all nodes below it, in a table beside the user's.

INSERT INTO _dbpatterns.pattern VALUES ('nested_set', 50);

CREATE FUNCTION dbpatterns.nested_set_trigger() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'dbpatterns_nested_set_trigger';
COMMENT ON FUNCTION dbpatterns.nested_set_trigger() IS
    'trigger function of nested sets; nested_set_enable creates its triggers';

CREATE FUNCTION dbpatterns.nested_set_enable(
    target regclass,
    parent name[],
    key name[] DEFAULT NULL,
    nested_set name DEFAULT NULL,
    gap bigint DEFAULT 4294967296,
    order_by name DEFAULT NULL,
    scope name[] DEFAULT NULL,
    on_orphan text DEFAULT 'root',
    fire text DEFAULT 'origin')
RETURNS regclass
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_nested_set_enable';
COMMENT ON FUNCTION dbpatterns.nested_set_enable(regclass, name[], name[], name, bigint, name, name[], text, text) IS
    'keeps nested sets of a table whose rows name their parent';

-- So that a single column can be given as 'parent_id'.
CREATE FUNCTION dbpatterns.nested_set_enable(
    target regclass,
    parent name,
    key name[] DEFAULT NULL,
    nested_set name DEFAULT NULL,
    gap bigint DEFAULT 4294967296,
    order_by name DEFAULT NULL,
    scope name[] DEFAULT NULL,
    on_orphan text DEFAULT 'root',
    fire text DEFAULT 'origin')
RETURNS regclass
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_nested_set_enable';
COMMENT ON FUNCTION dbpatterns.nested_set_enable(regclass, name, name[], name, bigint, name, name[], text, text) IS
    'keeps nested sets of a table whose rows name their parent';

CREATE FUNCTION dbpatterns.nested_set_disable(
    target regclass,
    nested_set name DEFAULT NULL,
    drop_nested_set boolean DEFAULT false)
RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_nested_set_disable';
COMMENT ON FUNCTION dbpatterns.nested_set_disable(regclass, name, boolean) IS
    'stops keeping nested sets, whose table stays as an ordinary one unless it is to be dropped';

CREATE FUNCTION dbpatterns.nested_set_check(
    target regclass DEFAULT NULL,
    OUT severity text, OUT object text, OUT problem text, OUT remedy text)
RETURNS SETOF record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_nested_set_check';
COMMENT ON FUNCTION dbpatterns.nested_set_check(regclass) IS
    'what is wrong with the nested sets of a table, node by node; NULL checks every table';

CREATE FUNCTION dbpatterns.nested_set_rebuild(
    target regclass,
    nested_set name DEFAULT NULL,
    tree text[] DEFAULT NULL)
RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_nested_set_rebuild';
COMMENT ON FUNCTION dbpatterns.nested_set_rebuild(regclass, name, text[]) IS
    'numbers the trees of a table anew, or the tree of one root; returns the number of nodes';

CREATE VIEW dbpatterns.nested_set_status AS
SELECT h.target,
       h.storage AS nested_set,
       h.settings OPERATOR(pg_catalog.->) 'key' AS key,
       h.settings OPERATOR(pg_catalog.->) 'parent' AS parent,
       coalesce((h.settings OPERATOR(pg_catalog.->>) 'gap')::bigint, 4294967296) AS gap,
       h.settings OPERATOR(pg_catalog.->>) 'order_by' AS order_by,
       coalesce(h.settings OPERATOR(pg_catalog.->>) 'on_orphan', 'root') AS on_orphan,
       h.settings OPERATOR(pg_catalog.->>) 'fire' AS fire,
       h.active,
       h.enabled_at,
       h.enabled_by
FROM _dbpatterns.hierarchy h
WHERE h.pattern OPERATOR(pg_catalog.=) 'nested_set';
COMMENT ON VIEW dbpatterns.nested_set_status IS
    'nested sets with their settings, and whether their triggers are there and enabled';

-- Hierarchies kept in closure tables: every pair of an ancestor and a
-- descendant of a tree or an acyclic graph, in a table beside the user's.

INSERT INTO _dbpatterns.pattern VALUES ('closure', 40);

CREATE FUNCTION dbpatterns.closure_trigger() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'dbpatterns_closure_trigger';
COMMENT ON FUNCTION dbpatterns.closure_trigger() IS
    'trigger function of closure tables of trees; closure_enable creates its triggers';

CREATE FUNCTION dbpatterns.closure_graph_trigger() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'dbpatterns_closure_graph_trigger';
COMMENT ON FUNCTION dbpatterns.closure_graph_trigger() IS
    'trigger function of closure tables of graphs; closure_enable_graph creates its triggers';

CREATE FUNCTION dbpatterns.closure_enable(
    target regclass,
    parent name[],
    key name[] DEFAULT NULL,
    closure name DEFAULT NULL,
    max_depth integer DEFAULT 1000,
    order_by name DEFAULT NULL,
    scope name[] DEFAULT NULL,
    on_orphan text DEFAULT 'root',
    counters boolean DEFAULT false,
    fire text DEFAULT 'origin')
RETURNS regclass
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_closure_enable';
COMMENT ON FUNCTION dbpatterns.closure_enable(regclass, name[], name[], name, integer, name, name[], text, boolean, text) IS
    'keeps a closure table of a table whose rows name their parent';

-- So that a single column can be given as 'parent_id'.
CREATE FUNCTION dbpatterns.closure_enable(
    target regclass,
    parent name,
    key name[] DEFAULT NULL,
    closure name DEFAULT NULL,
    max_depth integer DEFAULT 1000,
    order_by name DEFAULT NULL,
    scope name[] DEFAULT NULL,
    on_orphan text DEFAULT 'root',
    counters boolean DEFAULT false,
    fire text DEFAULT 'origin')
RETURNS regclass
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_closure_enable';
COMMENT ON FUNCTION dbpatterns.closure_enable(regclass, name, name[], name, integer, name, name[], text, boolean, text) IS
    'keeps a closure table of a table whose rows name their parent';

CREATE FUNCTION dbpatterns.closure_disable(
    target regclass,
    closure name DEFAULT NULL,
    drop_closure boolean DEFAULT false)
RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_closure_disable';
COMMENT ON FUNCTION dbpatterns.closure_disable(regclass, name, boolean) IS
    'stops keeping a closure table, which stays as an ordinary table unless it is to be dropped';

-- Settings and the argument of the triggers begin alike, so a trigger is known by
-- its beginning.
CREATE VIEW _dbpatterns.hierarchy AS
SELECT g.pattern,
       g.target,
       pg_catalog.to_regclass(pg_catalog.format('%I.%I', n.nspname, e.key)) AS storage,
       e.value AS settings,
       (SELECT pg_catalog.count(*)
        FROM pg_catalog.pg_trigger t
        JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid
        WHERE t.tgrelid OPERATOR(pg_catalog.=) g.target
          AND t.tgenabled OPERATOR(pg_catalog.=) ANY ('{O,A}'::pg_catalog."char"[])
          AND p.pronamespace OPERATOR(pg_catalog.=) 'dbpatterns'::pg_catalog.regnamespace
          AND p.proname OPERATOR(pg_catalog.=) ANY ('{closure_trigger,closure_graph_trigger,nested_set_trigger}'::name[])
          AND pg_catalog.substr(t.tgargs, 1, pg_catalog.octet_length(b.beginning))
              OPERATOR(pg_catalog.=) b.beginning)
           OPERATOR(pg_catalog.=) 4 AS active,
       g.enabled_at,
       g.enabled_by
FROM _dbpatterns.registry g
JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) g.target
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
CROSS JOIN LATERAL pg_catalog.jsonb_each(g.options) e
CROSS JOIN LATERAL pg_catalog.convert_to(
    pg_catalog.concat('{"', g.pattern, '": ', pg_catalog.to_json(e.key), ','),
    pg_catalog.getdatabaseencoding()::name) b (beginning)
WHERE g.pattern OPERATOR(pg_catalog.=) ANY ('{closure,nested_set}'::name[]);
COMMENT ON VIEW _dbpatterns.hierarchy IS
    'hierarchies of all patterns with their storage and settings, and whether their triggers are there and enabled';

CREATE VIEW dbpatterns.closure_status AS
SELECT h.target,
       h.storage AS closure,
       coalesce(h.settings OPERATOR(pg_catalog.->>) 'kind', 'tree') AS kind,
       coalesce(h.settings OPERATOR(pg_catalog.->) 'key', h.settings OPERATOR(pg_catalog.->) 'child') AS key,
       h.settings OPERATOR(pg_catalog.->) 'parent' AS parent,
       h.settings OPERATOR(pg_catalog.->>) 'order_by' AS order_by,
       (h.settings OPERATOR(pg_catalog.->>) 'max_depth')::integer AS max_depth,
       coalesce(h.settings OPERATOR(pg_catalog.->>) 'on_orphan', 'root') AS on_orphan,
       coalesce((h.settings OPERATOR(pg_catalog.->>) 'counters')::boolean, false) AS counters,
       h.settings OPERATOR(pg_catalog.->>) 'fire' AS fire,
       h.active,
       h.enabled_at,
       h.enabled_by
FROM _dbpatterns.hierarchy h
WHERE h.pattern OPERATOR(pg_catalog.=) 'closure';
COMMENT ON VIEW dbpatterns.closure_status IS
    'closure tables with their settings, and whether their triggers are there and enabled';

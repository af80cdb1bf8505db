-- Closure tables of directed acyclic graphs, over a table of edges.

CREATE FUNCTION dbpatterns.closure_enable_graph(
    edges regclass,
    parent name[],
    child name[],
    closure name DEFAULT NULL,
    max_depth integer DEFAULT 1000,
    fire text DEFAULT 'origin')
RETURNS regclass
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_closure_enable_graph';
COMMENT ON FUNCTION dbpatterns.closure_enable_graph(regclass, name[], name[], name, integer, text) IS
    'keeps a closure table of an acyclic graph, whose edges are the rows of a table';

-- So that single columns can be given as 'parent_id'.
CREATE FUNCTION dbpatterns.closure_enable_graph(
    edges regclass,
    parent name,
    child name,
    closure name DEFAULT NULL,
    max_depth integer DEFAULT 1000,
    fire text DEFAULT 'origin')
RETURNS regclass
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_closure_enable_graph';
COMMENT ON FUNCTION dbpatterns.closure_enable_graph(regclass, name, name, name, integer, text) IS
    'keeps a closure table of an acyclic graph, whose edges are the rows of a table';

CREATE FUNCTION dbpatterns.closure_graph_cycles(
    edges regclass,
    parent name[],
    child name[],
    OUT component integer, OUT parent_key text, OUT child_key text, OUT closes boolean,
    OUT edge_table regclass, OUT edge_tid tid)
RETURNS SETOF record
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'dbpatterns_closure_graph_cycles';
COMMENT ON FUNCTION dbpatterns.closure_graph_cycles(regclass, name[], name[]) IS
    'edges of a table that lie on cycles';

CREATE FUNCTION dbpatterns.closure_graph_cycles(
    edges regclass,
    parent name,
    child name,
    OUT component integer, OUT parent_key text, OUT child_key text, OUT closes boolean,
    OUT edge_table regclass, OUT edge_tid tid)
RETURNS SETOF record
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'dbpatterns_closure_graph_cycles';
COMMENT ON FUNCTION dbpatterns.closure_graph_cycles(regclass, name, name) IS
    'edges of a table that lie on cycles';

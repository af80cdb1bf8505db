-- Adjacency lists without storage of ours: walking them, and finding cycles.

CREATE FUNCTION _dbpatterns.adjacency_walk_rows(internal) RETURNS internal
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dbpatterns_adjacency_walk_rows';
COMMENT ON FUNCTION _dbpatterns.adjacency_walk_rows(internal) IS
    'tells the planner how many rows to expect of adjacency_walk';

-- One function in several types: that of start is that of the nodes returned.
-- The one for bigint is chosen where start is left out; the one for text, where
-- start is a string literal.
CREATE FUNCTION dbpatterns.adjacency_walk(
    target regclass,
    parent name,
    start bigint DEFAULT NULL,
    "key" name[] DEFAULT NULL,
    direction text DEFAULT 'down',
    max_depth integer DEFAULT NULL,
    search text DEFAULT 'depth',
    order_by name DEFAULT NULL,
    path boolean DEFAULT false)
RETURNS TABLE (node bigint, parent bigint, depth integer, path bigint[], is_cycle boolean)
LANGUAGE c STABLE PARALLEL RESTRICTED COST 100 ROWS 1000
SUPPORT _dbpatterns.adjacency_walk_rows
AS 'MODULE_PATHNAME', 'dbpatterns_adjacency_walk';
COMMENT ON FUNCTION dbpatterns.adjacency_walk(regclass, name, bigint, name[], text, integer, text, name, boolean) IS
    'the nodes below or above a start, or below all roots, of an adjacency list';

CREATE FUNCTION dbpatterns.adjacency_walk(
    target regclass,
    parent name,
    start integer,
    "key" name[] DEFAULT NULL,
    direction text DEFAULT 'down',
    max_depth integer DEFAULT NULL,
    search text DEFAULT 'depth',
    order_by name DEFAULT NULL,
    path boolean DEFAULT false)
RETURNS TABLE (node bigint, parent bigint, depth integer, path bigint[], is_cycle boolean)
LANGUAGE c STABLE PARALLEL RESTRICTED COST 100 ROWS 1000
SUPPORT _dbpatterns.adjacency_walk_rows
AS 'MODULE_PATHNAME', 'dbpatterns_adjacency_walk';
COMMENT ON FUNCTION dbpatterns.adjacency_walk(regclass, name, integer, name[], text, integer, text, name, boolean) IS
    'the nodes below or above a start, or below all roots, of an adjacency list';

CREATE FUNCTION dbpatterns.adjacency_walk(
    target regclass,
    parent name,
    start text,
    "key" name[] DEFAULT NULL,
    direction text DEFAULT 'down',
    max_depth integer DEFAULT NULL,
    search text DEFAULT 'depth',
    order_by name DEFAULT NULL,
    path boolean DEFAULT false)
RETURNS TABLE (node text, parent text, depth integer, path text[], is_cycle boolean)
LANGUAGE c STABLE PARALLEL RESTRICTED COST 100 ROWS 1000
SUPPORT _dbpatterns.adjacency_walk_rows
AS 'MODULE_PATHNAME', 'dbpatterns_adjacency_walk';
COMMENT ON FUNCTION dbpatterns.adjacency_walk(regclass, name, text, name[], text, integer, text, name, boolean) IS
    'the nodes below or above a start, or below all roots, of an adjacency list';

CREATE FUNCTION dbpatterns.adjacency_walk(
    target regclass,
    parent name,
    start anyelement,
    "key" name[] DEFAULT NULL,
    direction text DEFAULT 'down',
    max_depth integer DEFAULT NULL,
    search text DEFAULT 'depth',
    order_by name DEFAULT NULL,
    path boolean DEFAULT false)
RETURNS TABLE (node anyelement, parent anyelement, depth integer, path anyarray, is_cycle boolean)
LANGUAGE c STABLE PARALLEL RESTRICTED COST 100 ROWS 1000
SUPPORT _dbpatterns.adjacency_walk_rows
AS 'MODULE_PATHNAME', 'dbpatterns_adjacency_walk';
COMMENT ON FUNCTION dbpatterns.adjacency_walk(regclass, name, anyelement, name[], text, integer, text, name, boolean) IS
    'the nodes below or above a start, or below all roots, of an adjacency list';

CREATE FUNCTION dbpatterns.adjacency_walk(
    target regclass,
    parent name,
    start text[],
    "key" name[] DEFAULT NULL,
    direction text DEFAULT 'down',
    max_depth integer DEFAULT NULL,
    search text DEFAULT 'depth',
    order_by name DEFAULT NULL,
    path boolean DEFAULT false)
RETURNS TABLE (node text[], parent text[], depth integer, path text[], is_cycle boolean)
LANGUAGE c STABLE PARALLEL RESTRICTED COST 100 ROWS 1000
SUPPORT _dbpatterns.adjacency_walk_rows
AS 'MODULE_PATHNAME', 'dbpatterns_adjacency_walk';
COMMENT ON FUNCTION dbpatterns.adjacency_walk(regclass, name, text[], name[], text, integer, text, name, boolean) IS
    'the nodes below or above a start, or below all roots, of an adjacency list';

CREATE FUNCTION dbpatterns.adjacency_walk(
    target regclass,
    parent name[],
    start text[] DEFAULT NULL,
    "key" name[] DEFAULT NULL,
    direction text DEFAULT 'down',
    max_depth integer DEFAULT NULL,
    search text DEFAULT 'depth',
    order_by name DEFAULT NULL,
    path boolean DEFAULT false)
RETURNS TABLE (node text[], parent text[], depth integer, path text[], is_cycle boolean)
LANGUAGE c STABLE PARALLEL RESTRICTED COST 100 ROWS 1000
SUPPORT _dbpatterns.adjacency_walk_rows
AS 'MODULE_PATHNAME', 'dbpatterns_adjacency_walk';
COMMENT ON FUNCTION dbpatterns.adjacency_walk(regclass, name[], text[], name[], text, integer, text, name, boolean) IS
    'the nodes below or above a start, or below all roots, of an adjacency list';

CREATE FUNCTION dbpatterns.adjacency_cycles(
    target regclass,
    parent name,
    "key" name[] DEFAULT NULL)
RETURNS TABLE (cycle integer, "position" integer, node text)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10
AS 'MODULE_PATHNAME', 'dbpatterns_adjacency_cycles';
COMMENT ON FUNCTION dbpatterns.adjacency_cycles(regclass, name, name[]) IS
    'the cycles of an adjacency list, node by node';

CREATE FUNCTION dbpatterns.adjacency_cycles(
    target regclass,
    parent name[],
    "key" name[] DEFAULT NULL)
RETURNS TABLE (cycle integer, "position" integer, node text)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10
AS 'MODULE_PATHNAME', 'dbpatterns_adjacency_cycles';
COMMENT ON FUNCTION dbpatterns.adjacency_cycles(regclass, name[], name[]) IS
    'the cycles of an adjacency list, node by node';

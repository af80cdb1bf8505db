-- Hierarchies: what the reader functions of closure tables are made of.

CREATE FUNCTION dbpatterns.closure_pair_depth(closure regclass, VARIADIC pair "any")
RETURNS integer
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 20 AS 'MODULE_PATHNAME', 'dbpatterns_closure_pair_depth';
COMMENT ON FUNCTION dbpatterns.closure_pair_depth(regclass, "any") IS
    'the depth of a pair (scope, ancestor, descendant) of a closure table, NULL if there is none';

CREATE FUNCTION dbpatterns.closure_node_depth(closure regclass, VARIADIC node "any")
RETURNS integer
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 20 AS 'MODULE_PATHNAME', 'dbpatterns_closure_node_depth';
COMMENT ON FUNCTION dbpatterns.closure_node_depth(regclass, "any") IS
    'how far below its root a node of a closure table is, NULL if there is no such node';

CREATE FUNCTION dbpatterns.closure_may_have_orphans(target regclass, closure regclass)
RETURNS boolean
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 100 AS 'MODULE_PATHNAME', 'dbpatterns_closure_may_have_orphans';
COMMENT ON FUNCTION dbpatterns.closure_may_have_orphans(regclass, regclass) IS
    'whether a node can have a parent that does not exist';

CREATE FUNCTION dbpatterns.closure_column("row" record, "column" name)
RETURNS text
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dbpatterns_closure_column';
COMMENT ON FUNCTION dbpatterns.closure_column(record, name) IS
    'a column of a row by its name, as text';

CREATE FUNCTION dbpatterns.closure_columns("row" record, columns name[])
RETURNS record
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'dbpatterns_closure_columns';
COMMENT ON FUNCTION dbpatterns.closure_columns(record, name[]) IS
    'some columns of a row by their names, as a row; NULL for all';

-- Planners take the number of distinct values of an unknown column for 200: with
-- 200 rows, a join by node has as many rows as what the nodes are joined to.
CREATE FUNCTION dbpatterns.closure_preorder(
    parents integer[],
    paths boolean DEFAULT true,
    branches boolean DEFAULT true)
RETURNS TABLE (
    node integer,
    place integer,
    depth integer,
    is_leaf boolean,
    is_last boolean,
    path integer[],
    branch text)
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 200 AS 'MODULE_PATHNAME', 'dbpatterns_closure_preorder';
COMMENT ON FUNCTION dbpatterns.closure_preorder(integer[], boolean, boolean) IS
    'a forest given as the places of the parents, each node before those below it';

CREATE FUNCTION dbpatterns.closure_dot_string(value text)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT '"' || replace(replace(replace(replace(coalesce(value, ''),
        '\', '\\'), '"', '\"'), E'\r', ''), E'\n', '\n') || '"';
END;
COMMENT ON FUNCTION dbpatterns.closure_dot_string(text) IS
    'a text as a string of the Graphviz language; NULL is empty';

CREATE FUNCTION dbpatterns.closure_mermaid_string(value text)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT '"' || CASE WHEN value ~ '[^ ]' THEN
        replace(replace(replace(replace(replace(replace(replace(replace(value,
            '#', '#35;'), '&', '#amp;'), '<', '#lt;'), '>', '#gt;'), '"', '#quot;'),
            '`', '#96;'), E'\r', ''), E'\n', '<br/>')
        ELSE ' ' END || '"';
END;
COMMENT ON FUNCTION dbpatterns.closure_mermaid_string(text) IS
    'a text as a quoted label of Mermaid; NULL is a blank';

CREATE FUNCTION dbpatterns.closure_mermaid_id(value text)
RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE WHEN value ~ '^[A-Za-z0-9]+$' THEN 'n' || value
        ELSE 'x' || encode(convert_to(value, 'UTF8'), 'hex') END;
END;
COMMENT ON FUNCTION dbpatterns.closure_mermaid_id(text) IS
    'an identifier of Mermaid that stands for a text and no other one';

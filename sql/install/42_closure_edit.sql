-- Editing the hierarchies that closure tables keep, with the caller's rights.
-- Keys are values of any type that reads as the key column's, so that both 5
-- and '5' can be given; the variants with text are for literals and parameters
-- without a type.

CREATE FUNCTION dbpatterns.closure_move(
    target regclass,
    node "any",
    new_parent "any",
    before "any" DEFAULT NULL,
    closure name DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_closure_move';
COMMENT ON FUNCTION dbpatterns.closure_move(regclass, "any", "any", "any", name) IS
    'makes a node, with all below it, a child of another node, or a root, at a place among its siblings';

CREATE FUNCTION dbpatterns.closure_move(
    target regclass,
    node text,
    new_parent text,
    before text DEFAULT NULL,
    closure name DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_closure_move';
COMMENT ON FUNCTION dbpatterns.closure_move(regclass, text, text, text, name) IS
    'makes a node, with all below it, a child of another node, or a root, at a place among its siblings';

CREATE FUNCTION dbpatterns.closure_copy_subtree(
    target regclass,
    node "any",
    new_parent "any",
    overrides jsonb DEFAULT NULL,
    mapping jsonb DEFAULT NULL,
    closure name DEFAULT NULL,
    OUT old_key text,
    OUT new_key text)
RETURNS SETOF record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_closure_copy_subtree';
COMMENT ON FUNCTION dbpatterns.closure_copy_subtree(regclass, "any", "any", jsonb, jsonb, name) IS
    'copies a node and all below it under another node, with new keys, and returns old and new keys';

CREATE FUNCTION dbpatterns.closure_copy_subtree(
    target regclass,
    node text,
    new_parent text,
    overrides jsonb DEFAULT NULL,
    mapping jsonb DEFAULT NULL,
    closure name DEFAULT NULL,
    OUT old_key text,
    OUT new_key text)
RETURNS SETOF record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_closure_copy_subtree';
COMMENT ON FUNCTION dbpatterns.closure_copy_subtree(regclass, text, text, jsonb, jsonb, name) IS
    'copies a node and all below it under another node, with new keys, and returns old and new keys';

CREATE FUNCTION dbpatterns.closure_delete(
    target regclass,
    node "any",
    policy text DEFAULT 'cascade',
    closure name DEFAULT NULL) RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_closure_delete';
COMMENT ON FUNCTION dbpatterns.closure_delete(regclass, "any", text, name) IS
    'deletes a node: cascade with all below it, adopt leaves its children to its parent; returns how many rows';

CREATE FUNCTION dbpatterns.closure_delete(
    target regclass,
    node text,
    policy text DEFAULT 'cascade',
    closure name DEFAULT NULL) RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_closure_delete';
COMMENT ON FUNCTION dbpatterns.closure_delete(regclass, text, text, name) IS
    'deletes a node: cascade with all below it, adopt leaves its children to its parent; returns how many rows';

-- Conversions between adjacency lists, ltree paths, nested sets and closure tables.
-- Each sets columns of a table in one UPDATE; each is there twice, so that both
-- 'parent_id' and '{tenant_id,parent_id}' can be given without a cast.

CREATE FUNCTION dbpatterns.adjacency_from_ltree(
    target regclass,
    parent name[],
    path name,
    "key" name[] DEFAULT NULL,
    on_orphan text DEFAULT 'error') RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_adjacency_from_ltree';
COMMENT ON FUNCTION dbpatterns.adjacency_from_ltree(regclass, name[], name, name[], text) IS
    'sets parent columns from paths such as a.b.c; returns how many rows it changed';

CREATE FUNCTION dbpatterns.adjacency_from_ltree(
    target regclass,
    parent name,
    path name,
    "key" name[] DEFAULT NULL,
    on_orphan text DEFAULT 'error') RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_adjacency_from_ltree';
COMMENT ON FUNCTION dbpatterns.adjacency_from_ltree(regclass, name, name, name[], text) IS
    'sets parent columns from paths such as a.b.c; returns how many rows it changed';

CREATE FUNCTION dbpatterns.adjacency_from_nested_set(
    target regclass,
    parent name[],
    lft name,
    rgt name,
    tree name[] DEFAULT NULL,
    "key" name[] DEFAULT NULL) RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_adjacency_from_nested_set';
COMMENT ON FUNCTION dbpatterns.adjacency_from_nested_set(regclass, name[], name, name, name[], name[]) IS
    'sets parent columns from the bounds of nested sets; returns how many rows it changed';

CREATE FUNCTION dbpatterns.adjacency_from_nested_set(
    target regclass,
    parent name,
    lft name,
    rgt name,
    tree name[] DEFAULT NULL,
    "key" name[] DEFAULT NULL) RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_adjacency_from_nested_set';
COMMENT ON FUNCTION dbpatterns.adjacency_from_nested_set(regclass, name, name, name, name[], name[]) IS
    'sets parent columns from the bounds of nested sets; returns how many rows it changed';

CREATE FUNCTION dbpatterns.adjacency_from_closure(
    target regclass,
    parent name[],
    closure regclass,
    ancestor name[] DEFAULT '{ancestor}',
    descendant name[] DEFAULT '{descendant}',
    depth name DEFAULT 'depth',
    "key" name[] DEFAULT NULL) RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_adjacency_from_closure';
COMMENT ON FUNCTION dbpatterns.adjacency_from_closure(regclass, name[], regclass, name[], name[], name, name[]) IS
    'sets parent columns from the pairs of a closure table; returns how many rows it changed';

CREATE FUNCTION dbpatterns.adjacency_from_closure(
    target regclass,
    parent name,
    closure regclass,
    ancestor name[] DEFAULT '{ancestor}',
    descendant name[] DEFAULT '{descendant}',
    depth name DEFAULT 'depth',
    "key" name[] DEFAULT NULL) RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_adjacency_from_closure';
COMMENT ON FUNCTION dbpatterns.adjacency_from_closure(regclass, name, regclass, name[], name[], name, name[]) IS
    'sets parent columns from the pairs of a closure table; returns how many rows it changed';

CREATE FUNCTION dbpatterns.adjacency_to_ltree(
    target regclass,
    parent name[],
    path name,
    label name DEFAULT NULL,
    "key" name[] DEFAULT NULL,
    on_orphan text DEFAULT 'error') RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_adjacency_to_ltree';
COMMENT ON FUNCTION dbpatterns.adjacency_to_ltree(regclass, name[], name, name, name[], text) IS
    'sets a column to paths such as a.b.c, made of keys or of another column; returns how many rows it changed';

CREATE FUNCTION dbpatterns.adjacency_to_ltree(
    target regclass,
    parent name,
    path name,
    label name DEFAULT NULL,
    "key" name[] DEFAULT NULL,
    on_orphan text DEFAULT 'error') RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_adjacency_to_ltree';
COMMENT ON FUNCTION dbpatterns.adjacency_to_ltree(regclass, name, name, name, name[], text) IS
    'sets a column to paths such as a.b.c, made of keys or of another column; returns how many rows it changed';

CREATE FUNCTION dbpatterns.adjacency_to_nested_set(
    target regclass,
    parent name[],
    lft name,
    rgt name,
    tree name DEFAULT NULL,
    depth name DEFAULT NULL,
    order_by name DEFAULT NULL,
    "key" name[] DEFAULT NULL,
    on_orphan text DEFAULT 'error') RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_adjacency_to_nested_set';
COMMENT ON FUNCTION dbpatterns.adjacency_to_nested_set(regclass, name[], name, name, name, name, name, name[], text) IS
    'sets columns to the bounds of nested sets; returns how many rows it changed';

CREATE FUNCTION dbpatterns.adjacency_to_nested_set(
    target regclass,
    parent name,
    lft name,
    rgt name,
    tree name DEFAULT NULL,
    depth name DEFAULT NULL,
    order_by name DEFAULT NULL,
    "key" name[] DEFAULT NULL,
    on_orphan text DEFAULT 'error') RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_adjacency_to_nested_set';
COMMENT ON FUNCTION dbpatterns.adjacency_to_nested_set(regclass, name, name, name, name, name, name, name[], text) IS
    'sets columns to the bounds of nested sets; returns how many rows it changed';

CREATE FUNCTION dbpatterns.adjacency_to_closure(
    target regclass,
    parent name[],
    closure regclass,
    ancestor name[] DEFAULT '{ancestor}',
    descendant name[] DEFAULT '{descendant}',
    depth name DEFAULT 'depth',
    "key" name[] DEFAULT NULL,
    on_orphan text DEFAULT 'error') RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_adjacency_to_closure';
COMMENT ON FUNCTION dbpatterns.adjacency_to_closure(regclass, name[], regclass, name[], name[], name, name[], text) IS
    'fills an empty table with the pairs of ancestors and descendants; returns how many';

CREATE FUNCTION dbpatterns.adjacency_to_closure(
    target regclass,
    parent name,
    closure regclass,
    ancestor name[] DEFAULT '{ancestor}',
    descendant name[] DEFAULT '{descendant}',
    depth name DEFAULT 'depth',
    "key" name[] DEFAULT NULL,
    on_orphan text DEFAULT 'error') RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_adjacency_to_closure';
COMMENT ON FUNCTION dbpatterns.adjacency_to_closure(regclass, name, regclass, name[], name[], name, name[], text) IS
    'fills an empty table with the pairs of ancestors and descendants; returns how many';

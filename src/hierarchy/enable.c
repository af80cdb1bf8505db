/*-------------------------------------------------------------------------
 *
 * enable.c
 *	  closure_enable and closure_disable.
 *
 * What is asked for becomes a spec here; install.c does the work.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/enable.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "core/names.h"
#include "core/target.h"
#include "core/version.h"
#include "hierarchy/hierarchy.h"
#include "utils/memutils.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(dbpatterns_closure_enable);
PG_FUNCTION_INFO_V1(dbpatterns_closure_disable);

static void
fill_closure(HierState *state, Oid storageid)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns forest",
											  ALLOCSET_DEFAULT_SIZES);
	HierForest *forest = dbp_forest_load(state, cxt);

	dbp_forest_require(state, forest);
	if (OidIsValid(storageid))
		dbp_forest_write(state, forest, storageid);
	MemoryContextDelete(cxt);
}

static const HierWork closure_work = {
	.create = dbp_hier_create_closure,
	.fill = fill_closure,
	.finish = dbp_hier_index_closure,
	.create_readers = dbp_hier_create_readers,
	.drop_readers = dbp_hier_drop_readers
};

/*
 * dbp_hier_depth_argument reads max_depth: NULL means no limit, which is 0 in a
 * spec.
 */
int
dbp_hier_depth_argument(FunctionCallInfo fcinfo, int argno)
{
	int			depth = PG_ARGISNULL(argno) ? 0 : PG_GETARG_INT32(argno);

	if (!PG_ARGISNULL(argno) && depth < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value of argument \"max_depth\": %d", depth),
				 errhint("Give the number of levels below a root, or NULL for no limit.")));
	return depth;
}

/*
 * dbp_hier_name_argument reads an argument that is a name, NULL for NULL.
 */
char *
dbp_hier_name_argument(FunctionCallInfo fcinfo, int argno)
{
	return PG_ARGISNULL(argno) ? NULL : pstrdup(NameStr(*PG_GETARG_NAME(argno)));
}

/*
 * dbp_hier_names_argument reads an array of names of columns, NIL for NULL.
 */
List *
dbp_hier_names_argument(FunctionCallInfo fcinfo, int argno, const char *argument)
{
	return dbp_column_list(PG_ARGISNULL(argno) ? NULL : PG_GETARG_ARRAYTYPE_P(argno), argument);
}

/*
 * closure_enable(target regclass, parent name[] or name, key name[], closure
 * name, max_depth integer, order_by name, scope name[], on_orphan text,
 * counters boolean, fire text): from now on a closure table beside target
 * holds every pair of an ancestor and a descendant, exact after each
 * statement.  Returns that table.
 *
 * parent: columns that hold the key of a row's parent; a row in which one of
 * them is NULL is a root.  key: columns that tell rows apart; NULL takes the
 * primary key.  closure: name of the closure table; NULL means <table>_closure.
 * max_depth: most levels below a root; NULL for no limit.  order_by: column
 * that orders siblings.  scope: columns that a row has in common with its
 * parent; those in both key and parent are so by themselves.  on_orphan:
 * 'root' (a row whose parent does not exist counts as a root until it does)
 * or 'error'.  counters: keep numbers of children and descendants.  fire:
 * 'origin', or 'always' for what logical replication applies, too.
 *
 * Raises 22004 (target or parent is NULL), 42P01 (there is no such table),
 * 55000 (library and SQL versions differ), 22004 or 42701 (bad column list),
 * 22023 (bad max_depth, on_orphan or fire), 42501 (not the owner), 42809 (not
 * an ordinary or partitioned table, or a partition), 0A000 (temporary table of
 * another session; inheritance; a foreign or unlogged partition), 42704 (no
 * key), 42703 (no such column), 22023 (key and parent do not match), 54011 (too
 * many columns), 0A000 (virtual generated column), 42804 (other type or
 * collation than the key), 42883 (type without comparison or hash), 42P16 (key
 * may be NULL), 42602 (empty name), 55000 (that closure table is over other
 * columns), 42P07 (name taken), 42701 (names of its columns collide), 23514
 * (cycle, or too deep), 23503 (orphan with on_orphan 'error').  Locks SHARE
 * ROW EXCLUSIVE on target and everything below it.  Runs as the caller; reads
 * rows as the owner.  An identical second call changes nothing and says so;
 * another one with the same columns alters the settings in place.
 */
Datum
dbpatterns_closure_enable(PG_FUNCTION_ARGS)
{
	HierSpec	spec = {.kind = HIER_TREE};
	Oid			relid;
	List	   *scope;
	List	   *tree;
	bool		always;
	Relation	target;
	Oid			storageid;

	dbp_require_argument(fcinfo, 0, "target", "Name the table of nodes.");
	dbp_require_argument(fcinfo, 1, "parent",
						 "Name the columns that hold the key of a row's parent.");
	relid = PG_GETARG_OID(0);
	(void) dbp_relation_name_by_oid(relid); /* raises if there is none */
	dbp_check_version();
	spec.parent = dbp_hier_columns_argument(fcinfo, 1, "parent");
	spec.key = dbp_hier_names_argument(fcinfo, 2, "key");
	spec.max_depth = dbp_hier_depth_argument(fcinfo, 4);
	spec.order_by = dbp_hier_name_argument(fcinfo, 5);
	scope = dbp_hier_names_argument(fcinfo, 6, "scope");
	spec.orphan_error = dbp_choose_argument(fcinfo, 7, "on_orphan", "root", "error");
	spec.counters = !PG_ARGISNULL(8) && PG_GETARG_BOOL(8);
	always = dbp_choose_argument(fcinfo, 9, "fire", "origin", "always");

	SPI_connect();
	tree = dbp_lock_tree(relid, ShareRowExclusiveLock);
	target = table_open(relid, NoLock);
	dbp_require_target(target, "given a hierarchy");
	dbp_hier_require_tree(target, tree);
	dbp_hier_resolve_columns(target, &spec, scope);
	dbp_hier_name_storage(target, &spec, dbp_hier_name_argument(fcinfo, 3));
	table_close(target, NoLock);

	storageid = dbp_hier_install(relid, &spec, always, &closure_work);
	dbp_hier_ensure_index(relid, spec.parent);
	SPI_finish();
	PG_RETURN_OID(storageid);
}

/*
 * closure_disable(target regclass, closure name, drop_closure boolean) takes a
 * closure table off target: the triggers and reader functions go, the closure
 * table stays as a table like any other, unless drop_closure.
 *
 * closure: NULL means the only one.  Raises 22004 (target is NULL), 42P01
 * (there is no such table), 55000 (library and SQL versions differ), 42809 (a
 * partition), 42501 (not the owner), 42704 (no such closure table), 42P09 (there
 * are several), 2BP01 (something of others depends on what is to be dropped).
 * Locks ACCESS EXCLUSIVE on target and everything below it, as DROP TRIGGER
 * does.  Runs as the caller.  On a table without a closure table it changes
 * nothing and says so, unless one is named.
 */
Datum
dbpatterns_closure_disable(PG_FUNCTION_ARGS)
{
	dbp_require_argument(fcinfo, 0, "target", "Name the table of nodes, or of edges.");
	dbp_hier_disable(fcinfo, HIER_TREE, "closure table", &closure_work);
	PG_RETURN_VOID();
}

/*-------------------------------------------------------------------------
 *
 * graph_enable.c
 *	  closure_enable_graph.
 *
 * What is asked for becomes a spec here; install.c does the work.  A graph is
 * switched off by closure_disable.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/graph_enable.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "core/names.h"
#include "core/target.h"
#include "core/version.h"
#include "hierarchy/graph.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(dbpatterns_closure_enable_graph);

static void
fill_closure(HierState *state, Oid storageid)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns graph",
											  ALLOCSET_DEFAULT_SIZES);
	const HierWhole *whole = dbp_hier_require_whole(state);
	void	   *graph = whole->load(state, GetActiveSnapshot(), cxt);

	whole->require(state, graph);
	if (OidIsValid(storageid))
		whole->write(state, graph, storageid);
	MemoryContextDelete(cxt);
}

static const HierWork graph_work = {
	.create = dbp_hier_create_closure,
	.fill = fill_closure,
	.finish = dbp_hier_index_closure,
	.create_readers = dbp_hier_create_readers,
	.drop_readers = dbp_hier_drop_readers
};

/*
 * resolve_columns checks the columns of a spec and finds those that parent and
 * child have in common.
 */
static void
resolve_columns(Relation edges, HierSpec *spec)
{
	ListCell   *lc;

	if (spec->parent == NIL || list_length(spec->parent) != list_length(spec->key))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("arguments \"parent\" and \"child\" must name the same number of columns, at least one"),
				 errhint("Name the columns of the two keys in the same order.")));
	foreach(lc, list_concat_copy(spec->parent, spec->key))
		(void) dbp_column_number(edges, lfirst(lc));
	dbp_hier_split_scope(edges, spec, NIL);
	dbp_hier_check_columns(edges, spec);
}

/*
 * closure_enable_graph(edges regclass, parent name[] or name, child name[] or
 * name, closure name, max_depth integer, fire text): from now on a closure
 * table beside edges, whose rows each lead from a parent to a child, holds
 * every pair of a node and a node that it reaches, with the number of edges of
 * the shortest path, exact after each statement.  Returns that table.
 *
 * parent, child: columns with the keys of both ends, in the same order; a
 * column in both, such as a tenant, is the scope.  A row with NULL in one of
 * them is no edge; several rows with the same ends are one edge.  closure: name
 * of the closure table; NULL means <edges>_closure.  max_depth: longest
 * shortest path; NULL for no limit.  fire: 'origin', or 'always' for what
 * logical replication applies, too.
 *
 * Raises 22004 (edges, parent or child is NULL), 42P01 (there is no such
 * table), 55000 (library and SQL versions differ), 22004 or 42701 (bad column
 * list), 22023 (bad max_depth or fire), 42501 (not the owner), 42809 (not an
 * ordinary or partitioned table, or a partition), 0A000 (temporary table of
 * another session; inheritance; a foreign or unlogged partition), 22023 (parent
 * and child do not match), 42703 (no such column), 54011 (too many columns),
 * 0A000 (virtual generated column), 42804 (other type or collation), 42883
 * (type without comparison or hash), 42602 (empty name), 55000 (that closure
 * table is over other columns), 42P07 (name taken), 42701 (names of its columns
 * collide), 23514 (cycles, or too deep).  Locks SHARE ROW EXCLUSIVE on edges
 * and everything below it.  Runs as the caller; reads rows as the owner.  An
 * identical second call changes nothing and says so; another one with the same
 * columns alters the settings in place.
 */
Datum
dbpatterns_closure_enable_graph(PG_FUNCTION_ARGS)
{
	HierSpec	spec = {.kind = HIER_GRAPH};
	Oid			relid;
	List	   *tree;
	bool		always;
	Relation	edges;
	Oid			storageid;

	dbp_require_argument(fcinfo, 0, "edges", "Name the table of edges.");
	dbp_require_argument(fcinfo, 1, "parent", "Name the columns with the key of the parent.");
	dbp_require_argument(fcinfo, 2, "child", "Name the columns with the key of the child.");
	relid = PG_GETARG_OID(0);
	(void) dbp_relation_name_by_oid(relid); /* raises if there is none */
	dbp_check_version();
	spec.parent = dbp_hier_columns_argument(fcinfo, 1, "parent");
	spec.key = dbp_hier_columns_argument(fcinfo, 2, "child");
	spec.max_depth = dbp_hier_depth_argument(fcinfo, 4);
	always = dbp_choose_argument(fcinfo, 5, "fire", "origin", "always");

	SPI_connect();
	tree = dbp_lock_tree(relid, ShareRowExclusiveLock);
	edges = table_open(relid, NoLock);
	dbp_require_target(edges, "given a closure table");
	dbp_hier_require_tree(edges, tree);
	resolve_columns(edges, &spec);
	dbp_hier_name_storage(edges, &spec, dbp_hier_name_argument(fcinfo, 3));
	table_close(edges, NoLock);

	dbp_hier_ensure_index(relid, spec.parent);
	dbp_hier_ensure_index(relid, spec.key);
	storageid = dbp_hier_install(relid, &spec, always, &graph_work);
	SPI_finish();
	PG_RETURN_OID(storageid);
}

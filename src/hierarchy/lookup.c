/*-------------------------------------------------------------------------
 *
 * lookup.c
 *	  Look-ups in the table of a hierarchy.
 *
 * They go through kept plans, as the owner, and see what is committed now: a
 * flush wants the table as it is, whatever the transaction's snapshot shows.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/lookup.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "core/names.h"
#include "core/owner.h"
#include "hierarchy/hierarchy.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

/*
 * append_conditions adds "column = $n AND ..." for some of the columns, with
 * the operators that make keys the same.
 */
static void
append_conditions(StringInfo sql, HierKeyType *type, List *columns, int from, int upto)
{
	for (int i = from; i < upto; i++)
	{
		Oid			typid = type->col[i].type;

		appendStringInfoString(sql, i > from ? " AND " : "");
		generate_operator_clause(sql, quote_identifier(list_nth(columns, i)), typid,
								 lookup_type_cache(typid, TYPECACHE_EQ_OPR)->eq_opr,
								 psprintf("$%d", i + 1), typid);
	}
}

static void
append_columns(StringInfo sql, List *columns)
{
	ListCell   *lc;

	foreach(lc, columns)
		appendStringInfo(sql, "%s%s", foreach_current_index(lc) > 0 ? ", " : "",
						 quote_identifier(lfirst(lc)));
}

/*
 * begin_query begins a query for columns of rows of the root.
 */
static void
begin_query(StringInfo sql, HierState *state, List *columns)
{
	initStringInfo(sql);
	appendStringInfoString(sql, "SELECT ");
	append_columns(sql, columns);
	appendStringInfo(sql, " FROM %s WHERE ", dbp_relation_name_by_oid(state->head.rootid));
}

/*
 * keep makes a kept plan of a query whose parameters are columns of a key.
 */
static SPIPlanPtr
keep(HierState *state, const char *sql, int n)
{
	Oid			types[2 * HIER_MAX_KEY];
	SPIPlanPtr	plan;

	for (int i = 0; i < n; i++)
		types[i] = state->queue_type.col[i].type;
	plan = dbp_sql_prepare(sql, n, types, 0);
	SPI_keepplan(plan);
	return plan;
}

/*
 * prepare makes a kept plan: the columns of those rows of the root whose
 * columns in "where" are the key given as parameters.
 */
static SPIPlanPtr
prepare(HierState *state, List *columns, List *where)
{
	StringInfoData sql;
	int			n = list_length(where);

	begin_query(&sql, state, columns);
	append_conditions(&sql, &state->queue_type, where, 0, n);
	for (int i = 0; i < list_length(columns) && state->spec.kind == HIER_GRAPH; i++)
		appendStringInfo(&sql, " AND %s IS NOT NULL", quote_identifier(list_nth(columns, i)));
	return keep(state, sql.data, n);
}

/*
 * prepare_elsewhere makes one for rows whose columns in "where", the scope's
 * apart, are those of the key, and which are in another scope.
 */
static SPIPlanPtr
prepare_elsewhere(HierState *state, List *where)
{
	StringInfoData sql;
	int			nscope = state->spec.nscope;
	int			n = state->type.n;

	begin_query(&sql, state, state->spec.key);
	append_conditions(&sql, &state->type, where, nscope, n);
	appendStringInfoString(&sql, " AND NOT (");
	append_conditions(&sql, &state->type, where, 0, nscope);
	appendStringInfoChar(&sql, ')');
	return keep(state, sql.data, n);
}

/*
 * run runs a kept plan on what is committed now, and on our own changes.
 */
static void
run(SPIPlanPtr plan, const Datum *key, long limit)
{
	Snapshot	snapshot;
	int			rc;

	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	rc = SPI_execute_snapshot(plan, unconstify(Datum *, key), NULL, snapshot,
							  InvalidSnapshot, false, false, limit);
	if (rc != SPI_OK_SELECT)
		elog(ERROR, "look-up failed: %s", SPI_result_code_string(rc));
	UnregisterSnapshot(snapshot);
}

/*
 * result_key copies columns of a row of the result into cxt; NULL if one that
 * is not the scope's is NULL.
 */
static Datum *
result_key(HierState *state, uint64 row, MemoryContext cxt)
{
	Datum		values[HIER_MAX_KEY];
	MemoryContext oldcxt;
	Datum	   *key;

	for (int i = 0; i < state->type.n; i++)
	{
		bool		isnull;

		values[i] = dbp_sql_value(row, i, &isnull);
		if (isnull)
			return NULL;
	}
	oldcxt = MemoryContextSwitchTo(cxt);
	key = dbp_key_copy(&state->type, values);
	MemoryContextSwitchTo(oldcxt);
	return key;
}

/*
 * dbp_hier_look_up tells whether a node is in the table now, or an edge, and
 * sets parent to the key of its parent, or NULL.
 */
bool
dbp_hier_look_up(HierState *state, const Datum *key, Datum **parent)
{
	MemoryContext cxt = CurrentMemoryContext;
	bool		is_graph = state->spec.kind == HIER_GRAPH;
	DbpOwnerScope scope;
	bool		found;

	*parent = NULL;
	SPI_connect();
	dbp_enter_owner(&scope, dbp_relation_owner(state->head.rootid));
	if (state->lookup == NULL)
		state->lookup = prepare(state, state->spec.parent, is_graph ?
								list_concat_copy(state->spec.parent, state->spec.key) :
								state->spec.key);
	run(state->lookup, key, 1);
	found = SPI_processed > 0;
	if (found && !is_graph)
		*parent = result_key(state, 0, cxt);
	dbp_leave_owner(&scope);
	SPI_finish();
	return found;
}

/*
 * look_up_elsewhere looks in other scopes for the node that a key would be, or
 * for a child of it.  It sets found to the key of the first row.
 */
static bool
look_up_elsewhere(HierState *state, bool child, const Datum *key, Datum **found)
{
	MemoryContext cxt = CurrentMemoryContext;
	DbpOwnerScope scope;
	bool		any;

	SPI_connect();
	dbp_enter_owner(&scope, dbp_relation_owner(state->head.rootid));
	if (state->elsewhere[child] == NULL)
		state->elsewhere[child] = prepare_elsewhere(state, child ? state->spec.parent :
													state->spec.key);
	run(state->elsewhere[child], key, 1);
	any = SPI_processed > 0;
	if (any)
		*found = result_key(state, 0, cxt);
	dbp_leave_owner(&scope);
	SPI_finish();
	return any;
}

static void
refuse_scopes(HierState *state, const Datum *child, const Datum *parent)
{
	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("node %s of hierarchy \"%s\" and its parent %s are in different scopes",
					dbp_key_text(&state->type, child), state->spec.storage,
					dbp_key_text(&state->type, parent)),
			 errhint("Move a node to another scope together with all that is below it."),
			 err_generic_string(PG_DIAG_CONSTRAINT_NAME, state->spec.storage)));
}

/*
 * dbp_hier_require_not_elsewhere raises 23514 if the parent of a node, which is
 * not in the node's scope, is in another one.
 */
void
dbp_hier_require_not_elsewhere(HierState *state, const Datum *child, const Datum *parent)
{
	Datum	   *found;

	if (state->unique_alone && look_up_elsewhere(state, false, parent, &found))
		refuse_scopes(state, child, found);
}

/*
 * dbp_hier_require_same_scope raises 23514 if a node that arrives has a child
 * in another scope.
 */
void
dbp_hier_require_same_scope(HierState *state, const Datum *key)
{
	Datum	   *found;

	if (state->unique_alone && look_up_elsewhere(state, true, key, &found))
		refuse_scopes(state, found, key);
}

/*
 * dbp_hier_look_up_edge_into tells whether the table has an edge of a graph
 * whose child is the given key.
 */
bool
dbp_hier_look_up_edge_into(HierState *state, const Datum *key)
{
	DbpOwnerScope scope;
	bool		found;

	Assert(state->spec.kind == HIER_GRAPH);
	SPI_connect();
	dbp_enter_owner(&scope, dbp_relation_owner(state->head.rootid));
	if (state->children == NULL)
		state->children = prepare(state, state->spec.parent, state->spec.key);
	run(state->children, key, 1);
	found = SPI_processed > 0;
	dbp_leave_owner(&scope);
	SPI_finish();
	return found;
}

/*
 * dbp_hier_look_up_children returns the keys of the nodes in the table whose
 * parent is the given key, whether or not that exists.
 */
List *
dbp_hier_look_up_children(HierState *state, const Datum *key)
{
	MemoryContext cxt = CurrentMemoryContext;
	DbpOwnerScope scope;
	List	   *children = NIL;

	Assert(state->spec.kind != HIER_GRAPH);
	SPI_connect();
	dbp_enter_owner(&scope, dbp_relation_owner(state->head.rootid));
	if (state->children == NULL)
		state->children = prepare(state, state->spec.key, state->spec.parent);
	run(state->children, key, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum	   *child = result_key(state, i, cxt);
		MemoryContext oldcxt = MemoryContextSwitchTo(cxt);

		if (child != NULL)
			children = lappend(children, child);
		MemoryContextSwitchTo(oldcxt);
	}
	dbp_leave_owner(&scope);
	SPI_finish();
	return children;
}

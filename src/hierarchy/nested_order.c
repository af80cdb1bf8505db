/*-------------------------------------------------------------------------
 *
 * nested_order.c
 *	  The order of siblings, as a column of the table says it.
 *
 * Siblings are in the order of that column, those without a value last, and of
 * their keys where it is the same.  The storage holds the order only as the
 * places of intervals, so it is asked of the table, through kept plans: for one
 * node, which sibling comes before it (quick with an index on the parent and
 * the ordering column); for several, all children of a node.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/nested_order.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "access/xact.h"
#include "core/names.h"
#include "core/owner.h"
#include "hierarchy/nested.h"
#include "hierarchy/rows.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

static void
put_equal(StringInfo sql, const char *left, Oid type, int parameter)
{
	dbp_sql_put_equal(sql, type, left, psprintf("$%d", parameter));
}

/*
 * put_less adds "left < $n", or "left <= $n", with the type's own operator.
 */
static void
put_less(StringInfo sql, const char *left, StrategyNumber strategy, Oid type, int parameter)
{
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY);
	Oid			operator = get_opfamily_member(entry->btree_opf, entry->btree_opintype,
											   entry->btree_opintype, strategy);

	generate_operator_clause(sql, left, type, operator, psprintf("$%d", parameter), type);
}

/*
 * put_key_less adds "the key is less than the parameters from first on".
 */
static void
put_key_less(StringInfo sql, HierState *state, int first)
{
	int			n = state->type.n;

	appendStringInfoChar(sql, '(');
	for (int i = 0; i < n; i++)
	{
		const char *name = quote_identifier(list_nth(state->spec.key, i));
		Oid			type = state->type.col[i].type;

		put_less(sql, name, BTLessStrategyNumber, type, first + i);
		if (i == n - 1)
			break;
		appendStringInfoString(sql, " OR (");
		put_equal(sql, name, type, first + i);
		appendStringInfoString(sql, " AND (");
	}
	for (int i = 0; i < n - 1; i++)
		appendStringInfoString(sql, "))");
	appendStringInfoChar(sql, ')');
}

static void
put_columns(StringInfo sql, List *names, const char *after)
{
	ListCell   *lc;

	foreach(lc, names)
		appendStringInfo(sql, "%s%s%s", foreach_current_index(lc) > 0 ? ", " : "",
						 quote_identifier(lfirst(lc)), after);
}

static void
put_match(StringInfo sql, HierState *state, List *names)
{
	ListCell   *lc;

	foreach(lc, names)
	{
		int			i = foreach_current_index(lc);

		appendStringInfoString(sql, i > 0 ? " AND " : " WHERE ");
		put_equal(sql, quote_identifier(lfirst(lc)), state->type.col[i].type, i + 1);
	}
}

/*
 * run runs a query on what is committed now, and on our own changes; its plan is
 * kept in the state.  type: of the value, if there is one.
 */
static void
run(HierState *state, NestedQuery which, const char *sql, const Datum *first,
	const Datum *second, Oid type, Datum value)
{
	int			n = state->type.n;
	Oid			types[2 * HIER_MAX_KEY + 1];
	Datum		values[2 * HIER_MAX_KEY + 1];
	int			nparams = 0;
	Snapshot	snapshot;
	int			rc;

	for (int i = 0; i < 2 * n && (i < n || second != NULL); i++)
	{
		types[nparams] = state->type.col[i % n].type;
		values[nparams++] = i < n ? first[i] : second[i - n];
	}
	if (OidIsValid(type))
	{
		types[nparams] = type;
		values[nparams++] = value;
	}
	if (state->nested[which] == NULL)
	{
		SPIPlanPtr	plan = dbp_sql_prepare(sql, nparams, types, 0);

		SPI_keepplan(plan);
		state->nested[which] = plan;
	}
	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	rc = SPI_execute_snapshot(state->nested[which], values, NULL, snapshot, InvalidSnapshot,
							  false, false, 0);
	if (rc != SPI_OK_SELECT)
		elog(ERROR, "look-up failed: %s", SPI_result_code_string(rc));
	UnregisterSnapshot(snapshot);
}

/*
 * result_keys copies the keys of the result into cxt.
 */
static List *
result_keys(HierState *state, MemoryContext cxt)
{
	MemoryContext oldcxt = MemoryContextSwitchTo(cxt);
	List	   *keys = NIL;

	for (uint64 row = 0; row < SPI_processed; row++)
	{
		Datum		values[HIER_MAX_KEY];

		for (int i = 0; i < state->type.n; i++)
			values[i] = dbp_sql_value(row, i, NULL);
		keys = lappend(keys, dbp_key_copy(&state->type, values));
	}
	MemoryContextSwitchTo(oldcxt);
	return keys;
}

/*
 * order_value reads a node's value of the ordering column; false for NULL.
 */
static bool
order_value(HierState *state, const Datum *node, Oid *type, Datum *value)
{
	StringInfoData sql;
	bool		isnull = true;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s FROM %s", quote_identifier(state->spec.order_by),
					 dbp_relation_name_by_oid(state->head.rootid));
	put_match(&sql, state, state->spec.key);
	run(state, NESTED_VALUE, sql.data, node, NULL, InvalidOid, (Datum) 0);
	*type = getBaseType(SPI_gettypeid(SPI_tuptable->tupdesc, 1));
	if (SPI_processed > 0)
		*value = dbp_sql_value(0, 0, &isnull);
	return !isnull;
}

/*
 * predecessor_query is the query for the sibling before a node: its parameters
 * are the key of the parent, that of the node, and its value of the ordering
 * column, if it has one.
 */
static char *
predecessor_query(HierState *state, Oid type, bool has_value)
{
	const char *column = quote_identifier(state->spec.order_by);
	int			n = state->type.n;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	put_columns(&sql, state->spec.key, "");
	appendStringInfo(&sql, " FROM %s", dbp_relation_name_by_oid(state->head.rootid));
	put_match(&sql, state, state->spec.parent);
	if (has_value)
	{
		/* The first condition is there for an index to use. */
		appendStringInfoString(&sql, " AND ");
		put_less(&sql, column, BTLessEqualStrategyNumber, type, 2 * n + 1);
		appendStringInfoString(&sql, " AND (");
		put_less(&sql, column, BTLessStrategyNumber, type, 2 * n + 1);
	}
	else
		appendStringInfo(&sql, " AND (%s IS NOT NULL", column);
	appendStringInfoString(&sql, " OR ");
	put_key_less(&sql, state, n + 1);
	appendStringInfo(&sql, ") ORDER BY %s DESC NULLS FIRST, ", column);
	put_columns(&sql, state->spec.key, " DESC");
	appendStringInfoString(&sql, " LIMIT 1");
	return sql.data;
}

/*
 * dbp_nested_predecessor finds the sibling right before a node in the table
 * and sets previous to its key, in CurrentMemoryContext; false if there is none.
 */
bool
dbp_nested_predecessor(HierState *state, const Datum *node, const Datum *parent,
					   Datum **previous)
{
	MemoryContext cxt = CurrentMemoryContext;
	DbpOwnerScope scope;
	Oid			type;
	Datum		value = (Datum) 0;
	bool		has_value;
	NestedQuery which;
	List	   *keys;

	SPI_connect();
	dbp_enter_owner(&scope, dbp_relation_owner(state->head.rootid));
	has_value = order_value(state, node, &type, &value);
	which = has_value ? NESTED_PREDECESSOR : NESTED_PREDECESSOR_NULL;
	run(state, which, state->nested[which] == NULL ?
		predecessor_query(state, type, has_value) : NULL,
		parent, node, has_value ? type : InvalidOid, value);
	keys = result_keys(state, cxt);
	dbp_leave_owner(&scope);
	SPI_finish();
	if (keys != NIL)
		*previous = linitial(keys);
	return keys != NIL;
}

/*
 * dbp_nested_children returns the keys of the children that a node has in the
 * table, in their order.
 */
List *
dbp_nested_children(HierState *state, const Datum *parent)
{
	MemoryContext cxt = CurrentMemoryContext;
	DbpOwnerScope scope;
	StringInfoData sql;
	List	   *keys;

	SPI_connect();
	dbp_enter_owner(&scope, dbp_relation_owner(state->head.rootid));
	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	put_columns(&sql, state->spec.key, "");
	appendStringInfo(&sql, " FROM %s", dbp_relation_name_by_oid(state->head.rootid));
	put_match(&sql, state, state->spec.parent);
	appendStringInfo(&sql, " ORDER BY %s NULLS LAST, ", quote_identifier(state->spec.order_by));
	put_columns(&sql, state->spec.key, "");
	run(state, NESTED_CHILDREN, sql.data, parent, NULL, InvalidOid, (Datum) 0);
	keys = result_keys(state, cxt);
	dbp_leave_owner(&scope);
	SPI_finish();
	return keys;
}

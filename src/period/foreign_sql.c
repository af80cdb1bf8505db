/*-------------------------------------------------------------------------
 *
 * foreign_sql.c
 *	  The queries of foreign keys between tables with periods.
 *
 * Parameters are the values of the key, then a period, or several as a multirange.
 * All names are qualified.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/period/foreign_sql.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "core/names.h"
#include "core/sql.h"
#include "lib/stringinfo.h"
#include "period/foreign_act.h"
#include "utils/builtins.h"
#include "utils/rel.h"

/*
 * match_columns appends conditions that columns of a table equal $1, $2, ...
 */
static void
match_columns(StringInfo sql, Relation rel, List *columns, const char *alias)
{
	ListCell   *lc;

	foreach(lc, columns)
	{
		AttrNumber	attno = dbp_column_number(rel, lfirst(lc));
		Oid			type = TupleDescAttr(RelationGetDescr(rel), attno - 1)->atttypid;

		appendStringInfo(sql, "%s.%s %s $%d AND ", alias, quote_identifier(lfirst(lc)),
						 dbp_equality_operator(type), foreach_current_index(lc) + 1);
	}
}

/*
 * cover_query asks whether parents cover a period; $1, ...: the key; the next one: the period.
 */
static char *
cover_query(ForeignState *state, Relation parent)
{
	StringInfoData sql;
	char	   *period = dbp_period_expression(&state->of_parent.options,
											   state->of_parent.rangetype, "p");
	int			n = state->nkeys + 1;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT COALESCE(pg_catalog.range_agg(x.p) OPERATOR(pg_catalog.@>) $%d, false)"
					 " FROM (SELECT %s AS p FROM %s p WHERE ", n, period, state->key.parent);
	match_columns(&sql, parent, state->key.parent_columns, "p");
	appendStringInfo(&sql, "%s OPERATOR(pg_catalog.&&) $%d FOR SHARE OF p) x", period, n);
	return sql.data;
}

/*
 * covered returns SQL for what parents cover of the period of a child row c.
 */
static char *
covered(ForeignState *state, Relation parent, const char *child_period)
{
	StringInfoData sql;
	char	   *period = dbp_period_expression(&state->of_parent.options,
											   state->of_parent.rangetype, "p");

	initStringInfo(&sql);
	appendStringInfo(&sql, "(SELECT pg_catalog.range_agg(%s) FROM %s p WHERE ", period,
					 state->key.parent);
	match_columns(&sql, parent, state->key.parent_columns, "p");
	appendStringInfo(&sql, "%s OPERATOR(pg_catalog.&&) %s)", period, child_period);
	return sql.data;
}

/*
 * orphan_query finds a child row with the key, which meets a period ($n+1), that is no longer
 * covered.  strict: any row that meets it.
 */
static char *
orphan_query(ForeignState *state, Relation child, Relation parent, bool strict)
{
	StringInfoData sql;
	char	   *period = dbp_period_expression(&state->of_child.options,
											   state->of_child.rangetype, "c");

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s::pg_catalog.text FROM %s c WHERE ", period, state->key.child);
	match_columns(&sql, child, state->key.columns, "c");
	appendStringInfo(&sql, "%s OPERATOR(pg_catalog.&&) $%d", period, state->nkeys + 1);
	if (!strict)
		appendStringInfo(&sql, " AND NOT COALESCE(%s OPERATOR(pg_catalog.@>) %s, false)",
						 covered(state, parent, period), period);
	appendStringInfoString(&sql, " LIMIT 1");
	return sql.data;
}

/*
 * loser_query finds the child rows that lose cover within periods ($n+1, a multirange), locks
 * them, and tells what they keep and what they lose.
 */
static char *
loser_query(ForeignState *state, Relation child, Relation parent)
{
	StringInfoData sql;
	char	   *period = dbp_period_expression(&state->of_child.options,
											   state->of_child.rangetype, "c");
	char	   *whole = psprintf("%s(%s)", state->multirange, period);
	char	   *gone = psprintf("(%s OPERATOR(pg_catalog.*) $%d OPERATOR(pg_catalog.-) COALESCE(%s, '{}'))",
								whole, state->nkeys + 1, covered(state, parent, period));

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT c.tableoid, c.ctid,"
					 " ARRAY(SELECT pg_catalog.unnest(%s OPERATOR(pg_catalog.-) %s)),"
					 " ARRAY(SELECT pg_catalog.unnest(%s)) FROM %s c WHERE ",
					 whole, gone, gone, state->key.child);
	match_columns(&sql, child, state->key.columns, "c");
	appendStringInfo(&sql, "%s OPERATOR(pg_catalog.&&) $%d FOR UPDATE OF c", period,
					 state->nkeys + 1);
	return sql.data;
}

/*
 * dbp_foreign_make_queries makes the queries of a foreign key.
 */
void
dbp_foreign_make_queries(ForeignState *state, Relation child, Relation parent)
{
	state->sql[FOREIGN_COVER] = cover_query(state, parent);
	state->sql[FOREIGN_ORPHAN] = orphan_query(state, child, parent, false);
	state->sql[FOREIGN_ANY] = orphan_query(state, child, parent, true);
	state->sql[FOREIGN_LOSER] = loser_query(state, child, parent);
}

/*
 * dbp_foreign_require_covered raises for a row of the child that is there and is not covered.
 * The caller is connected to SPI and holds locks on both tables.
 */
void
dbp_foreign_require_covered(const ForeignKey *key, Oid childid, Oid parentid)
{
	ForeignState state = {.key = *key};
	Relation	child = table_open(childid, AccessShareLock);
	Relation	parent = table_open(parentid, AccessShareLock);
	char	   *period;
	char	   *parent_period;
	StringInfoData sql;
	ListCell   *lc;
	ListCell   *lp;

	state.of_child = *dbp_period_get(child);
	state.of_parent = *dbp_period_get(parent);
	period = dbp_period_expression(&state.of_child.options, state.of_child.rangetype, "c");
	parent_period = dbp_period_expression(&state.of_parent.options, state.of_parent.rangetype, "p");
	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s::pg_catalog.text FROM %s c WHERE ", period, key->child);
	foreach(lc, key->columns)
		appendStringInfo(&sql, "c.%s IS NOT NULL AND ", quote_identifier(lfirst(lc)));
	appendStringInfo(&sql, "NOT COALESCE((SELECT pg_catalog.range_agg(%1$s) FROM %2$s p WHERE",
					 parent_period, key->parent);
	forboth(lc, key->columns, lp, key->parent_columns)
		appendStringInfo(&sql, " p.%s OPERATOR(pg_catalog.=) c.%s AND",
						 quote_identifier(lfirst(lp)), quote_identifier(lfirst(lc)));
	appendStringInfo(&sql, " %1$s OPERATOR(pg_catalog.&&) %2$s) OPERATOR(pg_catalog.@>) %2$s, false) LIMIT 1",
					 parent_period, period);
	table_close(child, NoLock);
	table_close(parent, NoLock);
	if (dbp_sql_query_latest(sql.data, 0, NULL) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("a row of table %s violates foreign key \"%s\"", key->child,
						key->constraint),
				 errdetail("Its period %s is not covered by rows with its key in table %s.",
						   dbp_sql_text(0, 0), key->parent),
				 errhint("Insert or extend rows there first.")));
}

/*-------------------------------------------------------------------------
 *
 * portion_period.c
 *	  What a table's constraints say of its period.
 *
 * A table has a period when a constraint lets no two rows of a key hold at the
 * same time: EXCLUDE (key WITH =, ..., period WITH &&), or from PostgreSQL 18 on
 * a key WITHOUT OVERLAPS.  The period is a column of a range type, or a range of
 * two columns.  Nothing else needs to be written down, so that a table that was
 * restored, or whose constraint was made by hand, can be edited, too.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/period/portion_period.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pg_list.h"
#include "period/portion.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/relcache.h"

/*
 * column_of returns the number of a column of the table, 0 for another expression.
 */
static AttrNumber
column_of(Node *node)
{
	while (node != NULL && IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	return node != NULL && IsA(node, Var) ? ((Var *) node)->varattno : 0;
}

/*
 * is_usual_bounds tells whether a third argument says what the constructor does without.
 */
static bool
is_usual_bounds(List *args)
{
	Const	   *bounds = list_length(args) == 3 ? (Const *) lthird(args) : NULL;

	return bounds == NULL ||
		(IsA(bounds, Const) && !bounds->constisnull && bounds->consttype == TEXTOID &&
		 strcmp(TextDatumGetCString(bounds->constvalue), "[)") == 0);
}

/*
 * read_expression reads a range of two columns.
 */
static bool
read_expression(PortionPeriod *period, Node *node)
{
	FuncExpr   *call = (FuncExpr *) node;

	if (!IsA(node, FuncExpr) || !type_is_range(call->funcresulttype) ||
		list_length(call->args) < 2 || !is_usual_bounds(call->args) ||
		exprType(linitial(call->args)) != get_range_subtype(call->funcresulttype) ||
		exprType(lsecond(call->args)) != get_range_subtype(call->funcresulttype))
		return false;
	period->from = column_of(linitial(call->args));
	period->upto = column_of(lsecond(call->args));
	period->range = call->funcresulttype;
	return period->from > 0 && period->upto > 0;
}

static bool
read_period(PortionPeriod *period, Relation rel, Relation index, int i)
{
	AttrNumber	attno = index->rd_index->indkey.values[i];
	int			expression = 0;

	if (attno > 0)
	{
		period->column = attno;
		period->range = getBaseType(TupleDescAttr(RelationGetDescr(rel), attno - 1)->atttypid);
		return type_is_range(period->range);
	}
	for (int j = 0; j < i; j++)
		expression += index->rd_index->indkey.values[j] == 0;
	return read_expression(period, list_nth(RelationGetIndexExpressions(index), expression));
}

/*
 * read_index reads a constraint's index; false if it does not keep periods apart.
 */
static bool
read_index(PortionPeriod *period, Relation rel, Relation index)
{
	int			n = index->rd_index->indnkeyatts;
	Oid		   *ops;
	Oid		   *procs;
	uint16	   *strategies;
	bool		found = false;

	memset(period, 0, sizeof(*period));
	if (!index->rd_index->indisexclusion || !index->rd_index->indisvalid ||
		RelationGetIndexPredicate(index) != NIL)
		return false;
	RelationGetExclusionInfo(index, &ops, &procs, &strategies);
	period->key = palloc(sizeof(AttrNumber) * n);
	for (int i = 0; i < n; i++)
	{
		AttrNumber	attno = index->rd_index->indkey.values[i];

		if (procs[i] == F_RANGE_OVERLAPS && !found)
			found = read_period(period, rel, index, i);
		else if (attno > 0 &&
				 op_hashjoinable(ops[i], TupleDescAttr(RelationGetDescr(rel), attno - 1)->atttypid))
			period->key[period->nkey++] = attno;
		else
			return false;
	}
	return found;
}

/*
 * dbp_portion_period_of finds the period of a table, by the constraint that came first;
 * false if it has none.
 */
bool
dbp_portion_period_of(Relation rel, PortionPeriod *period)
{
	List	   *indexes = RelationGetIndexList(rel);
	bool		found = false;
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		found = read_index(period, rel, index);
		if (found)
			period->constraint = pstrdup(RelationGetRelationName(index));
		index_close(index, AccessShareLock);
		if (found)
			break;
	}
	list_free(indexes);
	return found;
}

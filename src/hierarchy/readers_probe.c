/*-------------------------------------------------------------------------
 *
 * readers_probe.c
 *	  Single values out of a closure table.
 *
 * The planner cannot put a SELECT in the place of a call that stands in an
 * expression, and starting an executor for each call costs far more than one
 * look into an index.  So the readers that return a single value end here: one
 * descent of the index on (scope, descendant, ancestor) INCLUDE (depth), which
 * answers by itself where the visibility map allows.
 *
 * That the caller may read is checked as the executor does it.  Where there is
 * more to it (columns granted one by one, row-level security, no such index),
 * the same is asked in SQL.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/readers_probe.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/visibilitymap.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "compat/compat.h"
#include "core/names.h"
#include "core/sql.h"
#include "executor/tuptable.h"
#include "hierarchy/rows.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/predicate.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(dbpatterns_closure_pair_depth);
PG_FUNCTION_INFO_V1(dbpatterns_closure_node_depth);
PG_FUNCTION_INFO_V1(dbpatterns_closure_may_have_orphans);

/* Columns of a pair: scope, ancestor, descendant. */
#define MAX_PAIR	(2 * HIER_MAX_KEY)

/* What is known of a closure table for the calls of one query. */
typedef struct Probe
{
	Oid			closureid;		/* 0: nothing is known yet */
	int			nargs;
	AttrNumber	attnums[MAX_PAIR];	/* of the arguments, in the table */
	AttrNumber	depth;			/* in the table */
	Oid			indexid;		/* 0: none fits */
	AttrNumber	index_depth;	/* in the index */
	int			order[MAX_PAIR];	/* which argument each index column is */
	ScanKeyData keys[MAX_PAIR];
} Probe;

/*
 * find_columns finds the columns that the arguments stand for: the first ones,
 * or for a node the scope and what follows the ancestor, and the depth.
 */
static void
find_columns(Probe *probe, FunctionCallInfo fcinfo, Relation closure, bool pair)
{
	TupleDesc	desc = RelationGetDescr(closure);
	AttrNumber	attnums[MAX_PAIR + 1];
	int			n = 0;
	int			nscope;

	probe->nargs = PG_NARGS() - 1;
	for (int i = 0; i < desc->natts && n < lengthof(attnums); i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		if (att->atttypid == INT4OID && strcmp(NameStr(att->attname), "depth") == 0)
		{
			probe->depth = att->attnum;
			break;
		}
		attnums[n++] = att->attnum;
	}
	/* n is the scope once, the rest of the key twice. */
	nscope = pair ? 0 : 2 * probe->nargs - n;
	if (probe->depth == 0 || nscope < 0 || (pair && probe->nargs != n))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is not a closure table of such keys", dbp_relation_name(closure)),
				 errhint("This function is for the readers that closure_enable makes; call those.")));
	for (int i = 0; i < probe->nargs; i++)
	{
		AttrNumber	attnum = attnums[i < nscope || pair ? i : i + n - probe->nargs];
		Oid			type = get_fn_expr_argtype(fcinfo->flinfo, i + 1);

		if (getBaseType(type) != getBaseType(TupleDescAttr(desc, attnum - 1)->atttypid))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("argument %d is of type %s, but column \"%s\" is not",
							i + 2, format_type_be(type),
							NameStr(TupleDescAttr(desc, attnum - 1)->attname)),
					 errhint("Cast it to the type of the column.")));
		probe->attnums[i] = attnum;
	}
}

/*
 * fits tells whether an index has the arguments for its first columns and the
 * depth among the others, and makes the keys of a scan.
 */
static bool
fits(Probe *probe, Relation index)
{
	Form_pg_index form = index->rd_index;

	if (index->rd_rel->relam != BTREE_AM_OID || !form->indisvalid || form->indcheckxmin ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) ||
		form->indnkeyatts < probe->nargs)
		return false;
	probe->index_depth = 0;
	for (int i = 0; i < form->indnatts; i++)
	{
		if (form->indkey.values[i] == probe->depth)
			probe->index_depth = i + 1;
	}
	if (probe->index_depth == 0)
		return false;
	for (int i = 0; i < probe->nargs; i++)
	{
		Oid			type = index->rd_opcintype[i];
		Oid			equal = get_opfamily_member(index->rd_opfamily[i], type, type,
												BTEqualStrategyNumber);
		int			argument = 0;

		while (argument < probe->nargs && probe->attnums[argument] != form->indkey.values[i])
			argument++;
		if (argument == probe->nargs || !OidIsValid(equal))
			return false;
		probe->order[i] = argument;
		ScanKeyEntryInitialize(&probe->keys[i], 0, i + 1, BTEqualStrategyNumber, InvalidOid,
							   index->rd_indcollation[i], get_opcode(equal), (Datum) 0);
	}
	return true;
}

static void
find_index(Probe *probe, Relation closure)
{
	List	   *indexes = RelationGetIndexList(closure);
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (fits(probe, index))
			probe->indexid = lfirst_oid(lc);
		index_close(index, NoLock);
		if (OidIsValid(probe->indexid))
			break;
	}
	list_free(indexes);
}

static Probe *
find_probe(FunctionCallInfo fcinfo, Relation closure, bool pair)
{
	Probe	   *probe = fcinfo->flinfo->fn_extra;
	MemoryContext oldcxt;

	if (probe != NULL && probe->closureid == RelationGetRelid(closure) &&
		(!OidIsValid(probe->indexid) || get_rel_relkind(probe->indexid) == RELKIND_INDEX))
		return probe;
	if (closure->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is not a table", dbp_relation_name(closure)),
				 errhint("This function is for the readers that closure_enable makes; call those.")));
	oldcxt = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	if (probe == NULL)
		probe = palloc(sizeof(Probe));
	fcinfo->flinfo->fn_extra = NULL;
	memset(probe, 0, sizeof(*probe));
	find_columns(probe, fcinfo, closure, pair);
	find_index(probe, closure);
	probe->closureid = RelationGetRelid(closure);
	fcinfo->flinfo->fn_extra = probe;
	MemoryContextSwitchTo(oldcxt);
	return probe;
}

/*
 * ask_index returns the greatest depth of the pairs found, -1 if there is none.
 */
static int
ask_index(Probe *probe, FunctionCallInfo fcinfo, Relation closure)
{
	Relation	index = index_open(probe->indexid, AccessShareLock);
	Snapshot	snapshot = GetActiveSnapshot();
	IndexScanDesc scan;
	TupleTableSlot *slot = NULL;
	Buffer		map = InvalidBuffer;
	ItemPointer tid;
	int			depth = -1;

	for (int i = 0; i < probe->nargs; i++)
		probe->keys[i].sk_argument = PG_GETARG_DATUM(probe->order[i] + 1);
	scan = index_beginscan(closure, index, snapshot, NULL, probe->nargs, 0);
	scan->xs_want_itup = true;
	index_rescan(scan, probe->keys, probe->nargs, NULL, 0);
	while ((tid = index_getnext_tid(scan, ForwardScanDirection)) != NULL)
	{
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		if (!VM_ALL_VISIBLE(closure, ItemPointerGetBlockNumber(tid), &map))
		{
			if (slot == NULL)
				slot = table_slot_create(closure, NULL);
			if (!index_fetch_heap(scan, slot))
				continue;
			ExecClearTuple(slot);
		}
		else
			PredicateLockPage(closure, ItemPointerGetBlockNumber(tid), snapshot);
		depth = Max(depth, DatumGetInt32(index_getattr(scan->xs_itup, probe->index_depth,
													   scan->xs_itupdesc, &isnull)));
	}
	if (slot != NULL)
		ExecDropSingleTupleTableSlot(slot);
	if (BufferIsValid(map))
		ReleaseBuffer(map);
	index_endscan(scan);
	index_close(index, NoLock);
	return depth;
}

/*
 * ask_sql does the same by a query, which sees what the calling query sees.
 */
static int
ask_sql(Probe *probe, FunctionCallInfo fcinfo, Relation closure)
{
	TupleDesc	desc = RelationGetDescr(closure);
	StringInfoData sql;
	Oid			types[MAX_PAIR];
	Datum		values[MAX_PAIR];
	Datum		depth;
	bool		isnull;
	int			rc;

	SPI_connect();
	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT pg_catalog.max(%s) FROM %s WHERE true",
					 quote_identifier(NameStr(TupleDescAttr(desc, probe->depth - 1)->attname)),
					 dbp_relation_name(closure));
	for (int i = 0; i < probe->nargs; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, probe->attnums[i] - 1);

		appendStringInfoString(&sql, " AND ");
		dbp_sql_put_equal(&sql, getBaseType(att->atttypid),
						  quote_identifier(NameStr(att->attname)), psprintf("$%d", i + 1));
		types[i] = get_fn_expr_argtype(fcinfo->flinfo, i + 1);
		values[i] = PG_GETARG_DATUM(i + 1);
	}
	rc = SPI_execute_with_args(sql.data, probe->nargs, types, values, NULL, true, 1);
	if (rc != SPI_OK_SELECT)
		elog(ERROR, "SPI failed for \"%s\": %s", sql.data, SPI_result_code_string(rc));
	depth = dbp_sql_value(0, 0, &isnull);
	SPI_finish();
	return isnull ? -1 : DatumGetInt32(depth);
}

/*
 * open_table opens a table; 42P01 if there is none.
 */
static Relation
open_table(Oid relid)
{
	Relation	rel = try_table_open(relid, AccessShareLock);

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid),
				 errhint("It may have been dropped by another session; try again.")));
	return rel;
}

static Datum
greatest_depth(FunctionCallInfo fcinfo, bool pair)
{
	Relation	closure = open_table(PG_GETARG_OID(0));
	Probe	   *probe = find_probe(fcinfo, closure, pair);
	int			depth;

	if (OidIsValid(probe->indexid) &&
		pg_class_aclcheck(probe->closureid, GetUserId(), ACL_SELECT) == ACLCHECK_OK &&
		(!closure->rd_rel->relrowsecurity ||
		 check_enable_rls(probe->closureid, InvalidOid, true) != RLS_ENABLED))
		depth = ask_index(probe, fcinfo, closure);
	else
		depth = ask_sql(probe, fcinfo, closure);

	/* As in any query, the lock lasts as long as the transaction. */
	table_close(closure, NoLock);
	if (depth < 0)
		PG_RETURN_NULL();
	PG_RETURN_INT32(depth);
}

/*
 * dbpatterns.closure_pair_depth(closure regclass, VARIADIC pair "any") returns integer
 *
 * Returns the depth of a pair of a closure table, NULL if there is no such
 * pair.  The pair is given as the table has it: scope, ancestor, descendant.
 * For the functions that closure_enable makes.
 *
 * Raises 42P01 if there is no closure, 42809 if it is no table, 22023 if it is
 * none of such keys, 42804 if an argument has another type than its column,
 * 42501 if the caller must not read the table.  Locks: ACCESS SHARE.  Runs as
 * the caller.
 */
Datum
dbpatterns_closure_pair_depth(PG_FUNCTION_ARGS)
{
	return greatest_depth(fcinfo, true);
}

/*
 * dbpatterns.closure_node_depth(closure regclass, VARIADIC node "any") returns integer
 *
 * Returns how far below its root a node is, NULL if there is no such node: the
 * greatest depth of the pairs that have it as their descendant.  The node is
 * given as the table has it: scope, descendant.  For the functions that
 * closure_enable makes.
 *
 * Errors, locks, rights: as closure_pair_depth.
 */
Datum
dbpatterns_closure_node_depth(PG_FUNCTION_ARGS)
{
	return greatest_depth(fcinfo, false);
}

/*
 * dbpatterns.closure_may_have_orphans(target regclass, closure regclass) returns boolean
 *
 * Returns false if a foreign key, or the hierarchy itself, sees to it that the
 * parent of each node exists once a statement ends; else true.  Those who want
 * to read the roots need not look for orphans then.
 *
 * Raises 42P01 if target does not exist.  Locks: ACCESS SHARE on it.
 */
Datum
dbpatterns_closure_may_have_orphans(PG_FUNCTION_ARGS)
{
	Relation	target = open_table(PG_GETARG_OID(0));
	List	   *triggers = dbp_hier_own_triggers(target, HIER_TREE);
	bool		result = true;
	ListCell   *lc;

	foreach(lc, triggers)
	{
		HierState  *state = dbp_hier_state(target, lfirst(lc));

		if (state->storageid == PG_GETARG_OID(1))
			result = !dbp_hier_immediate_fk(state) && !state->spec.orphan_error;
	}
	table_close(target, NoLock);
	PG_RETURN_BOOL(result);
}

/*-------------------------------------------------------------------------
 *
 * closure.c
 *	  What is known of a closure table: its columns and its two indexes.
 *
 * Columns are told by their place in the primary key, so that they may be
 * renamed.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/closure.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "compat/compat.h"
#include "core/names.h"
#include "hierarchy/closure.h"
#include "utils/lsyscache.h"

static DbpRelStateCache *closures;

/*
 * index_columns tells whether an index can be used, and on how many columns it
 * is, which it stores.
 */
static int
index_columns(Relation index, AttrNumber *attnums)
{
	Form_pg_index form = index->rd_index;

	if (!form->indisvalid || !form->indisready || form->indnkeyatts > 2 * HIER_MAX_KEY ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
		return 0;
	for (int i = 0; i < form->indnkeyatts; i++)
		attnums[i] = form->indkey.values[i];
	return form->indnkeyatts;
}

static void
make_scan_keys(Relation index, ScanKeyData *keys, int n)
{
	for (int i = 0; i < n; i++)
	{
		Oid			type = index->rd_opcintype[i];
		Oid			op = get_opfamily_member(index->rd_opfamily[i], type, type,
											 BTEqualStrategyNumber);

		if (!OidIsValid(op))
			elog(ERROR, "missing equality operator of operator family %u",
				 index->rd_opfamily[i]);
		ScanKeyEntryInitialize(&keys[i], 0, i + 1, BTEqualStrategyNumber, type,
							   index->rd_indcollation[i], get_opcode(op), (Datum) 0);
	}
}

/*
 * take_forward takes an index for the one led by the ancestor, and from it
 * which columns are which.
 */
static bool
take_forward(Closure *closure, HierState *state, Relation index)
{
	AttrNumber	attnums[2 * HIER_MAX_KEY];
	int			nscope = state->spec.nscope;
	int			n = state->type.n;

	if (!index->rd_index->indisprimary ||
		index_columns(index, attnums) != 2 * n - nscope)
		return false;
	closure->forward = RelationGetRelid(index);
	memcpy(closure->ancestor, attnums, sizeof(AttrNumber) * n);
	memcpy(closure->descendant, attnums, sizeof(AttrNumber) * nscope);
	memcpy(closure->descendant + nscope, attnums + n, sizeof(AttrNumber) * (n - nscope));
	make_scan_keys(index, closure->forward_keys, 2 * n - nscope);
	return true;
}

static bool
take_backward(Closure *closure, HierState *state, Relation index)
{
	AttrNumber	attnums[2 * HIER_MAX_KEY];
	int			nscope = state->spec.nscope;
	int			n = state->type.n;

	if (index_columns(index, attnums) < 2 * n - nscope ||
		memcmp(attnums, closure->descendant, sizeof(AttrNumber) * n) != 0 ||
		memcmp(attnums + n, closure->ancestor + nscope, sizeof(AttrNumber) * (n - nscope)) != 0)
		return false;
	closure->backward = RelationGetRelid(index);
	make_scan_keys(index, closure->backward_keys, n);
	return true;
}

static void
find_index(Closure *closure, HierState *state, Relation rel,
		   bool (*take) (Closure *, HierState *, Relation), const char *leader)
{
	bool		found = false;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		found = index->rd_rel->relam == BTREE_AM_OID && take(closure, state, index);
		index_close(index, AccessShareLock);
		if (found)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("closure table %s lacks its index that begins with the %s",
					dbp_relation_name(rel), leader),
			 errhint("dbpatterns.closure_check tells how it must be.")));
}

static void
build_closure(DbpRelState *head, Relation rel, void *arg)
{
	Closure    *closure = (Closure *) head;
	HierState  *state = arg;
	TupleDesc	desc = RelationGetDescr(rel);

	head->rootid = head->relid;
	find_index(closure, state, rel, take_forward, "ancestor");
	find_index(closure, state, rel, take_backward, "descendant");
	closure->depth = dbp_column_number(rel, "depth");
	dbp_key_shape(state, &closure->shape);
	if (!dbp_key_fits(&state->type, rel, closure->ancestor) ||
		!dbp_key_fits(&state->type, rel, closure->descendant) ||
		TupleDescAttr(desc, closure->depth - 1)->atttypid != INT4OID)
		dbp_key_refuse_storage(state, rel);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		bool		used = att->attnum == closure->depth;

		for (int j = 0; j < state->type.n; j++)
			used |= att->attnum == closure->ancestor[j] || att->attnum == closure->descendant[j];
		if (!used && !att->attisdropped && att->attnotnull)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("column \"%s\" of closure table %s is NOT NULL, and nothing would fill it",
							NameStr(att->attname), dbp_relation_name(rel)),
					 errhint("Allow NULL there, or drop the column.")));
	}
}

/*
 * dbp_closure_of returns what is known of an open closure table.
 */
Closure *
dbp_closure_of(Relation rel, HierState *state)
{
	Closure    *closure = (Closure *) dbp_relstate_get(closures, rel, InvalidOid, state);
	HierKeyShape shape;

	/* Hand-made triggers can say different things of one closure table. */
	dbp_key_shape(state, &shape);
	if (memcmp(&shape, &closure->shape, sizeof(HierKeyShape)) != 0)
		dbp_key_refuse_storage(state, rel);
	return closure;
}

/*
 * dbp_hier_pairs_init prepares this backend.
 */
void
dbp_hier_pairs_init(void)
{
	closures = dbp_relstate_cache("dbpatterns closure", sizeof(Closure), build_closure);
}

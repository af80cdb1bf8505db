/*-------------------------------------------------------------------------
 *
 * nested_row.c
 *	  Rows of the table that holds nested sets, and its columns.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/nested_row.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/names.h"
#include "hierarchy/nested.h"
#include "utils/builtins.h"

/*
 * dbp_nested_find_columns finds the columns of an open storage by their place:
 * scope, node, tree, lft, rgt, depth.  55000 if they are not there.
 */
void
dbp_nested_find_columns(Relation rel, const HierSpec *spec, NestedColumns *columns)
{
	TupleDesc	desc = RelationGetDescr(rel);
	int			n = list_length(spec->key);
	int			own = n - spec->nscope;
	AttrNumber	attnums[2 * HIER_MAX_KEY + 3];
	int			wanted = n + own + 3;
	int			found = 0;

	for (int i = 0; i < desc->natts && found < wanted; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped)
			attnums[found++] = i + 1;
	}
	if (found < wanted || TupleDescAttr(desc, attnums[found - 3] - 1)->atttypid != INT8OID ||
		TupleDescAttr(desc, attnums[found - 2] - 1)->atttypid != INT8OID ||
		TupleDescAttr(desc, attnums[found - 1] - 1)->atttypid != INT4OID)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s does not have the columns of nested sets",
						dbp_relation_name(rel)),
				 errhint("Drop it, and call dbpatterns.nested_set_enable again.")));
	columns->n = n;
	memcpy(columns->node, attnums, sizeof(AttrNumber) * n);
	memcpy(columns->tree, attnums, sizeof(AttrNumber) * spec->nscope);
	memcpy(columns->tree + spec->nscope, attnums + n, sizeof(AttrNumber) * own);
	columns->lft = attnums[wanted - 3];
	columns->rgt = attnums[wanted - 2];
	columns->depth = attnums[wanted - 1];
}

/*
 * dbp_nested_column returns the quoted name of a column.
 */
char *
dbp_nested_column(Relation rel, AttrNumber attnum)
{
	return pstrdup(quote_identifier(NameStr(TupleDescAttr(RelationGetDescr(rel),
														  attnum - 1)->attname)));
}

/*
 * dbp_nested_fill sets the values of a slot.
 */
void
dbp_nested_fill(TupleTableSlot *slot, const NestedColumns *columns, const NestedRow *row)
{
	memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts * sizeof(bool));
	for (int i = 0; i < columns->n; i++)
	{
		slot->tts_values[columns->node[i] - 1] = row->key[i];
		slot->tts_isnull[columns->node[i] - 1] = false;
		slot->tts_values[columns->tree[i] - 1] = row->tree[i];
		slot->tts_isnull[columns->tree[i] - 1] = false;
	}
	slot->tts_values[columns->lft - 1] = Int64GetDatum(row->lft);
	slot->tts_isnull[columns->lft - 1] = false;
	slot->tts_values[columns->rgt - 1] = Int64GetDatum(row->rgt);
	slot->tts_isnull[columns->rgt - 1] = false;
	slot->tts_values[columns->depth - 1] = Int32GetDatum(row->depth);
	slot->tts_isnull[columns->depth - 1] = false;
}

/*
 * dbp_nested_read reads a row from a slot; its keys are copied.
 */
void
dbp_nested_read(TupleTableSlot *slot, const NestedColumns *columns, HierKeyType *type,
				NestedRow *row)
{
	Datum		key[HIER_MAX_KEY];
	Datum		tree[HIER_MAX_KEY];

	slot_getallattrs(slot);
	for (int i = 0; i < columns->n; i++)
	{
		key[i] = slot->tts_values[columns->node[i] - 1];
		tree[i] = slot->tts_values[columns->tree[i] - 1];
	}
	row->key = dbp_key_copy(type, key);
	row->tree = dbp_key_copy(type, tree);
	row->lft = DatumGetInt64(slot->tts_values[columns->lft - 1]);
	row->rgt = DatumGetInt64(slot->tts_values[columns->rgt - 1]);
	row->depth = DatumGetInt32(slot->tts_values[columns->depth - 1]);
	row->tid = slot->tts_tid;
	row->ours = row->changed = false;
}

/*-------------------------------------------------------------------------
 *
 * slots.c
 *	  States of the past: undoing entries, key by key.
 *
 * Rows are told apart by their keys: a slot stands for a key.  In it is the
 * present row with that key, if the table has one, under the old values found
 * so far; and rows that the log gave back.  Usually that is one row or none.
 * While a statement moves keys about (id = id + 1 under a deferrable key) it
 * can be more for a moment, and then images tell which of them is meant.
 *
 * The state at a time is the one after the last change of the row, in the
 * order of entries, by a transaction that began at or before that time.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/slots.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "audit/replay.h"
#include "core/names.h"
#include "utils/memutils.h"

static void
disagree(AuditReplay *replay, AuditRecord *record)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table %s and its audit log disagree", dbp_relation_name(replay->root)),
			 errdetail("Entry %lld changes a row that was not there.", (long long) record->id),
			 errhint("The table was changed while its triggers did not fire, or the call comes from a trigger of a statement that is still at work.")));
}

/*
 * shown_image returns an image with the shown columns only, under today's
 * names.
 */
static Jsonb *
shown_image(AuditReplay *replay, AuditShape *shape, Jsonb *image)
{
	JsonbParseState *state = NULL;
	JsonbValue	value;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < shape->ncolumns && image != NULL; i++)
	{
		int			number = shape->numbers[i];

		if (replay->shown[number] && dbp_audit_image_value(image, shape->columns[i], &value))
			dbp_audit_push_member(&state, replay->trail->columns[number].name, &value);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static void
push_all(JsonbParseState **state, Jsonb *image)
{
	JsonbIterator *it = JsonbIteratorInit(&image->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY || token == WJB_VALUE)
			pushJsonbValue(state, token, &value);
	}
}

/*
 * dbp_audit_overlay returns base with the values of top in place of its own.
 */
Jsonb *
dbp_audit_overlay(Jsonb *base, Jsonb *top)
{
	JsonbParseState *state = NULL;

	if (base == NULL)
		return top;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_all(&state, base);
	push_all(&state, top);		/* of two equal keys the last one stays */
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * is_like tells whether a row of a slot can be the one that an image shows.
 * The key is the same.
 */
static bool
is_like(AuditReplay *replay, Jsonb *row, Jsonb *image)
{
	for (int n = 0; n < replay->trail->ncolumns; n++)
	{
		AuditColumn *column = &replay->trail->columns[n];
		bool		is_key = false;
		JsonbValue	a;
		JsonbValue	b;

		for (int k = 0; k < replay->keydef->n; k++)
			is_key |= (replay->keydef->numbers[k] == n);
		if (is_key || !replay->shown[n])
			continue;
		if (dbp_audit_image_value(image, column->name, &b) &&
			(!dbp_audit_image_value(row, column->name, &a) || !dbp_audit_same_value(&a, &b)))
			return false;
	}
	return true;
}

/*
 * dbp_audit_replay_keep copies an image to where the replay's slots are.
 */
Jsonb *
dbp_audit_replay_keep(AuditReplay *replay, Jsonb *image)
{
	Jsonb	   *copy = MemoryContextAlloc(replay->cxt, VARSIZE(image));

	memcpy(copy, image, VARSIZE(image));
	return copy;
}

static void
slot_add(AuditReplay *replay, AuditSlot *slot, Jsonb *image)
{
	MemoryContext oldcxt = MemoryContextSwitchTo(replay->cxt);

	slot->rows = lappend(slot->rows, dbp_audit_replay_keep(replay, image));
	slot->unknown = 0;
	MemoryContextSwitchTo(oldcxt);
}

/*
 * slot_find returns the row in a slot that has these values: a cell of rows,
 * NULL for the present row.
 */
static ListCell *
slot_find(AuditReplay *replay, AuditSlot *slot, Jsonb *image)
{
	ListCell   *lc;

	foreach(lc, slot->rows)
	{
		if (is_like(replay, lfirst(lc), image))
			return lc;
	}
	return slot->gone ? list_head(slot->rows) : NULL;
}

static void
slot_remove(AuditReplay *replay, AuditSlot *slot, Jsonb *image, AuditRecord *record)
{
	ListCell   *lc = slot_find(replay, slot, image);

	if (lc != NULL)
		slot->rows = list_delete_cell(slot->rows, lc);
	else if (!slot->gone)
		slot->gone = true;
	else if (slot->unknown == 0)
		disagree(replay, record);
	slot->unknown = 0;
}

static void
slot_update(AuditReplay *replay, AuditSlot *slot, Jsonb *old, Jsonb *new, AuditRecord *record)
{
	ListCell   *lc = slot_find(replay, slot, new);

	if (lc != NULL)
		lfirst(lc) = dbp_audit_replay_keep(replay, dbp_audit_overlay(lfirst(lc), old));
	else if (!slot->gone)
		slot->overlay = dbp_audit_replay_keep(replay, dbp_audit_overlay(slot->overlay, old));
	else if (slot->unknown == 0)
		disagree(replay, record);
}

/*
 * today_key returns an entry's key as today's key codec writes it, from an
 * image of the entry; NULL when it was erased.  Since the time we look back to
 * its columns may have got other names, no more.
 */
static Jsonb *
today_key(AuditReplay *replay, AuditShape *shape, Jsonb *image)
{
	AuditKeyDef *def = replay->keydef;
	JsonbParseState *state = NULL;
	JsonbValue	value;

	if (!dbp_audit_has_key(shape, def))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the audit log knows rows of table %s by another key, too",
						dbp_relation_name(replay->root)),
				 errhint("Ask for a later time.")));
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int k = 0; k < shape->nkeys; k++)
	{
		if (!dbp_audit_image_value(image, shape->columns[shape->keys[k]], &value) ||
			!dbp_audit_value_known(&value))
			return NULL;
		dbp_audit_push_member(&state, def->names[k], &value);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * dbp_audit_find_slot returns the slot of a key, NULL if there is none and none
 * is to be made.
 */
AuditSlot *
dbp_audit_find_slot(AuditReplay *replay, Jsonb *key, uint64 hash, bool create)
{
	bool		found;
	AuditSlotEntry *entry = hash_search(replay->slots, &hash, create ? HASH_ENTER : HASH_FIND,
										&found);
	AuditSlot  *slot;

	if (entry == NULL)
		return NULL;
	if (!found)
		entry->first = NULL;
	for (slot = entry->first; slot != NULL; slot = slot->next)
	{
		if (compareJsonbContainers(&slot->key->root, &key->root) == 0)
			return slot;
	}
	if (create)
	{
		slot = MemoryContextAllocZero(replay->cxt, sizeof(AuditSlot));
		slot->key = dbp_audit_replay_keep(replay, key);
		slot->next = entry->first;
		entry->first = slot;
	}
	return slot;
}

/*
 * slot_of returns the slot of the row an entry speaks of, after the change
 * (new_side) or before it; NULL if that is no row we look for.
 */
static AuditSlot *
slot_of(AuditReplay *replay, AuditRecord *record, bool new_side)
{
	Jsonb	   *image = (record->new != NULL && (new_side || !record->key_changed))
		? record->new : record->old;
	Jsonb	   *key;

	if (replay->only != NULL)
		return dbp_audit_record_is_of(replay->trail, record, replay->probes, new_side)
			? replay->only : NULL;
	if (image == NULL)
		return NULL;
	key = today_key(replay, record->shape, image);
	return key == NULL ? NULL :
		dbp_audit_find_slot(replay, key, (new_side || !record->key_changed)
							? record->row_key : record->old_row_key, true);
}

/*
 * undo_truncate undoes a TRUNCATE; false if nothing before it matters.  With
 * its rows in the log nothing is left to do here.
 */
static bool
undo_truncate(AuditReplay *replay, AuditRecord *record)
{
	JsonbValue	unused;
	AuditSlot  *slot = replay->only;

	if (dbp_audit_image_value(record->new, "rows", &unused))
		return true;
	if (record->at <= replay->at)
		return dbp_audit_image_value(record->new, "partition", &unused);
	if (slot == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s was truncated after %s", dbp_relation_name(replay->root),
						timestamptz_to_str(replay->at)),
				 errhint("The rows removed by the TRUNCATE of %s were not logged; with truncate_rows in dbpatterns.audit_enable they are.",
						 timestamptz_to_str(record->at))));
	if (slot->gone && slot->rows == NIL && !slot->done)
		slot->unknown = record->at;
	return true;
}

/*
 * dbp_audit_undo_entry undoes an entry; false when no earlier one matters.
 */
bool
dbp_audit_undo_entry(AuditRecord *record, void *arg)
{
	AuditReplay *replay = arg;
	AuditShape *shape = record->shape;
	AuditSlot  *after = NULL;
	AuditSlot  *before = NULL;

	if (shape == NULL || record->op == AUDIT_MARKER)
		return true;
	if (record->op == AUDIT_TRUNCATE)
		return undo_truncate(replay, record);
	if (record->op != AUDIT_DELETE)
		after = slot_of(replay, record, true);
	if (record->op != AUDIT_INSERT)
		before = record->op == AUDIT_UPDATE && !record->key_changed ? after :
			slot_of(replay, record, false);

	if (record->at <= replay->at)
	{
		if (after != NULL)
			after->done = true;
		if (before != NULL)
			before->done = true;
		return replay->only == NULL || !replay->only->done;
	}

	if (after != NULL && after == before)
	{
		if (!after->done)
			slot_update(replay, after, shown_image(replay, shape, record->old),
						shown_image(replay, shape, record->new), record);
		return true;
	}
	if (after != NULL && !after->done)
		slot_remove(replay, after, shown_image(replay, shape, record->new), record);
	if (before != NULL && !before->done)
		slot_add(replay, before, shown_image(replay, shape, record->old));
	return true;
}

/*-------------------------------------------------------------------------
 *
 * capture.c
 *	  The trigger functions of hierarchies.
 *
 * A row trigger tells the queue which key was touched, and what its row says
 * for certain; a statement trigger flushes the queue.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/capture.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/parts.h"
#include "core/trigger.h"
#include "hierarchy/hierarchy.h"
#include "utils/datum.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(dbpatterns_closure_trigger);
PG_FUNCTION_INFO_V1(dbpatterns_closure_graph_trigger);
PG_FUNCTION_INFO_V1(dbpatterns_nested_set_trigger);

/*
 * read_key reads a key from a row; false if a column of it from "first" on is
 * NULL.
 */
static bool
read_key(TupleTableSlot *slot, const AttrNumber *attnums, int n, int first, Datum *key)
{
	for (int i = 0; i < n; i++)
	{
		bool		isnull;

		key[i] = slot_getattr(slot, attnums[i], &isnull);
		if (isnull && i >= first)
			return false;
	}
	return true;
}

static bool
read_parent(HierState *state, TupleTableSlot *slot, Datum *parent)
{
	return state->spec.kind != HIER_GRAPH &&
		read_key(slot, state->parent, state->type.n, state->spec.nscope, parent);
}

/*
 * is_newest tells whether no command of ours has changed a row since.
 */
static bool
is_newest(TupleTableSlot *slot, HeapTuple tuple)
{
	return TTS_IS_BUFFERTUPLE(slot) &&
		((tuple->t_data->t_infomask & HEAP_XMAX_INVALID) != 0 ||
		 HEAP_XMAX_IS_LOCKED_ONLY(tuple->t_data->t_infomask));
}

/*
 * touch_removed notes that a row went.  Whether its key is still there is looked
 * up: a statement in WITH, or MERGE, may have brought it back already, and its
 * row can be told of after the flush.
 */
static void
touch_removed(HierState *state, TupleTableSlot *slot)
{
	HierQueue  *queue = dbp_hier_queue(state);
	Datum		key[2 * HIER_MAX_KEY];
	HierTouched *touched;
	bool		found;

	if (!read_key(slot, state->key, state->queue_type.n, 0, key))
		return;					/* it never was a node */
	touched = dbp_hier_touch(queue, key, &found);
	touched->known = false;
	if (state->deferrable_key)
		dbp_hier_remember_orphan(state, key);
}

static void
touch_present(HierState *state, Relation rel, TupleTableSlot *slot, HeapTuple tuple)
{
	HierQueue  *queue = dbp_hier_queue(state);
	Datum		key[2 * HIER_MAX_KEY];
	Datum		parent[HIER_MAX_KEY];
	HierTouched *touched;
	bool		found;

	if (!read_key(slot, state->key, state->queue_type.n, 0, key))
	{
		if (state->spec.kind == HIER_GRAPH)
			return;				/* not an edge */
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("a row of %s has NULL in its key and cannot be part of a hierarchy",
						dbp_relation_name(rel)),
				 errhint("The columns of the key must be NOT NULL.")));
	}
	touched = dbp_hier_touch(queue, key, &found);
	touched->known = !found && !state->deferrable_key && is_newest(slot, tuple);
	if (state->deferrable_key)
		dbp_hier_remember_orphan(state, key);
	touched->exists = true;
	touched->parent = NULL;
	if (touched->known && read_parent(state, slot, parent))
	{
		MemoryContext oldcxt = MemoryContextSwitchTo(queue->cxt);

		touched->parent = dbp_key_copy(&state->type, parent);
		MemoryContextSwitchTo(oldcxt);
	}
}

/*
 * order_changed tells whether an update changed a row's place among its siblings.
 */
static bool
order_changed(HierState *state, TriggerData *data)
{
	Form_pg_attribute att;
	bool		old_isnull;
	bool		new_isnull;
	Datum		old;
	Datum		new;

	if (state->order == InvalidAttrNumber)
		return false;
	att = TupleDescAttr(RelationGetDescr(data->tg_relation), state->order - 1);
	old = slot_getattr(data->tg_trigslot, att->attnum, &old_isnull);
	new = slot_getattr(data->tg_newslot, att->attnum, &new_isnull);
	return old_isnull != new_isnull ||
		(!old_isnull && !datum_image_eq(old, new, att->attbyval, att->attlen));
}

/*
 * is_unchanged tells whether an update left key and parent as they were.  Where
 * the order of siblings is kept, who has the order changed is not.
 */
static bool
is_unchanged(HierState *state, TriggerData *data)
{
	Datum		old[2 * HIER_MAX_KEY];
	Datum		new[2 * HIER_MAX_KEY];
	bool		has_old = read_key(data->tg_trigslot, state->key, state->queue_type.n, 0, old);
	bool		has_new = read_key(data->tg_newslot, state->key, state->queue_type.n, 0, new);

	if (order_changed(state, data))
		return false;
	if (has_old != has_new || (has_old && !dbp_key_equal(&state->queue_type, old, new)))
		return false;
	has_old = read_parent(state, data->tg_trigslot, old);
	has_new = read_parent(state, data->tg_newslot, new);
	return has_old == has_new && (!has_old || dbp_key_equal(&state->type, old, new));
}

static void
touch_row(HierState *state, TriggerData *data)
{
	HierQueue  *queue;

	/* Without a WHEN clause every update comes here. */
	if (TRIGGER_FIRED_BY_UPDATE(data->tg_event) && is_unchanged(state, data))
		return;
	queue = dbp_hier_queue(state);
	if (TRIGGER_FIRED_BY_INSERT(data->tg_event))
	{
		touch_present(state, data->tg_relation, data->tg_trigslot, data->tg_trigtuple);
		queue->inserts = true;
	}
	else if (TRIGGER_FIRED_BY_DELETE(data->tg_event))
	{
		touch_removed(state, data->tg_trigslot);
		queue->deletes = true;
	}
	else
	{
		touch_removed(state, data->tg_trigslot);
		touch_present(state, data->tg_relation, data->tg_newslot, data->tg_newtuple);
		queue->updates = true;
	}
	dbp_hier_flush_chunk(state);
}

/*
 * follow_truncate brings a hierarchy in line after TRUNCATE, of the whole table
 * or of a partition.
 */
static void
follow_truncate(HierState *state)
{
	DbpOwnerScope scope;

	/* Rows of other partitions may come until nobody else writes here. */
	dbp_hier_lock_whole(state);
	SPI_connect();
	if (dbp_has_rows(state->head.rootid))
		dbp_hier_sync(state);
	else
	{
		dbp_enter_owner(&scope, dbp_relation_owner(state->head.rootid));
		dbp_sql_command("TRUNCATE %s", dbp_relation_name_by_oid(state->storageid));
		dbp_leave_owner(&scope);
		if (state->spec.counters)
			dbp_counts_clear(state);
	}
	SPI_finish();
}

/*
 * run_trigger does the work of the three trigger functions.
 */
static Datum
run_trigger(FunctionCallInfo fcinfo, HierKind kind, const char *function)
{
	TriggerData *data = dbp_trigger_data(fcinfo, function);
	HierState  *state;

	if (!TRIGGER_FIRED_AFTER(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\" of table %s must be fired AFTER",
						data->tg_trigger->tgname, dbp_relation_name(data->tg_relation)),
				 errhint("Enable the hierarchy, which creates its triggers.")));

	state = dbp_hier_state(data->tg_relation, data->tg_trigger);
	if (state->spec.kind != kind)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument of trigger \"%s\" of table %s is for another pattern",
						data->tg_trigger->tgname, dbp_relation_name(data->tg_relation)),
				 errhint("Enable the hierarchy, which creates its triggers.")));

	if (TRIGGER_FIRED_FOR_ROW(data->tg_event))
		touch_row(state, data);
	else
	{
		dbp_hier_flush(state);
		if (TRIGGER_FIRED_BY_TRUNCATE(data->tg_event))
			follow_truncate(state);
	}
	return PointerGetDatum(NULL);
}

/*
 * closure_trigger() keeps the closure table of an adjacency list exact.
 *
 * As a row trigger (AFTER INSERT, UPDATE or DELETE) it notes which nodes were
 * touched; as a statement trigger it brings the closure table in line.  Its
 * argument is a JSON object that closure_enable makes.
 *
 * Raises 39P01 when called otherwise, 22023 or 22P02 for a bad argument, 42P01
 * or 42703 when the closure table or a column is gone, 23514 for a cycle, a
 * depth over the limit or a parent in another scope, 23503 for an orphan where
 * the options refuse it, 40001 when REPEATABLE READ or SERIALIZABLE cannot
 * hold, 55000 when library and SQL have different versions.  Locks ROW
 * EXCLUSIVE on the closure table, trees as lock.c says.  Runs as the caller,
 * who needs no right on the closure table.
 */
Datum
dbpatterns_closure_trigger(PG_FUNCTION_ARGS)
{
	return run_trigger(fcinfo, HIER_TREE, "closure_trigger");
}

/*
 * closure_graph_trigger() keeps the closure table of a table of edges exact.
 *
 * Raises as closure_trigger does, but for scopes and orphans.  Locks SHARE ROW
 * EXCLUSIVE on the closure table when edges changed.  Runs as the caller, who
 * needs no right on the closure table.
 */
Datum
dbpatterns_closure_graph_trigger(PG_FUNCTION_ARGS)
{
	return run_trigger(fcinfo, HIER_GRAPH, "closure_graph_trigger");
}

/*
 * nested_set_trigger() keeps the nested sets of an adjacency list exact.
 *
 * Raises as closure_trigger does.  Locks ROW EXCLUSIVE on the table of nested
 * sets, and the trees that change.  Runs as the caller, who needs no right on
 * that table.
 */
Datum
dbpatterns_nested_set_trigger(PG_FUNCTION_ARGS)
{
	return run_trigger(fcinfo, HIER_NESTED, "nested_set_trigger");
}

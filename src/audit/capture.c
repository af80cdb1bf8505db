/*-------------------------------------------------------------------------
 *
 * capture.c
 *	  The trigger function: rows to log entries.
 *
 * One AFTER ROW trigger sees every changed row with its old and new version,
 * whatever statement changed it and through whichever table of a partition
 * tree; that is why rows are captured here and not from transition tables,
 * which partitions, foreign keys and logical apply serve badly or not at all.
 * Speed comes from what a row costs: no catalog access, no SPI, no parse tree,
 * and a batch at a time written to the log.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/capture.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "audit/audit.h"
#include "catalog/pg_inherits.h"
#include "core/names.h"
#include "core/trigger.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(dbpatterns_audit_trigger);

/* A row in the layout of the root. */
typedef struct Row
{
	Datum	   *values;
	bool	   *isnull;
} Row;

/*
 * Partitions whose truncation is logged already, by the trigger of a table
 * above them in the same command.  The list lives in the memory of that
 * command's executor state, and ends with it.
 */
typedef struct Truncation
{
	MemoryContext cxt;
	List	   *logged;
	struct Truncation *outer;	/* a command whose triggers are running */
	MemoryContextCallback at_end;
} Truncation;

static Truncation *truncation = NULL;

static Row
row_of(AuditRelation *state, TupleTableSlot *slot)
{
	Row			row;
	int			natts = state->desc->natts;

	slot_getallattrs(slot);
	if (state->map == NULL)
	{
		row.values = slot->tts_values;
		row.isnull = slot->tts_isnull;
		return row;
	}

	row.values = palloc(sizeof(Datum) * natts);
	row.isnull = palloc(sizeof(bool) * natts);
	for (int i = 0; i < natts; i++)
	{
		AttrNumber	attno = state->map[i];

		row.isnull[i] = (attno == 0) || slot->tts_isnull[attno - 1];
		row.values[i] = (attno == 0) ? (Datum) 0 : slot->tts_values[attno - 1];
	}
	return row;
}

static uint64
row_key(AuditRelation *state, Row row)
{
	return dbp_codec_hash(state->codec, row.values, row.isnull, state->keys,
						  state->nkeys, (uint64) state->relation);
}

static void
set_image(AuditRelation *state, Jsonb **where, Row row, const bool *pick)
{
	Jsonb	   *image = dbp_codec_encode(state->codec, row.values, row.isnull, pick);

	dbp_audit_batch_image(where, image);
}

/*
 * change_command returns the number of the command that made the change the
 * trigger was called for.
 */
static CommandId
change_command(TriggerData *data)
{
	bool		deleted = TRIGGER_FIRED_BY_DELETE(data->tg_event);
	HeapTuple	tuple = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ?
		data->tg_newtuple : data->tg_trigtuple;

	/* Before 15.6 and 16.2, MERGE moved rows between partitions like this. */
	if (tuple == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("this server does not tell triggers of table %s the new row",
						dbp_relation_name(data->tg_relation)),
				 errhint("Update PostgreSQL to its newest minor version.")));

	/* Rows of foreign tables carry no such thing. */
	if (!TTS_IS_BUFFERTUPLE(data->tg_trigslot))
		return GetCurrentCommandId(false);
	if (deleted)
		return TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(tuple->t_data)) ?
			HeapTupleHeaderGetCmax(tuple->t_data) : GetCurrentCommandId(false);
	return TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data)) ?
		HeapTupleHeaderGetCmin(tuple->t_data) : GetCurrentCommandId(false);
}

/*
 * changed_by returns the number of the command that has changed the row again
 * that is new in a trigger: triggers of the user's fire before ours.
 */
static CommandId
changed_by(TriggerData *data)
{
	HeapTuple	tuple = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ?
		data->tg_newtuple : data->tg_trigtuple;

	if (!TTS_IS_BUFFERTUPLE(data->tg_trigslot))
		return FirstCommandId;
	if ((tuple->t_data->t_infomask & HEAP_XMAX_INVALID) != 0 ||
		HEAP_XMAX_IS_LOCKED_ONLY(tuple->t_data->t_infomask) ||
		!TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(tuple->t_data)))
		return InvalidCommandId;
	return HeapTupleHeaderGetCmax(tuple->t_data);
}

/*
 * add_entry adds the entry of a row, which is identified by its key in row.
 */
static AuditEntry *
add_entry(AuditRelation *state, char op, Row row, CommandId command)
{
	AuditEntry *entry = dbp_audit_batch_add(op, state->shape, command);

	entry->has_key = (state->nkeys > 0);
	if (entry->has_key)
		entry->row_key = row_key(state, row);
	return entry;
}

static void
log_insert(AuditRelation *state, TriggerData *data, Row new, CommandId command)
{
	AuditEntry *entry = add_entry(state, AUDIT_INSERT, new, command);

	entry->changed_by = changed_by(data);
	set_image(state, &entry->new, new, NULL);
}

static void
log_delete(AuditRelation *state, Row old, CommandId command)
{
	AuditEntry *entry = add_entry(state, AUDIT_DELETE, old, command);

	set_image(state, &entry->old, old, NULL);
}

/*
 * find_changes marks the columns that differ and tells whether one does, and
 * whether one of them belongs to the key.
 */
static bool
find_changes(AuditRelation *state, Row old, Row new, bool *changed, bool *key_changed)
{
	bool		any = false;

	*key_changed = false;
	for (int i = 0; i < state->desc->natts; i++)
	{
		changed[i] = state->watched[i] &&
			dbp_codec_changed(state->codec, i, old.values[i], old.isnull[i],
							  new.values[i], new.isnull[i]);
		if (changed[i])
		{
			any = true;
			*key_changed |= state->is_key[i];
		}
	}
	return any;
}

/*
 * log_update logs the difference: the changed columns, and in the new image
 * the key beside them.  Both images are whole where the options ask for it,
 * where there is no key to find the rest of the row by, or where the key
 * changed, so that the row's history can be followed from either side.
 */
static void
log_update(AuditRelation *state, TriggerData *data, Row old, Row new, CommandId command)
{
	bool	   *changed = palloc(sizeof(bool) * state->desc->natts);
	bool		key_changed;
	bool		whole;
	AuditEntry *entry;

	if (!find_changes(state, old, new, changed, &key_changed))
		return;

	whole = state->options.full || key_changed || state->nkeys == 0;
	entry = add_entry(state, AUDIT_UPDATE, new, command);
	entry->key_changed = key_changed;
	entry->changed_by = changed_by(data);
	if (key_changed)
		entry->old_row_key = row_key(state, old);
	set_image(state, &entry->old, old, whole ? NULL : changed);
	for (int i = 0; i < state->nkeys; i++)
		changed[state->keys[i]] = true;
	set_image(state, &entry->new, new, whole ? NULL : changed);
}

/*
 * wanted tells whether the options ask for an operation.
 */
static bool
wanted(AuditRelation *state, char op)
{
	return state->options.operations == NULL ||
		strchr(state->options.operations, op) != NULL;
}

/*
 * log_row logs one row.  The two halves of a move between partitions come as
 * delete and insert and make an update together; so both are looked at where
 * only updates are wanted, and neither counts where they are not.
 */
static void
log_row(TriggerData *data)
{
	AuditRelation *state = dbp_audit_state(data->tg_relation, data->tg_trigger);
	CommandId	command = change_command(data);
	Row			old;
	Row			new;

	if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
	{
		old = row_of(state, data->tg_trigslot);
		new = row_of(state, data->tg_newslot);
		log_update(state, data, old, new, command);
	}
	else if (TRIGGER_FIRED_BY_INSERT(data->tg_event))
	{
		new = row_of(state, data->tg_trigslot);

		/* The other half of a move between partitions makes it an update. */
		if (!dbp_audit_batch_take_moved(state->relation, command, &old.values, &old.isnull))
		{
			if (wanted(state, AUDIT_INSERT))
				log_insert(state, data, new, command);
		}
		else if (wanted(state, AUDIT_UPDATE))
			log_update(state, data, old, new, command);
	}
	else
	{
		bool		moved = HeapTupleHeaderIndicatesMovedPartitions(data->tg_trigtuple->t_data);

		if (!wanted(state, AUDIT_DELETE) && !moved)
			return;
		old = row_of(state, data->tg_trigslot);
		log_delete(state, old, command);
		if (moved)
			dbp_audit_batch_set_moved(state->relation, state->desc, old.values, old.isnull);
	}
}

/*
 * log_truncated_rows logs the rows of one table as deleted.  The table is
 * locked exclusively, so the newest snapshot shows all that will go.  Returns
 * their number.
 */
static int64
log_truncated_rows(Relation rel, Trigger *trigger)
{
	AuditRelation *state = dbp_audit_state(rel, trigger);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	MemoryContext row_cxt = AllocSetContextCreate(CurrentMemoryContext,
												  "dbpatterns audit row",
												  ALLOCSET_DEFAULT_SIZES);
	int64		rows = 0;

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		MemoryContext oldcxt = MemoryContextSwitchTo(row_cxt);

		CHECK_FOR_INTERRUPTS();
		log_delete(state, row_of(state, slot), GetCurrentCommandId(false));
		MemoryContextSwitchTo(oldcxt);
		MemoryContextReset(row_cxt);
		rows++;
	}

	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	MemoryContextDelete(row_cxt);
	return rows;
}

/*
 * set_truncate_image says which partition was truncated, if not the whole
 * table, and how many of its rows were logged, if they were.
 */
static void
set_truncate_image(AuditEntry *entry, const char *partition, int64 rows)
{
	StringInfoData image;

	if (partition == NULL && rows < 0)
		return;
	initStringInfo(&image);
	appendStringInfoChar(&image, '{');
	if (partition != NULL)
	{
		appendStringInfoString(&image, "\"partition\": ");
		escape_json(&image, partition);
	}
	if (rows >= 0)
		appendStringInfo(&image, "%s\"rows\": %lld", partition != NULL ? ", " : "",
						 (long long) rows);
	appendStringInfoChar(&image, '}');
	dbp_audit_batch_image(&entry->new,
						  DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
															 CStringGetDatum(image.data))));
}

static void
end_truncation(void *arg)
{
	Truncation **link = &truncation;

	while (*link != NULL && *link != arg)
		link = &(*link)->outer;
	if (*link != NULL)
		*link = (*link)->outer;
}

/*
 * current_truncation returns the record of the TRUNCATE whose trigger this is:
 * the triggers of all its tables run in one executor state.
 */
static Truncation *
current_truncation(void)
{
	MemoryContext cxt = MemoryContextGetParent(CurrentMemoryContext);
	Truncation *result;

	if (truncation != NULL && truncation->cxt == cxt)
		return truncation;
	result = MemoryContextAllocZero(cxt, sizeof(Truncation));
	result->cxt = cxt;
	result->outer = truncation;
	result->at_end.func = end_truncation;
	result->at_end.arg = result;
	MemoryContextRegisterResetCallback(cxt, &result->at_end);
	truncation = result;
	return result;
}

/*
 * log_truncate logs one entry for the table named in the command, or for each
 * one that a cascade reached; partitions below it are part of that entry.
 */
static void
log_truncate(TriggerData *data)
{
	Relation	rel = data->tg_relation;
	Oid			relid = RelationGetRelid(rel);
	Truncation *command = current_truncation();
	AuditRelation *state;
	AuditEntry *entry;
	int64		rows;
	ListCell   *lc;

	if (list_member_oid(command->logged, relid))
		return;

	state = dbp_audit_state(rel, data->tg_trigger);
	rows = state->options.truncate_rows ? 0 : -1;
	/* Partitions go with their root and are locked; other children may not. */
	foreach(lc, rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ?
			find_all_inheritors(relid, NoLock, NULL) : list_make1_oid(relid))
	{
		Relation	part = table_open(lfirst_oid(lc), NoLock);
		Trigger    *trigger = dbp_find_trigger(part, data->tg_trigger->tgname);

		if (state->options.truncate_rows && part->rd_rel->relkind == RELKIND_RELATION &&
			(lfirst_oid(lc) == relid || part->rd_rel->relispartition))
			rows += log_truncated_rows(part, data->tg_trigger);
		if (lfirst_oid(lc) != relid && part->rd_rel->relispartition &&
			trigger != NULL && trigger->tgenabled != TRIGGER_DISABLED)
		{
			MemoryContext oldcxt = MemoryContextSwitchTo(command->cxt);

			command->logged = lappend_oid(command->logged, lfirst_oid(lc));
			MemoryContextSwitchTo(oldcxt);
		}
		table_close(part, NoLock);
	}

	entry = dbp_audit_batch_add(AUDIT_TRUNCATE, state->shape, GetCurrentCommandId(false));
	set_truncate_image(entry, relid != state->head.rootid ? dbp_relation_name(rel) : NULL,
					   rows);
}

/*
 * audit_trigger() logs the changes of the table it is attached to.
 *
 * As a row trigger (AFTER INSERT OR UPDATE OR DELETE) it logs the row; before
 * TRUNCATE it logs the truncation.  Entries are in the log when the transaction
 * commits, or earlier (see batch.c).  Its only argument is a JSON object with
 * the options exclude, redact, key (arrays of column names), capture ('diff'
 * or 'full'), truncate_rows and operations (letters to log of those it is
 * called for); none means the defaults.
 *
 * Raises 39P01 when called otherwise, 22P02 or 22023 for a bad argument, 42703
 * when a column named there is gone, 42809 on a table of ours, 55000 when
 * library and SQL objects have different versions, 25006 in a read-only
 * transaction, 0A000 on a server too old for MERGE.  Locks ROW EXCLUSIVE on
 * the current partition of the log when entries are written.  Runs as the
 * caller, who needs no right on the log.
 */
Datum
dbpatterns_audit_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *data = dbp_trigger_data(fcinfo, "audit_trigger");

	if (!TRIGGER_FIRED_BY_TRUNCATE(data->tg_event))
	{
		if (!TRIGGER_FIRED_FOR_ROW(data->tg_event) || !TRIGGER_FIRED_AFTER(data->tg_event))
			ereport(ERROR,
					(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
					 errmsg("audit trigger \"%s\" of table %s must be fired AFTER, FOR EACH ROW",
							data->tg_trigger->tgname, dbp_relation_name(data->tg_relation)),
					 errhint("A BEFORE trigger does not see what other triggers change.")));
		log_row(data);
	}
	else
	{
		if (!TRIGGER_FIRED_BEFORE(data->tg_event))
			ereport(ERROR,
					(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
					 errmsg("audit trigger \"%s\" of table %s must be fired BEFORE TRUNCATE",
							data->tg_trigger->tgname, dbp_relation_name(data->tg_relation)),
					 errhint("Afterwards the rows are gone.")));
		log_truncate(data);
	}

	return PointerGetDatum(NULL);
}

/*
 * dbp_audit_init prepares this backend for auditing.
 */
void
dbp_audit_init(void)
{
	dbp_audit_txn_init();
	dbp_audit_state_init();
	dbp_audit_batch_init();
	dbp_audit_write_init();
	dbp_audit_ddl_init();
	dbp_audit_trail_init();
}

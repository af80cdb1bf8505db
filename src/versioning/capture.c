/*-------------------------------------------------------------------------
 *
 * capture.c
 *	  The trigger function: rows get their period, old versions are archived.
 *
 * A BEFORE trigger sets the period of the new row; an AFTER trigger archives
 * the old one.  Whatever triggers of the user's do in between (cancel the
 * change, move the row to another partition, touch the period) is known by
 * then: what was not changed leaves no version, and a row that a partition
 * lost to another one leaves one, not two.
 *
 * The time at which a version ends is the time at which the next one begins.
 * Both triggers compute it from the old row, so that they agree without
 * talking: it is the time of the change, or just after the old row began where
 * that is later, for transactions do not commit in the order they began.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/capture.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "compat/compat.h"
#include "core/names.h"
#include "core/trigger.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "versioning/versioning.h"

PG_FUNCTION_INFO_V1(dbpatterns_versioning_trigger);

/*
 * The row that a BEFORE UPDATE trigger saw last.  If it leaves its partition it
 * comes back at once as an insert, which must keep the period.
 */
static struct
{
	Oid			rootid;
	LocalTransactionId lxid;
	CommandId	command;
	TimestampTz lower;
} updated;

/*
 * What tells rows of this transaction from those of others that it has written
 * without a new version.
 */
typedef struct Changes
{
	LocalTransactionId lxid;
	TimestampTz first;			/* no period of ours began before, unless the
								 * system time was set back meanwhile */
	HTAB	   *kept;			/* when periods of others began that we kept,
								 * if not before that; NULL: none */
} Changes;

/* ---- periods --------------------------------------------------------------- */

static void
refuse_period(Relation rel, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_GENERATED_ALWAYS),
			 errmsg("system time period of a row of table %s %s", dbp_relation_name(rel), why),
			 errhint("Triggers must not set it; to load rows with their periods, their owner sets dbpatterns.versioning_import.")));
}

/*
 * stored_period reads the period of a row of the table.
 */
static void
stored_period(VersioningState *state, Relation rel, HeapTuple row, SystemPeriod *period)
{
	bool		isnull;
	Datum		value = heap_getattr(row, state->period, RelationGetDescr(rel), &isnull);

	period->empty = true;
	if (!isnull)
		dbp_versioning_read_period(value, period);
}

/*
 * current_period reads the period of a row that must be current.
 */
static void
current_period(VersioningState *state, Relation rel, HeapTuple row, SystemPeriod *period)
{
	stored_period(state, rel, row, period);
	if (period->empty || !period->open || period->lower == DT_NOEND)
		refuse_period(rel, "is not open");
}

/*
 * with_period returns the row with the period [lower,).  Periods are of one size, so
 * mostly a copy with other bytes will do.
 */
static HeapTuple
with_period(VersioningState *state, Relation rel, HeapTuple row, TimestampTz lower)
{
	TupleDesc	desc = RelationGetDescr(rel);
	struct varlena *open = dbp_versioning_open(state, lower);
	int			attno = state->period;
	bool		isnull;
	Datum		value = heap_getattr(row, state->period, desc, &isnull);
	struct varlena *stored = (struct varlena *) DatumGetPointer(value);

	if (!isnull && VARATT_IS_SHORT(stored) && VARSIZE_SHORT(stored) == VARSIZE_SHORT(open))
	{
		HeapTuple	copy;

		if (memcmp(stored, open, VARSIZE_SHORT(open)) == 0)
			return row;
		copy = heap_copytuple(row);
		memcpy((char *) copy->t_data + ((char *) stored - (char *) row->t_data), open,
			   VARSIZE_SHORT(open));
		return copy;
	}
	value = PointerGetDatum(open);
	isnull = false;
	return heap_modify_tuple_by_cols(row, desc, 1, &attno, &value, &isnull);
}

/*
 * this_transaction returns what is known of the transaction, from before it gave
 * the first period to a row.
 */
static Changes *
this_transaction(VersioningState *state, Relation rel)
{
	static Changes changes = {InvalidLocalTransactionId};

	if (changes.lxid != dbp_my_lxid())
	{
		changes.first = Min(dbp_versioning_now(rel, state->options.source),
							GetCurrentTransactionStartTimestamp());
		changes.kept = NULL;
		changes.lxid = dbp_my_lxid();
	}
	return &changes;
}

/*
 * is_ours tells whether the period of a row began in this transaction.  That the
 * row was written by it is not enough: updates that make no version write rows, too.
 */
static bool
is_ours(VersioningState *state, Relation rel, HeapTuple row, const SystemPeriod *period)
{
	Changes    *changes;

	if (!TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(row->t_data)))
		return false;
	changes = this_transaction(state, rel);
	return period->lower >= changes->first &&
		(changes->kept == NULL ||
		 hash_search(changes->kept, &period->lower, HASH_FIND, NULL) == NULL);
}

/*
 * keep_period remembers that we write a row that keeps a period of another transaction.
 */
static void
keep_period(VersioningState *state, Relation rel, const SystemPeriod *period)
{
	Changes    *changes = this_transaction(state, rel);
	HASHCTL		ctl;

	if (period->lower < changes->first)
		return;
	if (changes->kept == NULL)
	{
		ctl.keysize = sizeof(TimestampTz);
		ctl.entrysize = sizeof(TimestampTz);
		ctl.hcxt = TopTransactionContext;
		changes->kept = hash_create("dbpatterns kept periods", 16, &ctl,
									HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	(void) hash_search(changes->kept, &period->lower, HASH_ENTER, NULL);
}

/*
 * note_newer says, once for each statement, that a row is newer than the change.
 */
static void
note_newer(Relation rel)
{
	static TimestampTz noted = 0;
	static Oid	noted_relid = InvalidOid;

	if (noted == GetCurrentStatementStartTimestamp() && noted_relid == RelationGetRelid(rel))
		return;
	noted = GetCurrentStatementStartTimestamp();
	noted_relid = RelationGetRelid(rel);
	ereport(NOTICE,
			(errmsg("system time of rows of table %s was adjusted", dbp_relation_name(rel)),
			 errdetail("They were changed by transactions that began later than this one.")));
}

/*
 * next_start returns the time at which the version after the old row begins.
 */
static TimestampTz
next_start(VersioningState *state, Relation rel, HeapTuple old, const SystemPeriod *period,
		   bool say)
{
	TimestampTz now = dbp_versioning_now(rel, state->options.source);

	if (period->lower < now)
		return now;
	if (!is_ours(state, rel, old, period))
	{
		if (state->options.refuse_newer)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("a row of table %s is newer than this change",
							dbp_relation_name(rel)),
					 errdetail("It begins at %s, the change is made at %s.",
							   pstrdup(timestamptz_to_str(period->lower)),
							   timestamptz_to_str(now)),
					 errhint("Run the transaction again.")));
		if (say)
			note_newer(rel);
	}
	return period->lower + 1;
}

/* ---- before ---------------------------------------------------------------- */

/*
 * was_moved tells whether an inserted row is one that has just left its partition.
 */
static bool
was_moved(VersioningState *state, Relation rel, HeapTuple row, TimestampTz *lower)
{
	SystemPeriod period;

	if (!rel->rd_rel->relispartition || updated.rootid != state->head.rootid ||
		updated.lxid != dbp_my_lxid() || updated.command != GetCurrentCommandId(false))
		return false;
	stored_period(state, rel, row, &period);
	*lower = updated.lower;
	return !period.empty && period.open && period.lower == updated.lower;
}

static HeapTuple
before_insert(VersioningState *state, Relation rel, HeapTuple new)
{
	TimestampTz lower;

	if (!was_moved(state, rel, new, &lower))
		lower = dbp_versioning_now(rel, state->options.source);
	return with_period(state, rel, new, lower);
}

/*
 * is_changed tells whether an update changes one of these columns.
 */
static bool
is_changed(VersioningState *state, TriggerData *data, const int *columns, int n)
{
	TupleTableSlot *old = data->tg_trigslot;
	TupleTableSlot *new = data->tg_newslot;

	slot_getallattrs(old);
	slot_getallattrs(new);
	for (int i = 0; i < n; i++)
	{
		int			column = columns[i];

		if (dbp_codec_changed(state->codec, column,
							  old->tts_values[column], old->tts_isnull[column],
							  new->tts_values[column], new->tts_isnull[column]))
			return true;
	}
	return false;
}

/*
 * makes_version tells whether an update of a row of another transaction begins a
 * new period.  If a trigger may still change the row, every one does.
 */
static bool
makes_version(VersioningState *state, TriggerData *data)
{
	if (!state->last_before_update ||
		(state->options.keep_unchanged && state->options.exclude == NIL))
		return true;
	return is_changed(state, data, state->watched, state->nwatched) ||
		(state->options.keep_unchanged &&
		 !is_changed(state, data, state->excluded, state->nexcluded));
}

static HeapTuple
before_update(VersioningState *state, TriggerData *data)
{
	Relation	rel = data->tg_relation;
	SystemPeriod period;

	current_period(state, rel, data->tg_trigtuple, &period);
	updated.	rootid = state->head.rootid;
	updated.	lxid = dbp_my_lxid();
	updated.	command = GetCurrentCommandId(false);
	updated.	lower = period.lower;

	if (!state->options.all && is_ours(state, rel, data->tg_trigtuple, &period))
		;						/* goes on */
	else if (makes_version(state, data))
		updated.	lower = next_start(state, rel, data->tg_trigtuple, &period, true);

	else if (!state->options.all)
		keep_period(state, rel, &period);
	return with_period(state, rel, data->tg_newtuple, updated.lower);
}

static HeapTuple
before_row(TriggerData *data)
{
	Relation	rel = data->tg_relation;
	VersioningState *state = dbp_versioning_state(rel, data->tg_trigger);
	bool		update = TRIGGER_FIRED_BY_UPDATE(data->tg_event);
	HeapTuple	new = update ? data->tg_newtuple : data->tg_trigtuple;
	SystemPeriod period;

	dbp_versioning_require_present(rel);
	if (dbp_versioning_importing(rel))
	{
		current_period(state, rel, new, &period);
		return new;
	}
	(void) this_transaction(state, rel);
	return update ? before_update(state, data) : before_insert(state, rel, new);
}

/* ---- after ----------------------------------------------------------------- */

static void
after_update(VersioningState *state, TriggerData *data)
{
	Relation	rel = data->tg_relation;
	HeapTuple	old = data->tg_trigtuple;
	SystemPeriod was;
	SystemPeriod is;
	bool		same;

	current_period(state, rel, old, &was);
	stored_period(state, rel, data->tg_newtuple, &is);
	same = !is.empty && is.open && is.lower == was.lower;

	if (!state->last_before_update)
	{
		bool		ours = !state->options.all && is_ours(state, rel, old, &was);

		if (is.empty || !is.open || ours != same ||
			(!ours && state->options.source != TIME_CLOCK &&
			 is.lower != next_start(state, rel, old, &was, false)))
			refuse_period(rel, "was changed by a trigger");
	}
	if (!same)
		dbp_versioning_add(state, old, was.lower, is.lower);
}

/*
 * after_insert looks at a period that another trigger may have changed.
 */
static void
after_insert(VersioningState *state, TriggerData *data)
{
	Relation	rel = data->tg_relation;
	SystemPeriod period;

	if (state->last_before_insert)
		return;
	stored_period(state, rel, data->tg_trigtuple, &period);
	if (period.empty || !period.open ||
		(!rel->rd_rel->relispartition && state->options.source != TIME_CLOCK &&
		 period.lower != dbp_versioning_now(rel, state->options.source)))
		refuse_period(rel, "was changed by a trigger");
}

/*
 * archive_deleted archives a row that goes, unless it came in this transaction.
 */
static void
archive_deleted(VersioningState *state, Relation rel, HeapTuple old)
{
	SystemPeriod period;

	current_period(state, rel, old, &period);
	if (!state->options.all && is_ours(state, rel, old, &period))
		return;
	dbp_versioning_add(state, old, period.lower,
					   next_start(state, rel, old, &period, true));
}

static void
after_row(TriggerData *data)
{
	Relation	rel = data->tg_relation;
	VersioningState *state = dbp_versioning_state(rel, data->tg_trigger);

	dbp_versioning_require_present(rel);
	if (dbp_versioning_importing(rel))
		return;
	if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
		after_update(state, data);
	else if (TRIGGER_FIRED_BY_INSERT(data->tg_event))
		after_insert(state, data);
	else
		archive_deleted(state, rel, data->tg_trigtuple);
}

/* ---- truncation ------------------------------------------------------------ */

/*
 * archive_all archives all rows of one table, which is locked
 * exclusively, so the newest snapshot shows them.
 */
static void
archive_all(void *arg)
{
	TriggerData *data = arg;
	Relation	rel = data->tg_relation;
	VersioningState *state = dbp_versioning_state(rel, data->tg_trigger);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	MemoryContext row_cxt = AllocSetContextCreate(CurrentMemoryContext,
												  "dbpatterns version", ALLOCSET_DEFAULT_SIZES);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		MemoryContext oldcxt = MemoryContextSwitchTo(row_cxt);

		CHECK_FOR_INTERRUPTS();
		archive_deleted(state, rel, ExecFetchSlotHeapTuple(slot, false, NULL));
		MemoryContextSwitchTo(oldcxt);
		MemoryContextReset(row_cxt);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	MemoryContextDelete(row_cxt);
}

/*
 * before_truncate archives the rows, or refuses.  Every partition that goes has
 * a trigger of its own.
 */
static void
before_truncate(TriggerData *data)
{
	Relation	rel = data->tg_relation;
	VersioningOptions options;

	dbp_versioning_require_present(rel);
	dbp_versioning_parse(data->tg_trigger->tgnargs > 0 ? data->tg_trigger->tgargs[0] : NULL,
						 &options);
	if (dbp_versioning_importing(rel))
		return;
	if (!options.archive_truncated)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot truncate versioned table %s", dbp_relation_name(rel)),
				 errdetail("Its rows would go without leaving a version."),
				 errhint("Use DELETE, or call dbpatterns.versioning_enable with on_truncate => 'archive'.")));
	if (rel->rd_rel->relkind == RELKIND_RELATION)
		dbp_versioning_in_batches(archive_all, data);
}

/*
 * versioning_trigger() keeps the versions of the table it is attached to.
 *
 * As a row trigger BEFORE INSERT OR UPDATE it sets the period of the new row;
 * AFTER UPDATE OR DELETE (and INSERT, where a trigger of the user's fires after
 * the BEFORE one) it archives the old row; before TRUNCATE it refuses or archives.
 * The history is complete when the statement ends (see batch.c).  Its only
 * argument is a JSON object with the options of versioning_enable.
 *
 * Raises 39P01 when called otherwise, 25006 while dbpatterns.as_of is set, 55000
 * when library and SQL objects have different versions or on TRUNCATE, 22P02 or
 * 22023 for a bad argument, 42P01 when the history is gone, 42501 when it is
 * another role's, 42703 or 42804 when a column of it does not fit, 428C9 when a
 * row's period was set by somebody else, 40001 when a row is newer than the
 * change and the options forbid that.  Locks ROW EXCLUSIVE on the history, or the
 * partition of it that takes the row.  Runs as the caller, who needs no right on
 * the history.
 */
Datum
dbpatterns_versioning_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *data = dbp_trigger_data(fcinfo, "versioning_trigger");

	if (TRIGGER_FIRED_BY_TRUNCATE(data->tg_event) && TRIGGER_FIRED_BEFORE(data->tg_event))
	{
		before_truncate(data);
		return PointerGetDatum(NULL);
	}
	if (!TRIGGER_FIRED_FOR_ROW(data->tg_event) || TRIGGER_FIRED_INSTEAD(data->tg_event) ||
		(TRIGGER_FIRED_BEFORE(data->tg_event) && TRIGGER_FIRED_BY_DELETE(data->tg_event)))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\" of table %s is not one that dbpatterns.versioning_enable makes",
						data->tg_trigger->tgname, dbp_relation_name(data->tg_relation)),
				 errhint("Drop it, and call dbpatterns.versioning_enable.")));
	if (TRIGGER_FIRED_BEFORE(data->tg_event))
		return PointerGetDatum(before_row(data));
	after_row(data);
	return PointerGetDatum(NULL);
}

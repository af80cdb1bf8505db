/*-------------------------------------------------------------------------
 *
 * dropin.c
 *	  The trigger function of temporal_tables.
 *
 * It takes the arguments, and raises the errors, of versioning(period, history,
 * adjust) of temporal_tables 1.2 and of its sibling in PL/pgSQL.  What those are
 * known to do wrong is done right here; docs/reference/versioning-dropin.md lists
 * the differences.
 *
 * A row that an UPDATE moves to another partition fires BEFORE UPDATE and BEFORE
 * DELETE there and BEFORE INSERT here, for one change.  The row of a partition that was
 * updated last is remembered, so that the other two are known for what they are.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/dropin.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_trigger.h"
#include "compat/compat.h"
#include "core/names.h"
#include "core/trigger.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "versioning/dropin.h"
#include "versioning/versioning.h"

PG_FUNCTION_INFO_V1(dbpatterns_versioning_dropin);

/* A row that has left a partition, and has not yet arrived in another. */
static DropinMove leaving;

/* ---- rows ------------------------------------------------------------- */

static DropinRow
take_apart(const DropinFiring *firing, HeapTuple tuple)
{
	TupleDesc	desc = RelationGetDescr(firing->rel);
	DropinRow	row = {
		palloc(sizeof(Datum) * desc->natts), palloc(sizeof(bool) * desc->natts)
	};

	heap_deform_tuple(tuple, desc, row.values, row.isnull);
	return row;
}

/*
 * version_of returns the old row's version number.
 */
static Datum
version_of(const DropinFiring *firing)
{
	bool		isnull;
	Datum		value = heap_getattr(firing->old, firing->table->version_no,
									 RelationGetDescr(firing->rel), &isnull);

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("version column \"%s\" of relation \"%s\" must not be null",
						firing->table->version, RelationGetRelationName(firing->rel))));
	return value;
}

static Datum
next_version(const DropinFiring *firing)
{
	return DirectFunctionCall2(int4pl, version_of(firing), Int32GetDatum(1));
}

/*
 * with_period returns the new row with the given period and version number.
 */
static HeapTuple
with_period(const DropinFiring *firing, Datum period, Datum version, bool version_isnull)
{
	int			columns[2] = {firing->table->period_no, firing->table->version_no};
	Datum		values[2] = {period, version};
	bool		isnull[2] = {false, version_isnull};

	return heap_modify_tuple_by_cols(firing->new, RelationGetDescr(firing->rel),
									 firing->table->version != NULL ? 2 : 1,
									 columns, values, isnull);
}

/*
 * as_before returns the new row with the period and the version number of the
 * old one.  A period that a current row cannot have, made before there was this
 * trigger, is replaced.
 */
static HeapTuple
as_before(const DropinFiring *firing)
{
	TupleDesc	desc = RelationGetDescr(firing->rel);
	RangeBound	lower;
	bool		isnull;
	Datum		period;
	Datum		version = (Datum) 0;

	if (dbp_dropin_read_period(firing, firing->old, &lower, &isnull))
		period = heap_getattr(firing->old, firing->table->period_no, desc, &isnull);
	else
		period = dbp_dropin_open_period(firing, dbp_dropin_now(firing));
	if (firing->table->version != NULL)
		version = heap_getattr(firing->old, firing->table->version_no, desc, &isnull);
	return with_period(firing, period, version, isnull);
}

static bool
same_value(Datum a, Datum b, Form_pg_attribute att)
{
	/* A value that an UPDATE leaves alone keeps its place out of line. */
	if (att->attlen == -1 &&
		VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(a)) &&
		VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(b)) &&
		memcmp(DatumGetPointer(a), DatumGetPointer(b),
			   VARSIZE_EXTERNAL(DatumGetPointer(a))) == 0)
		return true;
	return datum_image_eq(a, b, att->attbyval, att->attlen);
}

/*
 * is_unchanged tells whether the columns that the history keeps are the same in
 * both rows, bit by bit.
 */
static bool
is_unchanged(const DropinFiring *firing, const DropinHistory *history)
{
	DropinRow	old = take_apart(firing, firing->old);
	DropinRow	new = take_apart(firing, firing->new);

	for (int i = 0; i < history->ncolumns; i++)
	{
		int			c = history->from[i] - 1;

		if (history->watched[i] &&
			(old.isnull[c] != new.isnull[c] ||
			 (!old.isnull[c] &&
			  !same_value(old.values[c], new.values[c],
						  TupleDescAttr(RelationGetDescr(firing->rel), c)))))
			return false;
	}
	return true;
}

/* ---- the history ------------------------------------------------------ */

static DropinHistory *
history_of(const DropinFiring *firing)
{
	return dbp_dropin_history(firing->rel, firing->data->tg_trigger, firing->table);
}

/*
 * end_version writes the version that the old row is, with the period that it had.
 */
static void
end_version(const DropinFiring *firing, DropinHistory *history, const RangeBound *lower,
			TimestampTz upto)
{
	DropinRow	row = take_apart(firing, firing->old);
	Datum		period = dbp_dropin_closed_period(firing, lower, upto);

	if (firing->table->include_current)
		dbp_dropin_close(history, firing->table, &row, period);
	else
		dbp_dropin_append(history, firing->table, &row, period);
}

/*
 * begin_version adds a new row to a history of all versions.  What the table
 * generates is not there yet before the row is.
 */
static void
begin_version(const DropinFiring *firing, DropinHistory *history, HeapTuple tuple, bool is_made)
{
	TupleDesc	desc = RelationGetDescr(firing->rel);
	DropinRow	row = take_apart(firing, tuple);

	for (int i = 0; !is_made && i < desc->natts; i++)
		row.isnull[i] |= (TupleDescAttr(desc, i)->attgenerated != '\0');
	dbp_dropin_append(history, firing->table, &row,
					  row.values[firing->table->period_no - 1]);
}

/* ---- moves between partitions ----------------------------------------- */

static bool
starts_at(const DropinFiring *firing, HeapTuple tuple, TimestampTz start)
{
	RangeBound	lower;
	bool		isnull;

	return dbp_dropin_read_period(firing, tuple, &lower, &isnull) && !lower.infinite &&
		DatumGetTimestampTz(lower.val) == start;
}

static void
remember_update(const DropinFiring *firing, TimestampTz start)
{
	DropinMove *move = &firing->table->last_update;

	if (!firing->rel->rd_rel->relispartition)
		return;
	move->xid = GetTopTransactionId();
	move->subid = GetCurrentSubTransactionId();
	move->file = firing->rel->rd_rel->relfilenode;
	move->tid = firing->old->t_self;
	move->start = start;
}

/* What is remembered of a rolled back subtransaction is void. */
static bool
is_current(const DropinMove *move)
{
	return TransactionIdIsValid(move->xid) &&
		move->xid == GetTopTransactionIdIfAny() &&
		move->subid == GetCurrentSubTransactionId();
}

/*
 * leaves_partition tells whether a DELETE is part of an UPDATE.
 */
static bool
leaves_partition(const DropinFiring *firing)
{
	DropinMove *move = &firing->table->last_update;

	if (!is_current(move) || move->file != firing->rel->rd_rel->relfilenode ||
		!ItemPointerEquals(&move->tid, &firing->old->t_self))
		return false;
	leaving = *move;
	return true;
}

/*
 * enters_partition tells whether an INSERT is.
 */
static bool
enters_partition(const DropinFiring *firing)
{
	if (!firing->rel->rd_rel->relispartition || !is_current(&leaving) ||
		!starts_at(firing, firing->new, leaving.start))
		return false;
	leaving.xid = InvalidTransactionId;
	return true;
}

/* ---- events ----------------------------------------------------------- */

static HeapTuple
before_insert(DropinFiring *firing)
{
	HeapTuple	tuple;

	if (enters_partition(firing))
		return firing->new;
	tuple = with_period(firing, dbp_dropin_open_period(firing, dbp_dropin_now(firing)),
						Int32GetDatum(1), false);
	if (firing->table->include_current && !(firing->table->later & TRIGGER_TYPE_INSERT))
		begin_version(firing, history_of(firing), tuple, false);
	return tuple;
}

static HeapTuple
keep_version(DropinFiring *firing)
{
	RangeBound	lower;
	bool		isnull;
	HeapTuple	tuple = as_before(firing);

	if (dbp_dropin_read_period(firing, tuple, &lower, &isnull) && !lower.infinite)
		remember_update(firing, DatumGetTimestampTz(lower.val));
	return tuple;
}

static HeapTuple
before_update(DropinFiring *firing)
{
	DropinTable *table = firing->table;
	DropinHistory *history = NULL;
	RangeBound	lower;
	TimestampTz upto;
	HeapTuple	tuple;

	if (firing->own && !table->include_current)
		return keep_version(firing);
	dbp_dropin_require_period(firing, firing->old, &lower);
	if (table->ignore_unchanged)
	{
		history = history_of(firing);
		if (is_unchanged(firing, history))
		{
			if (!firing->own)
				dbp_dropin_leave_alone(firing, &lower);
			return keep_version(firing);
		}
	}
	upto = dbp_dropin_end(firing, &lower, false);
	tuple = with_period(firing, dbp_dropin_open_period(firing, upto),
						table->version != NULL ? next_version(firing) : (Datum) 0, false);
	if (!(table->later & TRIGGER_TYPE_UPDATE))
	{
		if (history == NULL)
			history = history_of(firing);
		end_version(firing, history, &lower, upto);
		if (table->include_current)
			begin_version(firing, history, tuple, false);
	}
	remember_update(firing, upto);
	return tuple;
}

static HeapTuple
before_delete(DropinFiring *firing)
{
	RangeBound	lower;

	if (leaves_partition(firing) || (firing->table->later & TRIGGER_TYPE_DELETE) ||
		(firing->own && !firing->table->include_current))
		return firing->old;
	dbp_dropin_require_period(firing, firing->old, &lower);
	if (firing->table->version != NULL)
		(void) version_of(firing);
	end_version(firing, history_of(firing), &lower, dbp_dropin_end(firing, &lower, false));
	return firing->old;
}

static void
raise_tampered(const DropinFiring *firing)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
			 errmsg("another trigger changed a row of relation \"%s\" after its system period "
					"was set", RelationGetRelationName(firing->rel)),
			 errhint("Give the BEFORE trigger of function \"versioning\" a name that sorts after "
					 "those of other triggers.")));
}

static void
after_insert(DropinFiring *firing)
{
	if (firing->table->include_current)
		begin_version(firing, history_of(firing), firing->new, true);
}

static void
after_update(DropinFiring *firing)
{
	DropinTable *table = firing->table;
	DropinHistory *history;
	RangeBound	lower;
	RangeBound	next;
	TimestampTz upto;
	bool		isnull;

	if (firing->own && !table->include_current)
		return;
	dbp_dropin_require_period(firing, firing->old, &lower);
	if (!dbp_dropin_read_period(firing, firing->new, &next, &isnull))
		raise_tampered(firing);
	history = history_of(firing);

	/* The same period says that nothing has changed. */
	if (table->ignore_unchanged && range_cmp_bounds(table->range, &lower, &next) == 0)
	{
		if (!is_unchanged(firing, history) &&
			!TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(firing->old->t_data)))
			raise_tampered(firing);
		return;
	}
	upto = dbp_dropin_end(firing, &lower, true);
	if (next.infinite || DatumGetTimestampTz(next.val) != upto)
		raise_tampered(firing);
	end_version(firing, history, &lower, upto);
	if (table->include_current)
		begin_version(firing, history, firing->new, true);
}

static void
after_delete(DropinFiring *firing)
{
	RangeBound	lower;

	if (firing->own && !firing->table->include_current)
		return;
	dbp_dropin_require_period(firing, firing->old, &lower);
	end_version(firing, history_of(firing), &lower, dbp_dropin_end(firing, &lower, false));
}

/* ---- the function ----------------------------------------------------- */

static HeapTuple
before(DropinFiring *firing)
{
	if (TRIGGER_FIRED_BY_INSERT(firing->data->tg_event))
		return before_insert(firing);
	if (TRIGGER_FIRED_BY_UPDATE(firing->data->tg_event))
		return before_update(firing);
	return before_delete(firing);
}

static void
after(DropinFiring *firing)
{
	if (TRIGGER_FIRED_BY_INSERT(firing->data->tg_event))
		after_insert(firing);
	else if (TRIGGER_FIRED_BY_UPDATE(firing->data->tg_event))
		after_update(firing);
	else
		after_delete(firing);
}

/*
 * versioning() keeps the system period of a table's rows and writes their old
 * versions to a history, as trigger
 *
 *		BEFORE INSERT OR UPDATE OR DELETE ON ... FOR EACH ROW
 *
 * with 3 to 8 arguments: the period's column, the history's name, quoted as in SQL,
 * whether to adjust periods of rows that are newer than the transaction; and,
 * false if left out: whether to ignore updates that change nothing the history
 * keeps, whether the history holds the current versions, too, whether it does so
 * since later than the table has rows, whether to count versions; and in which
 * column.  A second trigger of it AFTER ..., with the same arguments, takes over
 * the writing.
 *
 * Raises 39P01 where it cannot be a trigger, 22023 and 22P02 for arguments,
 * 42703, 42804, 22004 and 22000 for the columns and values of the table, 42P01,
 * 3F000, 42809 and 42501 for the history, 27000 if another trigger changes what it
 * set, 55000 for a trigger without companion, or beside versioning_enable.  The first
 * change locks the history ROW EXCLUSIVE, until the transaction ends.  The history is
 * written with the rights of the table's owner, or of the caller if the owner has none.
 *
 * The contract is that of temporal_tables.
 */
Datum
dbpatterns_versioning_dropin(PG_FUNCTION_ARGS)
{
	TriggerData *data = dbp_trigger_data(fcinfo, "versioning");
	TriggerEvent event = data->tg_event;
	DropinFiring firing = {data, data->tg_relation};

	if (!TRIGGER_FIRED_FOR_ROW(event) || TRIGGER_FIRED_INSTEAD(event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"versioning\" must be fired BEFORE ROW")));

	firing.table = dbp_dropin_table(firing.rel, data->tg_trigger);
	if (TRIGGER_FIRED_BY_INSERT(event))
		firing.new = data->tg_trigtuple;
	else
	{
		firing.old = data->tg_trigtuple;
		firing.new = TRIGGER_FIRED_BY_UPDATE(event) ? data->tg_newtuple : NULL;
		firing.own = dbp_dropin_is_own(&firing);
	}

	/* Rows that are loaded keep their periods, and have a history already. */
	if (dbp_versioning_importing(firing.rel))
		return PointerGetDatum(firing.new != NULL ? firing.new : firing.old);
	if (TRIGGER_FIRED_BEFORE(event))
		return PointerGetDatum(before(&firing));
	after(&firing);
	return PointerGetDatum(NULL);
}

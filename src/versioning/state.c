/*-------------------------------------------------------------------------
 *
 * state.c
 *	  What the triggers know of a relation.
 *
 * Built once per relation for all of its triggers, and again after an ALTER of
 * the table, its root or its history.  Columns are matched by name, so the
 * order and the holes of either table do not matter.
 *
 * The history is only written to if it belongs to the owner of the table:
 * rows go there without a check of the caller's rights.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/state.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "compat/compat.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/target.h"
#include "core/trigger.h"
#include "core/version.h"
#include "nodes/primnodes.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/regproc.h"
#include "versioning/versioning.h"

static DbpRelStateCache *states = NULL;

/*
 * dbp_versioning_is_trigger tells whether a trigger is ours, whatever its name.
 */
bool
dbp_versioning_is_trigger(const Trigger *trigger)
{
	char	   *function = get_func_name(trigger->tgfoid);

	return function != NULL && strcmp(function, "versioning_trigger") == 0 &&
		get_func_namespace(trigger->tgfoid) == get_namespace_oid("dbpatterns", true);
}

/*
 * dbp_versioning_trigger returns the trigger that keeps the versions of a table, or
 * NULL.
 */
Trigger *
dbp_versioning_trigger(Relation rel)
{
	Trigger    *trigger = dbp_find_trigger(rel, VERSIONING_AFTER_TRIGGER);

	if (trigger == NULL || !dbp_versioning_is_trigger(trigger) || trigger->tgnargs != 1)
		return NULL;
	return trigger;
}

/*
 * dbp_versioning_options reads the options of a table; false if it is not versioned.
 */
bool
dbp_versioning_options(Relation rel, VersioningOptions *options)
{
	Trigger    *trigger = dbp_versioning_trigger(rel);

	if (trigger != NULL)
		dbp_versioning_parse(trigger->tgargs[0], options);
	return trigger != NULL;
}

/*
 * dbp_versioning_history returns the OID of a history, InvalidOid if it is not there.
 */
Oid
dbp_versioning_history(const VersioningOptions *options)
{
	List	   *names = stringToQualifiedNameList(options->history, NULL);

	return RangeVarGetRelid(makeRangeVarFromNameList(names), NoLock, true);
}

/*
 * dbp_versioning_fires_last tells whether no BEFORE ROW trigger fires after ours.
 * Triggers of one kind are sorted by name.
 */
bool
dbp_versioning_fires_last(Relation rel, int16 event)
{
	int16		kind = TRIGGER_TYPE_ROW | TRIGGER_TYPE_BEFORE | event;
	bool		last = true;

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &rel->trigdesc->triggers[i];

		if ((trigger->tgtype & kind) == kind && !dbp_versioning_is_trigger(trigger) &&
			strcmp(trigger->tgname, VERSIONING_BEFORE_TRIGGER) > 0)
			last = false;
	}
	return last;
}

static void
require_history(VersioningState *state, Relation rel)
{
	if (!OidIsValid(state->historyid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("history %s of table %s does not exist",
						state->options.history, dbp_relation_name(rel)),
				 errhint("Restore it, or call dbpatterns.versioning_disable for the table.")));
	if (dbp_relation_owner(state->historyid) != rel->rd_rel->relowner)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("history %s belongs to another role than table %s",
						state->options.history, dbp_relation_name(rel)),
				 errhint("Give both to the same owner.")));
}

/*
 * dbp_versioning_by_time tells whether a history is partitioned by the end of the period:
 * only such partitions can be written to directly, and dropped when they are old.
 */
bool
dbp_versioning_by_time(Relation history, const char *period)
{
	PartitionKey key;
	FuncExpr   *expr;

	if (history->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		return false;
	key = RelationGetPartitionKey(history);
	if (key->strategy != PARTITION_STRATEGY_RANGE || key->partnatts != 1 ||
		key->partattrs[0] != 0 || !IsA(linitial(key->partexprs), FuncExpr))
		return false;
	expr = linitial(key->partexprs);
	return expr->funcid == F_UPPER_ANYRANGE && IsA(linitial(expr->args), Var) &&
		castNode(Var, linitial(expr->args))->varattno ==
		get_attnum(RelationGetRelid(history), period);
}

/*
 * map_columns finds each column of the history in the table.
 */
static void
map_columns(VersioningState *state, Relation rel, Relation history)
{
	TupleDesc	desc = RelationGetDescr(history);

	state->nhistory = desc->natts;
	state->map = palloc0(sizeof(AttrNumber) * desc->natts);
	state->same_layout = state->desc->natts <= desc->natts;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		AttrNumber	attno = InvalidAttrNumber;

		if (!att->attisdropped)
			attno = get_attnum(RelationGetRelid(rel), NameStr(att->attname));
		if (attno > 0 && getBaseType(TupleDescAttr(state->desc, attno - 1)->atttypid) !=
			getBaseType(att->atttypid))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of history %s has another type than in table %s",
							NameStr(att->attname), state->options.history,
							dbp_relation_name(rel)),
					 errdetail("It is of type %s there, and of type %s here.",
							   format_type_be(att->atttypid),
							   format_type_be(TupleDescAttr(state->desc, attno - 1)->atttypid)),
					 errhint("Call dbpatterns.versioning_enable again, or alter the column of the history.")));
		state->map[i] = attno > 0 ? attno : InvalidAttrNumber;
		if (i < state->desc->natts && state->map[i] != i + 1)
			state->same_layout = false;
		if (attno == state->period)
			state->history_period = att->attnum;
	}
	if (state->history_period == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("history %s has no column \"%s\"", state->options.history,
						state->options.period),
				 errhint("Call dbpatterns.versioning_enable again.")));
}

/*
 * watch_columns finds the columns whose change makes a version.  Generated columns
 * change with others; before an update they are not known yet.
 */
static void
watch_columns(VersioningState *state)
{
	state->watched = palloc(sizeof(int) * state->desc->natts);
	state->excluded = palloc(sizeof(int) * state->desc->natts);
	for (int i = 0; i < state->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(state->desc, i);

		if (att->attisdropped || att->attgenerated != '\0' || att->attnum == state->period)
			continue;
		if (dbp_list_has_name(state->options.exclude, NameStr(att->attname)))
			state->excluded[state->nexcluded++] = i;
		else
			state->watched[state->nwatched++] = i;
	}
}

static void
build_state(DbpRelState *head, Relation rel, void *arg)
{
	VersioningState *state = (VersioningState *) head;
	Trigger    *trigger = arg;
	Relation	history;

	dbp_check_version();
	dbp_versioning_parse(trigger->tgnargs > 0 ? trigger->tgargs[0] : NULL, &state->options);
	head->rootid = dbp_partition_root(RelationGetRelid(rel));
	state->historyid = dbp_versioning_history(&state->options);
	head->otherid = state->historyid;
	require_history(state, rel);

	state->desc = CreateTupleDescCopyConstr(RelationGetDescr(rel));
	state->codec = dbp_codec_create(state->desc, NULL, NULL, head->cxt);
	state->values = palloc(sizeof(Datum) * state->desc->natts);
	state->isnull = palloc(sizeof(bool) * state->desc->natts);
	state->period = dbp_column_number(rel, state->options.period);
	if (TupleDescAttr(state->desc, state->period - 1)->atttypid != TSTZRANGEOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table %s is not of type tstzrange",
						state->options.period, dbp_relation_name(rel)),
				 errhint("A system time period is a tstzrange.")));
	watch_columns(state);
	state->last_before_insert = dbp_versioning_fires_last(rel, TRIGGER_TYPE_INSERT);
	state->last_before_update = dbp_versioning_fires_last(rel, TRIGGER_TYPE_UPDATE);

	history = table_open(state->historyid, AccessShareLock);
	map_columns(state, rel, history);
	state->by_time = dbp_versioning_by_time(history, state->options.period);
	state->by_insert = !state->by_time &&
		history->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	table_close(history, AccessShareLock);
}

/*
 * dbp_versioning_state returns the state of rel, whichever of its triggers asks.
 */
VersioningState *
dbp_versioning_state(Relation rel, Trigger *trigger)
{
	return (VersioningState *) dbp_relstate_get(states, rel, InvalidOid, trigger);
}

/*
 * dbp_versioning_state_init prepares this backend.
 */
void
dbp_versioning_state_init(void)
{
	states = dbp_relstate_cache("dbpatterns versioning", sizeof(VersioningState), build_state);
}

/*-------------------------------------------------------------------------
 *
 * dropin_table.c
 *	  What a versioning trigger's arguments say of its table.
 *
 * The arguments are those of temporal_tables, (period, history, adjust), and of
 * its sibling in PL/pgSQL, which has five more: ignore_unchanged_values,
 * include_current_version_in_history, enable_migration_mode,
 * increment_version, version_column_name.  The history is not looked at here: an
 * INSERT must succeed without it.
 *
 * The function can be attached twice, BEFORE and AFTER.  Then the former keeps
 * the period and the latter writes the history, which makes it immune to
 * triggers between them.  Which of the two writes must be known to both, so
 * they are found by their function and arguments.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/dropin_table.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "compat/compat.h"
#include "core/names.h"
#include "core/version.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "versioning/dropin.h"
#include "versioning/versioning.h"

#define ROW_EVENTS \
	(TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE)

static DbpRelStateCache *tables = NULL;

static Form_pg_attribute
find_column(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && namestrcmp(&att->attname, name) == 0)
			return att;
	}
	return NULL;
}

static void
resolve_period(DropinTable *table, Relation rel)
{
	Form_pg_attribute att = find_column(RelationGetDescr(rel), table->period);

	if (att == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" does not exist",
						table->period, RelationGetRelationName(rel))));
	if (att->attndims != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("system period column \"%s\" of relation \"%s\" is not a range "
						"but an array", table->period, RelationGetRelationName(rel))));
	if (get_typtype(att->atttypid) != TYPTYPE_RANGE)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("system period column \"%s\" of relation \"%s\" is not a range "
						"but type %s", table->period, RelationGetRelationName(rel),
						format_type_be(att->atttypid))));

	/* The server keeps such entries for good. */
	table->range = lookup_type_cache(att->atttypid, TYPECACHE_RANGE_INFO);
	if (table->range->rngelemtype->type_id != TIMESTAMPTZOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("system period column \"%s\" of relation \"%s\" is not a range of "
						"timestamp with timezone but of type %s", table->period,
						RelationGetRelationName(rel),
						format_type_be(table->range->rngelemtype->type_id))));
	table->period_no = att->attnum;
}

static void
resolve_version(DropinTable *table, Relation rel)
{
	Form_pg_attribute att = find_column(RelationGetDescr(rel), table->version);

	if (att == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("relation \"%s\" does not contain version column \"%s\"",
						RelationGetRelationName(rel), table->version)));
	if (att->atttypid != INT4OID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("version column \"%s\" of relation \"%s\" is not an integer",
						table->version, RelationGetRelationName(rel))));
	table->version_no = att->attnum;
}

/* An argument that is not there is false. */
static bool
bool_argument(const Trigger *trigger, int i)
{
	bool		value = false;

	if (i < trigger->tgnargs && !parse_bool(trigger->tgargs[i], &value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type boolean: \"%s\"", trigger->tgargs[i]),
				 errhint("Argument %d of function \"versioning\" is true or false.", i + 1)));
	return value;
}

static bool
same_call(const Trigger *a, const Trigger *b)
{
	if (a->tgfoid != b->tgfoid || a->tgnargs != b->tgnargs)
		return false;
	for (int i = 0; i < a->tgnargs; i++)
	{
		if (strcmp(a->tgargs[i], b->tgargs[i]) != 0)
			return false;
	}
	return true;
}

/*
 * find_partner returns the trigger that shares a table's versioning with the
 * given one, fired at the other time; NULL if there is none.
 */
static Trigger *
find_partner(Relation rel, const Trigger *trigger)
{
	TriggerDesc *desc = rel->trigdesc;

	for (int i = 0; desc != NULL && i < desc->numtriggers; i++)
	{
		Trigger    *other = &desc->triggers[i];

		if (!same_call(trigger, other) || other->tgenabled == TRIGGER_DISABLED ||
			!TRIGGER_FOR_ROW(other->tgtype) ||
			TRIGGER_FOR_BEFORE(other->tgtype) == TRIGGER_FOR_BEFORE(trigger->tgtype))
			continue;
		if (other->tgenabled != trigger->tgenabled)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("triggers \"%s\" and \"%s\" of table %s are not enabled alike",
							trigger->tgname, other->tgname, dbp_relation_name(rel)),
					 errhint("One keeps the period, the other writes the history.")));
		return other;
	}
	return NULL;
}

static void
find_later_events(DropinTable *table, Relation rel, const Trigger *trigger)
{
	Trigger    *partner = find_partner(rel, trigger);
	const Trigger *after = TRIGGER_FOR_BEFORE(trigger->tgtype) ? partner : trigger;

	if (after == trigger && partner == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("trigger \"%s\" of table %s has no companion fired BEFORE ROW",
						trigger->tgname, dbp_relation_name(rel)),
				 errhint("Create a BEFORE ROW trigger with the same function and arguments; "
						 "it keeps the period.")));
	if (after == NULL)
		return;
	if (after->tgqual != NULL || after->tgnattr > 0 || after->tgdeferrable)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("trigger \"%s\" of table %s must be fired for every row, at once",
						after->tgname, dbp_relation_name(rel)),
				 errhint("Create it without WHEN, without a list of columns, and not "
						 "deferrable.")));
	table->later = after->tgtype & ROW_EVENTS;
}

/*
 * require_alone raises where versioning_enable keeps the versions of the table: each
 * would be written twice.
 */
static void
require_alone(Relation rel, const Trigger *trigger)
{
	if (dbp_versioning_trigger(rel) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s is versioned by dbpatterns.versioning_enable",
						dbp_relation_name(rel)),
				 errhint("Drop the trigger \"%s\", or call dbpatterns.versioning_disable.",
						 trigger->tgname)));
}

static void
build_table(DbpRelState *head, Relation rel, void *arg)
{
	DropinTable *table = (DropinTable *) head;
	Trigger    *trigger = arg;

	dbp_check_version();
	require_alone(rel, trigger);
	if (trigger->tgnargs < 3 || trigger->tgnargs > 8)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("wrong number of parameters for function \"versioning\""),
				 errdetail("expected 3 to 8 parameters but got %d", trigger->tgnargs)));

	table->period = pstrdup(trigger->tgargs[0]);
	table->history = pstrdup(trigger->tgargs[1]);
	table->adjust = pstrdup(trigger->tgargs[2]);
	table->ignore_unchanged = bool_argument(trigger, 3);
	table->include_current = bool_argument(trigger, 4);
	/* What argument 6 asks for is always done; it is read to be checked. */
	(void) bool_argument(trigger, 5);
	if (bool_argument(trigger, 6))
		table->version = pstrdup(trigger->tgnargs > 7 ? trigger->tgargs[7] : "version");
	table->owner = rel->rd_rel->relowner;

	resolve_period(table, rel);
	if (table->version != NULL)
		resolve_version(table, rel);
	find_later_events(table, rel, trigger);
}

/*
 * dbp_dropin_table returns what trigger says of rel.
 */
DropinTable *
dbp_dropin_table(Relation rel, Trigger *trigger)
{
	return (DropinTable *) dbp_relstate_get(tables, rel, trigger->tgoid, trigger);
}

/*
 * dbp_dropin_table_init prepares this backend.
 */
void
dbp_dropin_table_init(void)
{
	tables = dbp_relstate_cache("dbpatterns versioning function", sizeof(DropinTable),
								build_table);
}

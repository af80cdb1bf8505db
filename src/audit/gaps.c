/*-------------------------------------------------------------------------
 *
 * gaps.c
 *	  Can a past state be told from the log?
 *
 * A state of the past is the present one with everything logged since undone.
 * That is right only if everything was logged since: the table was audited
 * all the time and for all operations, its key is the same, and no entry was
 * purged.  The markers in the log tell.  They tell as well which columns were
 * excluded or redacted at some time since; those cannot be shown.
 *
 * What leaves no marker cannot be seen: changes made by a session whose
 * session_replication_role keeps triggers from firing.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/gaps.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "audit/audit.h"
#include "catalog/pg_trigger.h"
#include "core/names.h"
#include "core/trigger.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"

/* What the markers of a table tell, read in order. */
typedef struct Gaps
{
	AuditTrail *trail;
	Relation	root;
	TimestampTz at;
	MemoryContext cxt;
	TimestampTz begin;			/* of the trail */
	bool	   *hidden;			/* by lasting number: not logged at some time */
	bool		off;			/* not everything is logged at this point */
	List	   *disabled;		/* details of triggers disabled at this point */
} Gaps;

static void
refuse(Gaps *gaps, TimestampTz when)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("changes of table %s after %s are not all in the audit log",
					dbp_relation_name(gaps->root), timestamptz_to_str(gaps->at)),
			 errdetail("Auditing was off, or left out some operations, from %s on.",
					   timestamptz_to_str(when)),
			 errhint("See what was logged with dbpatterns.audit_history or dbpatterns.audit_changes.")));
}

/*
 * text_at returns the string at a path of an object, or NULL.
 */
static char *
text_at(Jsonb *object, const char *first, const char *second)
{
	JsonbValue	value;

	if (!dbp_audit_image_value(object, first, &value))
		return NULL;
	if (second != NULL &&
		(value.type != jbvBinary || !JsonContainerIsObject(value.val.binary.data) ||
		 getKeyJsonValueFromContainer(value.val.binary.data, second, strlen(second),
									  &value) == NULL))
		return NULL;
	return value.type == jbvString ? pnstrdup(value.val.string.val, value.val.string.len) : NULL;
}

/*
 * hide_listed marks the columns that a list in a marker's detail names.
 */
static void
hide_listed(Gaps *gaps, AuditShape *shape, Jsonb *marker, const char *option)
{
	JsonbValue	detail;
	JsonbValue	list;
	JsonbIterator *it;
	JsonbIteratorToken token;

	if (!dbp_audit_image_value(marker, "detail", &detail) || detail.type != jbvBinary ||
		getKeyJsonValueFromContainer(detail.val.binary.data, option, strlen(option),
									 &list) == NULL || list.type != jbvBinary)
		return;
	it = JsonbIteratorInit(list.val.binary.data);
	while ((token = JsonbIteratorNext(&it, &list, true)) != WJB_DONE)
	{
		for (int i = 0; i < shape->ncolumns && token == WJB_ELEM; i++)
		{
			if (strlen(shape->columns[i]) == list.val.string.len &&
				memcmp(shape->columns[i], list.val.string.val, list.val.string.len) == 0)
				gaps->hidden[shape->numbers[i]] = true;
		}
	}
}

/*
 * settings_begin follows audit_enable: new settings from here on.
 */
static void
settings_begin(Gaps *gaps, AuditRecord *record)
{
	char	   *operations = text_at(record->new, "detail", "operations");

	if (record->at <= gaps->at)
		memset(gaps->hidden, 0, sizeof(bool) * gaps->trail->ncolumns);
	hide_listed(gaps, record->shape, record->new, "exclude");
	hide_listed(gaps, record->shape, record->new, "redact");
	gaps->disabled = NIL;
	gaps->off = operations != NULL &&
		(strchr(operations, AUDIT_INSERT) == NULL || strchr(operations, AUDIT_UPDATE) == NULL ||
		 strchr(operations, AUDIT_DELETE) == NULL || strchr(operations, AUDIT_TRUNCATE) == NULL);
}

/*
 * trigger_event follows a trigger that is disabled or enabled again.
 */
static void
trigger_event(Gaps *gaps, AuditRecord *record, bool disabled)
{
	char	   *partition = text_at(record->new, "detail", "partition");
	char	   *trigger = text_at(record->new, "detail", "trigger");
	char	   *name;
	MemoryContext oldcxt = MemoryContextSwitchTo(gaps->cxt);
	List	   *others = NIL;
	ListCell   *lc;

	name = pstrdup(partition != NULL ? partition : trigger != NULL ? trigger : "");
	foreach(lc, gaps->disabled)
	{
		if (strcmp(lfirst(lc), name) != 0)
			others = lappend(others, lfirst(lc));
	}
	gaps->disabled = disabled ? lappend(others, name) : others;
	MemoryContextSwitchTo(oldcxt);
}

static bool
in_gap(Gaps *gaps)
{
	return gaps->off || gaps->disabled != NIL;
}

static bool
receive_marker(AuditRecord *record, void *arg)
{
	Gaps	   *gaps = arg;
	char	   *event;

	if (record->op != AUDIT_MARKER || record->new == NULL)
		return true;
	event = text_at(record->new, "event", NULL);
	if (event == NULL)
		return true;

	if (strcmp(event, "purged") == 0)
	{
		char	   *before = text_at(record->new, "detail", "before");

		if (before != NULL &&
			DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(before),
													ObjectIdGetDatum(InvalidOid),
													Int32GetDatum(-1))) > gaps->at)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the audit log after %s has been purged", timestamptz_to_str(gaps->at)),
					 errdetail("Entries before %s are gone.", before),
					 errhint("Ask for a later time.")));
		return true;
	}
	if (record->shape == NULL)
		return true;

	if (record->at > gaps->at && in_gap(gaps))
		refuse(gaps, gaps->at);
	gaps->begin = Min(gaps->begin, record->at);
	if (strcmp(event, "enabled") == 0)
		settings_begin(gaps, record);
	else if (strcmp(event, "disabled") == 0 || strcmp(event, "trigger dropped") == 0)
		gaps->off = true;
	else if (strcmp(event, "trigger disabled") == 0 || strcmp(event, "trigger enabled") == 0)
		trigger_event(gaps, record, strcmp(event, "trigger disabled") == 0);
	else if ((strcmp(event, "partition detached") == 0 ||
			  strcmp(event, "partition dropped") == 0) && record->at > gaps->at)
		refuse(gaps, record->at);	/* its rows went unlogged */
	if (record->at > gaps->at && in_gap(gaps))
		refuse(gaps, record->at);
	return true;
}

static void
hide_names(Gaps *gaps, List *names)
{
	ListCell   *lc;

	foreach(lc, names)
	{
		for (int n = 0; n < gaps->trail->ncolumns; n++)
		{
			if (gaps->trail->columns[n].name != NULL &&
				strcmp(gaps->trail->columns[n].name, lfirst(lc)) == 0)
				gaps->hidden[n] = true;
		}
	}
}

static void
check_trigger(Gaps *gaps)
{
	const int16 events = TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE;
	Trigger    *trigger = dbp_audit_own_trigger(gaps->root, TRIGGER_TYPE_ROW);
	Trigger    *truncate = dbp_audit_own_trigger(gaps->root, TRIGGER_TYPE_TRUNCATE);
	AuditOptions options;

	if (trigger == NULL || !dbp_audit_fires(trigger) ||
		(trigger->tgtype & events) != events ||
		truncate == NULL || !dbp_audit_fires(truncate))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s is not audited, or not for all operations",
						dbp_relation_name(gaps->root)),
				 errhint("Past states can be told while INSERT, UPDATE, DELETE and TRUNCATE are logged; see dbpatterns.audit_enable.")));
	dbp_audit_parse_options(trigger->tgnargs > 0 ? trigger->tgargs[0] : NULL, &options);
	hide_names(gaps, options.exclude);
	hide_names(gaps, options.redact);
}

static AuditShape *
shape_at(AuditTrail *trail, TimestampTz at)
{
	AuditShape *shape = &trail->shapes[0];

	for (int s = 1; s < trail->nshapes && trail->shapes[s].since <= at; s++)
		shape = &trail->shapes[s];
	return shape;
}

/*
 * check_key raises unless rows had today's key all the time since at.
 */
static void
check_key(AuditTrail *trail, Relation root, TimestampTz at)
{
	AuditShape *last = &trail->shapes[trail->nshapes - 1];
	AuditKeyDef *def;

	if (last->keydef < 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the rows of table %s have no key in the audit log",
						dbp_relation_name(root)),
				 errhint("Add a primary key, or name columns in argument \"key\" of dbpatterns.audit_enable.")));
	def = &trail->keydefs[last->keydef];
	for (AuditShape *shape = shape_at(trail, at); shape <= last; shape++)
	{
		bool		same = (shape->nkeys == def->n);

		for (int k = 0; k < def->n && same; k++)
			same = shape->numbers[shape->keys[k]] == def->numbers[k];
		if (!same)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the key of table %s has changed since %s",
							dbp_relation_name(root), timestamptz_to_str(at)),
					 errhint("Ask for a later time; dbpatterns.audit_history takes old and new keys.")));
	}
}

/*
 * dbp_audit_look_back raises unless the state of a table at some time can be told
 * from the log, and returns which columns it can show then, by their lasting
 * numbers: those the table has today, had then, and logged all the time since.
 */
bool *
dbp_audit_look_back(AuditTrail *trail, Relation root, TimestampTz at)
{
	Gaps		gaps = {trail, root, at, CurrentMemoryContext};
	AuditShape *then = shape_at(trail, at);
	bool	   *shown = palloc0(sizeof(bool) * Max(trail->ncolumns, 1));

	gaps.hidden = palloc0(sizeof(bool) * Max(trail->ncolumns, 1));
	gaps.begin = trail->shapes[0].since;
	check_trigger(&gaps);
	dbp_audit_scan_row(trail, NULL, DT_NOBEGIN, DT_NOEND, false, receive_marker, &gaps);
	if (in_gap(&gaps))
		refuse(&gaps, at);
	if (at < gaps.begin)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s was not audited yet at %s", dbp_relation_name(root),
						timestamptz_to_str(at)),
				 errdetail("Its audit trail begins at %s.", timestamptz_to_str(gaps.begin)),
				 errhint("Ask for a later time.")));
	check_key(trail, root, at);

	for (int i = 0; i < then->ncolumns; i++)
	{
		int			number = then->numbers[i];

		shown[number] = trail->columns[number].attno != 0 && !gaps.hidden[number];
	}
	return shown;
}

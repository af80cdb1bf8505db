/*-------------------------------------------------------------------------
 *
 * gaps.c
 *	  Can a past state be told from the log?
 *
 * A state of the past is the present one with everything logged since undone.
 * That is right only if everything was logged since: the table was audited
 * all the time and for all operations, its key is the same, and no entry was
 * purged.  What is logged now the triggers tell; where it changed since, there
 * is a marker (see coverage.c).  Triggers and markers tell as well which
 * columns were excluded or redacted at some time since, or were rewritten by
 * an ALTER; those cannot be shown.
 *
 * A marker counts by its own time, not by that of its transaction: changes
 * that were not logged lie before it, because it is written under a lock that
 * keeps writers out, and so no transaction that began later made them.
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

#include "access/table.h"
#include "audit/audit.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "compat/compat.h"
#include "core/names.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"

/* A look back to a time. */
typedef struct Gaps
{
	AuditTrail *trail;
	Relation	root;
	TimestampTz at;
	bool	   *hidden;			/* by lasting number: not known for some time */
} Gaps;

/*
 * refuse raises; what says why, with a place for the time of the marker.
 */
static void
refuse(Gaps *gaps, AuditRecord *record, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("changes of table %s after %s are not all in the audit log",
					dbp_relation_name(gaps->root), timestamptz_to_str(gaps->at)),
			 errdetail_internal(what, timestamptz_to_str(record->statement_at)),
			 errhint("See what was logged with dbpatterns.audit_history or dbpatterns.audit_changes.")));
}

/*
 * member looks up a member of an object that is a member of an image.
 */
static bool
member(Jsonb *image, const char *object, const char *name, JsonbValue *value)
{
	JsonbValue	outer;

	return dbp_audit_image_value(image, object, &outer) &&
		outer.type == jbvBinary && JsonContainerIsObject(outer.val.binary.data) &&
		getKeyJsonValueFromContainer(outer.val.binary.data, name, strlen(name), value) != NULL;
}

static char *
string_of(const JsonbValue *value)
{
	return value->type == jbvString ? pnstrdup(value->val.string.val, value->val.string.len) : "";
}

static void
hide_name(Gaps *gaps, AuditShape *shape, const char *name)
{
	for (int i = 0; shape != NULL && i < shape->ncolumns; i++)
	{
		if (strcmp(shape->columns[i], name) == 0)
		{
			gaps->hidden[shape->numbers[i]] = true;
			return;
		}
	}
	for (int n = 0; n < gaps->trail->ncolumns; n++)
	{
		if (gaps->trail->columns[n].name != NULL &&
			strcmp(gaps->trail->columns[n].name, name) == 0)
			gaps->hidden[n] = true;
	}
}

/*
 * hide_listed hides the columns that a list in a marker names.
 */
static void
hide_listed(Gaps *gaps, AuditRecord *record, const char *object, const char *name)
{
	JsonbValue	list;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	column;

	if (!member(record->new, object, name, &list) || list.type != jbvBinary)
		return;
	it = JsonbIteratorInit(list.val.binary.data);
	while ((token = JsonbIteratorNext(&it, &column, true)) != WJB_DONE)
	{
		if (token == WJB_ELEM)
			hide_name(gaps, record->shape, string_of(&column));
	}
}

/*
 * logs_all tells whether every change was logged, once, on one side of a
 * marker: from then on (detail) or until then (before).
 */
static bool
logs_all(AuditRecord *record, const char *side)
{
	JsonbValue	operations;
	JsonbValue	unused;

	return member(record->new, side, "operations", &operations) &&
		strcmp(string_of(&operations), AUDIT_ALL_OPERATIONS) == 0 &&
		!member(record->new, side, "twice", &unused);
}

/*
 * coverage_changed looks at a marker of what is logged from then on.
 */
static void
coverage_changed(Gaps *gaps, AuditRecord *record)
{
	static const char *const sides[] = {"before", "detail"};
	JsonbValue	unused;

	if (!logs_all(record, "detail"))
		refuse(gaps, record, "Auditing was off, or left out some operations, from %s on.");
	if (!logs_all(record, "before") || member(record->new, "detail", "partition", &unused))
		refuse(gaps, record, "Auditing was off, or left out some operations, until %s.");
	for (int i = 0; i < lengthof(sides); i++)
	{
		hide_listed(gaps, record, sides[i], "exclude");
		hide_listed(gaps, record, sides[i], "redact");
	}
}

static void
check_purge(Gaps *gaps, AuditRecord *record)
{
	JsonbValue	value;
	char	   *before;

	if (!member(record->new, "detail", "before", &value))
		return;
	before = string_of(&value);
	if (DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(before),
												ObjectIdGetDatum(InvalidOid),
												Int32GetDatum(-1))) > gaps->at)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the audit log after %s has been purged", timestamptz_to_str(gaps->at)),
				 errdetail("Entries before %s are gone.", before),
				 errhint("Ask for a later time.")));
}

static bool
receive_marker(AuditRecord *record, void *arg)
{
	Gaps	   *gaps = arg;
	JsonbValue	value;
	char	   *event;

	if (record->op != AUDIT_MARKER || !dbp_audit_image_value(record->new, "event", &value))
		return true;
	event = string_of(&value);
	if (strcmp(event, "purged") == 0)
		check_purge(gaps, record);
	if (record->shape == NULL || record->statement_at <= gaps->at)
		return true;

	if (strcmp(event, "enabled") == 0 || strcmp(event, "disabled") == 0 ||
		strcmp(event, "triggers changed") == 0)
		coverage_changed(gaps, record);
	else if (strcmp(event, "partition attached") == 0)
		refuse(gaps, record, "Rows came with a partition at %s.");
	else if (strcmp(event, "partition detached") == 0 || strcmp(event, "partition dropped") == 0)
		refuse(gaps, record, "Rows left with a partition at %s.");
	else if (strcmp(event, "rewritten") == 0)
		hide_listed(gaps, record, "detail", "columns");
	return true;
}

static void
not_audited(Relation rel)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table %s is not audited, or not for all operations",
					dbp_relation_name(rel)),
			 errhint("Past states can be told while INSERT, UPDATE, DELETE and TRUNCATE are logged, each by one trigger; see dbpatterns.audit_enable.")));
}

/*
 * check_present raises unless everything is logged now, and hides what is not.
 */
static void
check_present(Gaps *gaps)
{
	AuditCoverage coverage;
	ListCell   *lc;

	dbp_audit_coverage(gaps->root, &coverage);
	if (!dbp_audit_logs_all(&coverage))
		not_audited(gaps->root);
	foreach(lc, coverage.exclude)
		hide_name(gaps, NULL, lfirst(lc));
	foreach(lc, coverage.redact)
		hide_name(gaps, NULL, lfirst(lc));

	if (gaps->root->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		return;
	foreach(lc, find_all_inheritors(RelationGetRelid(gaps->root), AccessShareLock, NULL))
	{
		Relation	part = table_open(lfirst_oid(lc), NoLock);

		dbp_audit_coverage(part, &coverage);
		if (!dbp_audit_logs_all(&coverage))
			not_audited(part);
		table_close(part, NoLock);
	}
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
 * other_type tells whether two names mean different types.  One that means
 * none any more has been renamed.
 */
static bool
other_type(const char *a, const char *b)
{
	Oid			type;
	int32		typmod;

	return strcmp(a, b) != 0 && dbp_parse_type(a, &type, &typmod) &&
		dbp_parse_type(b, &type, &typmod);
}

/*
 * hide_retyped hides the columns whose type then is not today's.  There are
 * markers for that, too, but not where event triggers did not fire.
 */
static void
hide_retyped(Gaps *gaps, AuditShape *then)
{
	AuditTrail *trail = gaps->trail;
	char	  **types = palloc0(sizeof(char *) * trail->ncolumns);

	for (int i = 0; i < then->ncolumns; i++)
		types[then->numbers[i]] = then->types[i];
	for (AuditShape *shape = then; shape < trail->shapes + trail->nshapes; shape++)
	{
		for (int i = 0; i < shape->ncolumns; i++)
		{
			char	   *type = types[shape->numbers[i]];

			if (type != NULL && other_type(type, shape->types[i]))
				gaps->hidden[shape->numbers[i]] = true;
		}
	}
	for (int n = 0; n < trail->ncolumns; n++)
	{
		Form_pg_attribute att;

		if (types[n] == NULL || trail->columns[n].attno == 0)
			continue;
		att = TupleDescAttr(RelationGetDescr(gaps->root), trail->columns[n].attno - 1);
		if (other_type(types[n], TextDatumGetCString(dbp_audit_type_text(att->atttypid,
																		 att->atttypmod))))
			gaps->hidden[n] = true;
	}
}

/*
 * check_key raises unless rows had today's key all the time since, and its
 * values are known.
 */
static void
check_key(Gaps *gaps, AuditShape *then)
{
	AuditTrail *trail = gaps->trail;
	AuditShape *last = &trail->shapes[trail->nshapes - 1];
	AuditKeyDef *def;

	if (last->keydef < 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the rows of table %s have no key in the audit log",
						dbp_relation_name(gaps->root)),
				 errhint("Add a primary key, or name columns in argument \"key\" of dbpatterns.audit_enable.")));
	def = &trail->keydefs[last->keydef];
	for (AuditShape *shape = then; shape <= last; shape++)
	{
		bool		same = dbp_audit_has_key(shape, def);

		for (int k = 0; k < def->n && same; k++)
			same = !gaps->hidden[def->numbers[k]];
		if (!same)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the key of table %s has changed since %s",
							dbp_relation_name(gaps->root), timestamptz_to_str(gaps->at)),
					 errdetail("Its columns are others, or their types, or the labels of an enum."),
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
	Gaps		gaps = {trail, root, at};
	AuditShape *then = shape_at(trail, at);
	bool	   *shown = palloc0(sizeof(bool) * Max(trail->ncolumns, 1));

	gaps.hidden = palloc0(sizeof(bool) * Max(trail->ncolumns, 1));
	check_present(&gaps);
	if (at < trail->shapes[0].since)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s was not audited yet at %s", dbp_relation_name(root),
						timestamptz_to_str(at)),
				 errdetail("Its audit trail begins at %s.",
						   timestamptz_to_str(trail->shapes[0].since)),
				 errhint("Ask for a later time.")));
	dbp_audit_scan_row(trail, NULL, DT_NOBEGIN, DT_NOEND, false, receive_marker, &gaps);
	hide_retyped(&gaps, then);
	check_key(&gaps, then);

	for (int i = 0; i < then->ncolumns; i++)
	{
		int			number = then->numbers[i];

		shown[number] = trail->columns[number].attno != 0 && !gaps.hidden[number];
	}
	return shown;
}

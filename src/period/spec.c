/*-------------------------------------------------------------------------
 *
 * spec.c
 *	  What is known of a table's period: the argument of its trigger, and what
 *	  the catalogs say of the columns named there.
 *
 * A period is one range column, or two columns with its bounds.  From here on
 * the two are alike: dbp_period_expression gives the range of either.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/period/spec.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "core/argument.h"
#include "core/names.h"
#include "core/trigger.h"
#include "core/version.h"
#include "lib/stringinfo.h"
#include "period/period.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

static DbpRelStateCache *states = NULL;

static bool
set_option(const DbpArgument *argument, const char *name, JsonbValue *value, void *arg)
{
	PeriodOptions *options = arg;
	char	  **where = strcmp(name, "period") == 0 ? &options->period :
		strcmp(name, "from") == 0 ? &options->from :
		strcmp(name, "to") == 0 ? &options->upto :
		strcmp(name, "constraint") == 0 ? &options->constraint : NULL;

	if (strcmp(name, "key") == 0)
		options->key = dbp_argument_names(argument, value);
	else if (where != NULL && value->type == jbvString)
		*where = pnstrdup(value->val.string.val, value->val.string.len);
	else
		return false;
	return true;
}

/*
 * dbp_period_parse reads a trigger's argument.
 */
void
dbp_period_parse(const char *argument, PeriodOptions *options)
{
	DbpArgument source = {
		argument != NULL ? argument : "", "period",
		"Create the trigger with dbpatterns.period_enable."
	};

	memset(options, 0, sizeof(*options));
	dbp_argument_read(&source, set_option, options);
	if (options->constraint == NULL ||
		(options->period == NULL) == (options->from == NULL || options->upto == NULL))
		dbp_argument_refuse(&source, "It must name the constraint, and the period or both its bounds.");
}

static void
print_string(StringInfo out, const char *option, const char *value)
{
	if (value == NULL)
		return;
	appendStringInfo(out, "%s\"%s\": ", out->len > 1 ? ", " : "", option);
	escape_json(out, value);
}

/*
 * dbp_period_print is the reverse.
 */
char *
dbp_period_print(const PeriodOptions *options)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	dbp_argument_print_names(&out, "key", options->key);
	print_string(&out, "period", options->period);
	print_string(&out, "from", options->from);
	print_string(&out, "to", options->upto);
	print_string(&out, "constraint", options->constraint);
	appendStringInfoChar(&out, '}');
	return out.data;
}

/*
 * dbp_period_trigger returns the trigger of a table with a period, or NULL.
 */
Trigger *
dbp_period_trigger(Relation rel)
{
	Trigger    *trigger = dbp_find_trigger(rel, PERIOD_TRIGGER);
	char	   *function;

	if (trigger == NULL || trigger->tgnargs != 1)
		return NULL;
	function = get_func_name(trigger->tgfoid);
	if (function == NULL || strcmp(function, "period_trigger") != 0 ||
		get_func_namespace(trigger->tgfoid) != get_namespace_oid("dbpatterns", true))
		return NULL;
	return trigger;
}

/*
 * dbp_period_options reads the options of a table; false if it has no period.
 */
bool
dbp_period_options(Relation rel, PeriodOptions *options)
{
	Trigger    *trigger = dbp_period_trigger(rel);

	if (trigger != NULL)
		dbp_period_parse(trigger->tgargs[0], options);
	return trigger != NULL;
}

/*
 * dbp_period_range_of returns the range type of two columns of a type, InvalidOid for a
 * type that has none here.
 */
Oid
dbp_period_range_of(Oid subtype)
{
	switch (subtype)
	{
		case DATEOID:
			return DATERANGEOID;
		case TIMESTAMPTZOID:
			return TSTZRANGEOID;
		case INT4OID:
			return INT4RANGEOID;
		case INT8OID:
			return INT8RANGEOID;
		case NUMERICOID:
			return NUMRANGEOID;
		default:
			return InvalidOid;
	}
}

/*
 * dbp_period_expression returns SQL for the period of a row as a range; alias: of the
 * table, or NULL.  No bound, and infinity, are one in both forms.
 */
char *
dbp_period_expression(const PeriodOptions *options, Oid rangetype, const char *alias)
{
	char	   *prefix = alias != NULL ? psprintf("%s.", alias) : "";

	if (options->period != NULL)
		return psprintf("%s%s", prefix, quote_identifier(options->period));
	if (rangetype == DATERANGEOID || rangetype == TSTZRANGEOID)
		return psprintf("%1$s(CASE WHEN %2$s%3$s OPERATOR(pg_catalog.=) '-infinity' THEN NULL ELSE %2$s%3$s END,"
						" CASE WHEN %2$s%4$s OPERATOR(pg_catalog.=) 'infinity' THEN NULL ELSE %2$s%4$s END)",
						format_type_extended(rangetype, -1, FORMAT_TYPE_FORCE_QUALIFY), prefix,
						quote_identifier(options->from), quote_identifier(options->upto));
	return psprintf("%s(%s%s, %s%s)",
					format_type_extended(rangetype, -1, FORMAT_TYPE_FORCE_QUALIFY),
					prefix, quote_identifier(options->from),
					prefix, quote_identifier(options->upto));
}

static bool
is_deferrable(Oid relid, const char *constraint)
{
	Oid			oid = get_relation_constraint_oid(relid, constraint, true);
	HeapTuple	tuple = OidIsValid(oid) ? SearchSysCache1(CONSTROID, ObjectIdGetDatum(oid)) : NULL;
	bool		deferrable;

	if (!HeapTupleIsValid(tuple))
		return false;
	deferrable = ((Form_pg_constraint) GETSTRUCT(tuple))->condeferrable;
	ReleaseSysCache(tuple);
	return deferrable;
}

static void
build_state(DbpRelState *head, Relation rel, void *arg)
{
	DbpPeriod  *period = (DbpPeriod *) head;
	ListCell   *lc;

	dbp_check_version();
	dbp_period_parse(((Trigger *) arg)->tgargs[0], &period->options);
	period->keys = palloc(sizeof(AttrNumber) * Max(list_length(period->options.key), 1));
	foreach(lc, period->options.key)
		period->keys[period->nkeys++] = dbp_column_number(rel, lfirst(lc));
	if (period->options.period != NULL)
	{
		TypeCacheEntry *type;

		period->range = dbp_column_number(rel, period->options.period);
		period->rangetype = getBaseType(TupleDescAttr(RelationGetDescr(rel),
													  period->range - 1)->atttypid);
		type = lookup_type_cache(period->rangetype, TYPECACHE_RANGE_INFO);
		period->subtype = type->rngelemtype != NULL ? type->rngelemtype->type_id : InvalidOid;
	}
	else
	{
		Form_pg_attribute upto;

		period->from = dbp_column_number(rel, period->options.from);
		period->upto = dbp_column_number(rel, period->options.upto);
		upto = TupleDescAttr(RelationGetDescr(rel), period->upto - 1);
		period->upto_not_null = upto->attnotnull;
		period->subtype = getBaseType(upto->atttypid);
		period->rangetype = dbp_period_range_of(period->subtype);
	}
	if (!OidIsValid(period->rangetype) || !OidIsValid(period->subtype))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the period of table %s is no longer a range", dbp_relation_name(rel)),
				 errhint("Call dbpatterns.period_disable for the table.")));
	period->deferrable = is_deferrable(RelationGetRelid(rel), period->options.constraint);
}

/*
 * dbp_period_get returns the period of a table, or raises 55000.
 */
DbpPeriod *
dbp_period_get(Relation rel)
{
	Trigger    *trigger = dbp_period_trigger(rel);

	if (trigger == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s has no period", dbp_relation_name(rel)),
				 errhint("Call dbpatterns.period_enable for it.")));
	return (DbpPeriod *) dbp_relstate_get(states, rel, InvalidOid, trigger);
}

/*
 * dbp_period_spec_init prepares this backend.
 */
void
dbp_period_spec_init(void)
{
	states = dbp_relstate_cache("dbpatterns period", sizeof(DbpPeriod), build_state);
}

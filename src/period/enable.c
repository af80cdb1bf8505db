/*-------------------------------------------------------------------------
 *
 * enable.c
 *	  Giving a table a period, and taking it back.
 *
 * That rows of one key do not overlap is kept by a constraint of the server's:
 * UNIQUE (..., period WITHOUT OVERLAPS) where there is that (18, range columns),
 * an exclusion constraint otherwise.  Our trigger brings periods into one form.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/period/enable.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "compat/compat.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/registry.h"
#include "core/sql.h"
#include "core/target.h"
#include "core/version.h"
#include "period/period.h"
#include "period/portion.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(dbpatterns_period_enable);
PG_FUNCTION_INFO_V1(dbpatterns_period_disable);

/* What period_enable was asked for. */
typedef struct Request
{
	PeriodOptions options;
	bool		deferrable;
	Oid			rangetype;
} Request;

static char *
name_or_null(FunctionCallInfo fcinfo, int argno)
{
	return PG_ARGISNULL(argno) ? NULL : pstrdup(NameStr(*PG_GETARG_NAME(argno)));
}

static void
read_request(FunctionCallInfo fcinfo, Request *request)
{
	PeriodOptions *options = &request->options;

	memset(request, 0, sizeof(*request));
	dbp_require_argument(fcinfo, 1, "key", "Name the columns that say what a row is about.");
	dbp_require_argument(fcinfo, 5, "is_deferrable", "Give true or false.");
	options->key = dbp_column_list(PG_GETARG_ARRAYTYPE_P(1), "key");
	options->period = name_or_null(fcinfo, 2);
	options->from = name_or_null(fcinfo, 3);
	options->upto = name_or_null(fcinfo, 4);
	request->deferrable = PG_GETARG_BOOL(5);
	if (options->key == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"key\" must not be empty"),
				 errhint("Name the columns that say what a row is about.")));
	if ((options->period == NULL) == (options->from == NULL && options->upto == NULL) ||
		(options->from == NULL) != (options->upto == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a period is one range column or two columns"),
				 errhint("Give either \"period\", or \"from_column\" and \"to_column\".")));
}

static void
refuse_type(Relation rel, const char *column, Oid type)
{
	bool		no_zone = type == TIMESTAMPOID || type == TSRANGEOID || type == TSMULTIRANGEOID;

	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" of table %s is of type %s and cannot be a period",
					column, dbp_relation_name(rel), format_type_be(type)),
			 no_zone ? errhint("An hour in autumn would be empty: use timestamp with time zone.") :
			 errhint("Use a range, or two columns of type date, timestamptz, integer, bigint or numeric.")));
}

/*
 * check_period sets the range type, or raises for columns of other types.
 */
static void
check_period(Relation rel, Request *request)
{
	PeriodOptions *options = &request->options;
	Oid			type;

	if (options->period != NULL)
	{
		type = TupleDescAttr(RelationGetDescr(rel),
							 dbp_column_number(rel, options->period) - 1)->atttypid;
		if (!type_is_range(getBaseType(type)) || getBaseType(type) == TSRANGEOID)
			refuse_type(rel, options->period, type);
		request->rangetype = getBaseType(type);
		return;
	}
	type = TupleDescAttr(RelationGetDescr(rel),
						 dbp_column_number(rel, options->from) - 1)->atttypid;
	request->rangetype = dbp_period_range_of(getBaseType(type));
	if (!OidIsValid(request->rangetype))
		refuse_type(rel, options->from, type);
	type = TupleDescAttr(RelationGetDescr(rel),
						 dbp_column_number(rel, options->upto) - 1)->atttypid;
	if (dbp_period_range_of(getBaseType(type)) != request->rangetype)
		refuse_type(rel, options->upto, type);
}

/*
 * check_target raises unless the table can have the period.
 */
static void
check_target(Relation rel, Request *request)
{
	PeriodOptions *options = &request->options;
	ListCell   *lc;

	dbp_require_target(rel, "given a period");
	if (rel->rd_rel->relkind == RELKIND_RELATION &&
		(has_subclass(RelationGetRelid(rel)) || has_superclass(RelationGetRelid(rel))))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table %s inherits or is inherited and cannot be given a period",
						dbp_relation_name(rel)),
				 errhint("A constraint does not reach the rows of the other table.")));
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE && !DBP_EXCLUSION_ON_PARTITIONED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("partitioned table %s cannot be given a period by this server",
						dbp_relation_name(rel)),
				 errdetail("It has no exclusion constraints on partitioned tables; PostgreSQL 17 has."),
				 errhint("Use an ordinary table, or a newer server.")));
	foreach(lc, options->key)
	{
		(void) dbp_column_number(rel, lfirst(lc));
		if ((options->period != NULL && strcmp(lfirst(lc), options->period) == 0) ||
			(options->from != NULL && (strcmp(lfirst(lc), options->from) == 0 ||
									   strcmp(lfirst(lc), options->upto) == 0)))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("column \"%s\" of table %s cannot be both key and period",
							(char *) lfirst(lc), dbp_relation_name(rel)),
					 errhint("The key says what a row is about, the period when it holds.")));
	}
	check_period(rel, request);
}

/*
 * choose_constraint gives the constraint the name it has or gets.
 */
static void
choose_constraint(Relation rel, PeriodOptions *options)
{
	PeriodOptions present;

	if (dbp_period_options(rel, &present))
		options->constraint = present.constraint;
	else
		options->constraint = ChooseConstraintName(RelationGetRelationName(rel),
												   options->period != NULL ? options->period :
												   options->from,
												   "overlap", RelationGetNamespace(rel), NIL);
}

/*
 * require_sound raises for rows that are there and have no proper period; rows that
 * overlap are named by the server.
 */
static void
require_sound(const char *table, const Request *request)
{
	const PeriodOptions *options = &request->options;
	const char *wrong;

	if (options->period != NULL)
		wrong = psprintf("%1$s IS NULL OR pg_catalog.isempty(%1$s)",
						 quote_identifier(options->period));
	else
		wrong = psprintf("%1$s OPERATOR(pg_catalog.>=) %2$s", quote_identifier(options->from),
						 quote_identifier(options->upto));
	dbp_sql_query(psprintf("SELECT pg_catalog.count(*), pg_catalog.min(ctid::pg_catalog.text)"
						   " FROM %s WHERE %s", table, wrong), 0, NULL);
	if (DatumGetInt64(dbp_sql_value(0, 0, NULL)) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("%s rows of table %s have a period that is NULL, empty or inverted",
						dbp_sql_text(0, 0), table),
				 errdetail("One of them is at ctid %s.", dbp_sql_text(0, 1)),
				 errhint("Their end must be after their beginning.")));
}

/*
 * bring_into_form lets the trigger do its work on rows that are there.
 */
static void
bring_into_form(const char *table, const Request *request)
{
	const PeriodOptions *options = &request->options;
	const char *endless = request->rangetype == DATERANGEOID || request->rangetype == TSTZRANGEOID ?
		"'infinity'" : NULL;

	if (options->period != NULL)
		dbp_sql_query(psprintf("UPDATE %2$s SET %1$s = %1$s WHERE NOT (pg_catalog.lower_inc(%1$s)"
							   " OR pg_catalog.lower_inf(%1$s)) OR pg_catalog.upper_inc(%1$s)%3$s",
							   quote_identifier(options->period), table,
							   endless == NULL ? "" :
							   psprintf(" OR pg_catalog.upper(%1$s) OPERATOR(pg_catalog.=) 'infinity'"
										" OR pg_catalog.lower(%1$s) OPERATOR(pg_catalog.=) '-infinity'",
										quote_identifier(options->period))), 0, NULL);
	else if (endless != NULL)
		dbp_sql_query(psprintf("UPDATE %2$s SET %1$s = %1$s WHERE %1$s OPERATOR(pg_catalog.=) 'infinity'"
							   " OR %3$s OPERATOR(pg_catalog.=) '-infinity'",
							   quote_identifier(options->upto), table,
							   quote_identifier(options->from)), 0, NULL);
}

/* ---- the constraint -------------------------------------------------------- */

/* DDL that may fail for want of btree_gist. */
static void
run_command(void *arg)
{
	dbp_sql_silently(&dbp_period_silent, "%s", (char *) arg);
}

static char *
constraint_definition(const Request *request)
{
	const PeriodOptions *options = &request->options;
	StringInfoData sql;
	ListCell   *lc;

	initStringInfo(&sql);
	if (options->period != NULL && DBP_WITHOUT_OVERLAPS)
	{
		appendStringInfoString(&sql, "UNIQUE (");
		foreach(lc, options->key)
			appendStringInfo(&sql, "%s, ", quote_identifier(lfirst(lc)));
		appendStringInfo(&sql, "%s WITHOUT OVERLAPS)", quote_identifier(options->period));
	}
	else
	{
		appendStringInfoString(&sql, "EXCLUDE USING gist (");
		foreach(lc, options->key)
			appendStringInfo(&sql, "%s WITH =, ", quote_identifier(lfirst(lc)));
		appendStringInfo(&sql, "%s WITH &&)",
						 options->period != NULL ? quote_identifier(options->period) :
						 psprintf("(%s)", dbp_period_expression(options, request->rangetype, NULL)));
	}
	if (request->deferrable)
		appendStringInfoString(&sql, " DEFERRABLE INITIALLY IMMEDIATE");
	return sql.data;
}

/*
 * add_constraint adds the constraint.
 */
static void
add_constraint(Oid relid, const Request *request)
{
	char	   *table = dbp_relation_name_by_oid(relid);
	char	   *sql = psprintf("ALTER TABLE %s ADD CONSTRAINT %s %s", table,
							   quote_identifier(request->options.constraint),
							   constraint_definition(request));
	DbpOwnerScope scope;
	ErrorData  *error;

	dbp_enter_caller(&scope);
	error = dbp_attempt(run_command, sql, true);
	dbp_leave_owner(&scope);
	if (error == NULL)
		return;
	if (error->sqlerrcode == ERRCODE_UNDEFINED_OBJECT)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the key of table %s cannot be part of a GiST index", table),
				 errdetail("%s.", error->message),
				 errhint("Run CREATE EXTENSION btree_gist.")));
	ReThrowError(error);
}

static void
drop_constraint(Oid relid, const char *constraint)
{
	if (OidIsValid(get_relation_constraint_oid(relid, constraint, true)))
		dbp_sql_silently(&dbp_period_silent, "ALTER TABLE %s DROP CONSTRAINT %s",
						 dbp_relation_name_by_oid(relid), quote_identifier(constraint));
}

/*
 * set_not_null makes the columns NOT NULL that must be: otherwise a row would be compared
 * with no other.
 */
static void
set_not_null(Oid relid, const PeriodOptions *options)
{
	List	   *columns = list_copy(options->key);
	ListCell   *lc;

	if (options->period != NULL)
		columns = lappend(columns, options->period);
	foreach(lc, columns)
		dbp_sql_silently(&dbp_period_silent, "ALTER TABLE %s ALTER COLUMN %s SET NOT NULL",
						 dbp_relation_name_by_oid(relid), quote_identifier(lfirst(lc)));
}

/*
 * dbp_period_create_trigger makes the trigger of a table, or gives it another argument.
 */
void
dbp_period_create_trigger(Oid relid, const PeriodOptions *options)
{
	dbp_sql_silently(&dbp_period_silent,
					 "CREATE OR REPLACE TRIGGER %s BEFORE INSERT OR UPDATE ON %s FOR EACH ROW"
					 " EXECUTE FUNCTION dbpatterns.period_trigger(%s)",
					 PERIOD_TRIGGER, dbp_relation_name_by_oid(relid),
					 quote_literal_cstr(dbp_period_print(options)));
}

/* ---- on and off ------------------------------------------------------------ */

/*
 * is_same tells whether a table has this period already.
 */
static bool
is_same(Relation rel, const Request *request)
{
	Trigger    *trigger = dbp_period_trigger(rel);

	return trigger != NULL && trigger->tgenabled == TRIGGER_FIRES_ON_ORIGIN &&
		strcmp(trigger->tgargs[0], dbp_period_print(&request->options)) == 0 &&
		dbp_period_get(rel)->deferrable == request->deferrable &&
		OidIsValid(get_relation_constraint_oid(RelationGetRelid(rel),
											   request->options.constraint, true));
}

/*
 * period_enable(target regclass, key name[], period name, from_column name, to_column name,
 * is_deferrable boolean): rows of target hold for a period from now on; two rows of one key
 * never hold at the same time.
 *
 * key: columns that say what a row is about; they become NOT NULL.  period: a range column, or
 * from_column and to_column: the first time at which the row holds, and the first at which it
 * does not any more; NULL for no bound.  is_deferrable: the constraint can be deferred, and
 * periods can be shifted or swapped in one statement.
 *
 * Raises 22004 (target, key or is_deferrable is NULL), 42P01, 55000 (library and SQL versions
 * differ), 22023 (bad value), 42501 (not the owner), 42809 (not an ordinary or partitioned
 * table, a partition), 0A000 (inheritance, partitioned before 17), 42703, 42804 (column of another
 * type), 23514 (rows without a proper period), 23502 (NULL in the key), 23P01 (rows
 * that overlap), 42704 (btree_gist is missing), 42723 (a function of that name exists).  Locks
 * ACCESS EXCLUSIVE on target and its partitions.  Runs as the caller.  An identical second call
 * changes nothing and says so; another one replaces the period.
 */
Datum
dbpatterns_period_enable(PG_FUNCTION_ARGS)
{
	Request		request;
	PeriodOptions present;
	Relation	rel;
	Oid			relid;
	char	   *table;
	bool		again;
	DbpOwnerScope scope;

	dbp_require_argument(fcinfo, 0, "target", "Name the table.");
	relid = PG_GETARG_OID(0);
	table = dbp_relation_name_by_oid(relid);
	dbp_check_version();
	read_request(fcinfo, &request);

	SPI_connect();
	(void) dbp_lock_tree(relid, AccessExclusiveLock);
	rel = table_open(relid, NoLock);
	check_target(rel, &request);
	choose_constraint(rel, &request.options);
	again = dbp_period_options(rel, &present);
	if (again && is_same(rel, &request))
	{
		table_close(rel, NoLock);
		dbp_period_make_functions(relid);
		ereport(NOTICE,
				(errmsg("table %s already has this period", table)));
		SPI_finish();
		PG_RETURN_VOID();
	}
	table_close(rel, NoLock);

	if (again)
	{
		dbp_readers_drop(&dbp_period_readers, relid);
		drop_constraint(relid, present.constraint);
	}
	require_sound(table, &request);
	dbp_period_create_trigger(relid, &request.options);
	dbp_enter_owner(&scope, dbp_relation_owner(relid));
	bring_into_form(table, &request);
	dbp_leave_owner(&scope);
	set_not_null(relid, &request.options);
	add_constraint(relid, &request);
	CommandCounterIncrement();
	dbp_period_make_functions(relid);
	dbp_registry_set(relid, "period", dbp_period_print(&request.options));
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * period_disable(target regclass): rows of target may overlap again.  Columns and rows stay,
 * as does NOT NULL.
 *
 * Raises 22004 (target is NULL), 42P01, 55000 (library and SQL versions differ), 42501 (not the
 * owner), 2BP01 (foreign keys or others need the constraint or the functions).  Locks ACCESS
 * EXCLUSIVE on target and its partitions.  Runs as the caller.  On a table without a period it
 * changes nothing and says so.
 */
Datum
dbpatterns_period_disable(PG_FUNCTION_ARGS)
{
	PeriodOptions options;
	Relation	rel;
	Oid			relid;
	bool		found;

	dbp_require_argument(fcinfo, 0, "target", "Name a table with a period.");
	relid = PG_GETARG_OID(0);
	(void) dbp_relation_name_by_oid(relid);
	dbp_check_version();

	SPI_connect();
	(void) dbp_lock_tree(relid, AccessExclusiveLock);
	rel = table_open(relid, NoLock);
	found = dbp_period_options(rel, &options);
	if (!found)
		ereport(NOTICE,
				(errmsg("table %s has no period", dbp_relation_name(rel))));
	table_close(rel, NoLock);
	if (found)
	{
		dbp_period_require_unreferenced(relid);
		dbp_readers_drop(&dbp_period_readers, relid);
		(void) dbp_portion_drop_view(relid);
		dbp_sql_silently(&dbp_period_silent, "DROP TRIGGER %s ON %s", PERIOD_TRIGGER,
						 dbp_relation_name_by_oid(relid));
		drop_constraint(relid, options.constraint);
		dbp_registry_remove(relid, "period");
	}
	SPI_finish();
	PG_RETURN_VOID();
}

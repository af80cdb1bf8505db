/*-------------------------------------------------------------------------
 *
 * enable.c
 *	  Switching versioning of a table on and off.
 *
 * What is asked for is checked here; the history is made in history.c, and
 * everything else brought in line with the options in table.c.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/enable.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "compat/compat.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/registry.h"
#include "core/sql.h"
#include "core/target.h"
#include "core/version.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "versioning/versioning.h"

PG_FUNCTION_INFO_V1(dbpatterns_versioning_enable);
PG_FUNCTION_INFO_V1(dbpatterns_versioning_disable);

/* What versioning_enable was asked for. */
typedef struct Request
{
	VersioningOptions options;	/* history: as given, or NULL */
	bool		guard;			/* meet TRUNCATE */
	Interval   *partition_by;
	Interval   *keep;
} Request;

/*
 * choose returns which of the words an argument holds, or raises 22023.
 */
static int
choose(FunctionCallInfo fcinfo, int argno, const char *argument, const char *const *words)
{
	char	   *value = PG_ARGISNULL(argno) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(argno));
	StringInfoData all;

	initStringInfo(&all);
	for (int i = 0; words[i] != NULL; i++)
	{
		if (strcmp(value, words[i]) == 0)
			return i;
		appendStringInfo(&all, "%s'%s'", i == 0 ? "" : words[i + 1] == NULL ? " or " : ", ",
						 words[i]);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value of argument \"%s\": \"%s\"", argument, value),
			 errhint("Give %s.", all.data)));
	return 0;					/* keep the compiler quiet */
}

/*
 * positive_interval returns an argument that is NULL or longer than nothing.
 */
static Interval *
positive_interval(FunctionCallInfo fcinfo, int argno, const char *argument)
{
	Interval	zero = {0, 0, 0};
	Interval   *value;

	if (PG_ARGISNULL(argno))
		return NULL;
	value = PG_GETARG_INTERVAL_P(argno);
	if (INTERVAL_IS_NOBEGIN(value) || INTERVAL_IS_NOEND(value) ||
		!DatumGetBool(DirectFunctionCall2(interval_gt, IntervalPGetDatum(value),
										  IntervalPGetDatum(&zero))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must be positive", argument),
				 errhint("Give an interval such as '1 month'.")));
	return value;
}

static void
read_request(FunctionCallInfo fcinfo, Request *request)
{
	static const char *const sources[] = {"transaction", "statement", "clock", NULL};
	static const char *const truncations[] = {"error", "archive", "ignore", NULL};
	int			truncation;

	memset(request, 0, sizeof(*request));
	dbp_require_argument(fcinfo, 2, "period", "Name a column, such as sys_period.");
	if (!PG_ARGISNULL(1))
		request->options.history = text_to_cstring(PG_GETARG_TEXT_PP(1));
	request->options.period = pstrdup(NameStr(*PG_GETARG_NAME(2)));
	request->options.source = choose(fcinfo, 3, "time_source", sources);
	request->options.all = dbp_choose_argument(fcinfo, 4, "same_transaction", "first", "all");
	request->options.refuse_newer = dbp_choose_argument(fcinfo, 5, "on_newer", "adjust", "error");
	request->options.keep_unchanged = !PG_ARGISNULL(6) && !PG_GETARG_BOOL(6);
	request->options.exclude = dbp_column_list(PG_ARGISNULL(7) ? NULL :
											   PG_GETARG_ARRAYTYPE_P(7), "exclude");
	truncation = choose(fcinfo, 8, "on_truncate", truncations);
	request->options.archive_truncated = (truncation == 1);
	request->guard = (truncation != 2);
	request->partition_by = positive_interval(fcinfo, 9, "partition_by");
	request->keep = positive_interval(fcinfo, 10, "keep");
}

/*
 * check_columns raises unless the options fit the columns of the table.
 */
static void
check_columns(Relation rel, const VersioningOptions *options)
{
	AttrNumber	period = get_attnum(RelationGetRelid(rel), options->period);
	List	   *key = dbp_versioning_key(rel);
	ListCell   *lc;

	if (period < 0 || (period > 0 && get_atttype(RelationGetRelid(rel), period) != TSTZRANGEOID))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table %s is not of type tstzrange", options->period,
						dbp_relation_name(rel)),
				 errhint("Name another column in argument \"period\"; it is added if it does not exist.")));
	foreach(lc, options->exclude)
	{
		(void) dbp_column_number(rel, lfirst(lc));
		if (strcmp(lfirst(lc), options->period) == 0 || dbp_list_has_name(key, lfirst(lc)))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("column \"%s\" of table %s cannot be excluded",
							(char *) lfirst(lc), dbp_relation_name(rel)),
					 errhint("The history needs the key and the period.")));
	}
}

/*
 * refuse_drop_in raises for a table with the trigger that stands in for temporal_tables',
 * here or in the extension of that name: both would keep versions.
 */
static void
refuse_drop_in(Relation rel)
{
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &rel->trigdesc->triggers[i];
		char	   *function = get_func_name(trigger->tgfoid);

		if (function == NULL || strcmp(function, "versioning") != 0 ||
			trigger->tgenabled == TRIGGER_DISABLED)
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s keeps versions by trigger \"%s\"", dbp_relation_name(rel),
						trigger->tgname),
				 errhint("Drop the trigger first; its history can be taken over.")));
	}
}

/*
 * check_target raises unless the table can be versioned as requested.
 */
static void
check_target(Relation rel, const Request *request)
{
	VersionedTable table;

	dbp_require_target(rel, "versioned");
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("temporary table %s cannot be versioned", dbp_relation_name(rel)),
				 errhint("It has no past: use an ordinary table.")));
	if (rel->rd_rel->relkind == RELKIND_RELATION &&
		(has_subclass(RelationGetRelid(rel)) || has_superclass(RelationGetRelid(rel))))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table %s inherits or is inherited and cannot be versioned",
						dbp_relation_name(rel)),
				 errhint("Partition the table instead, or detach it with ALTER TABLE ... NO INHERIT.")));
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE &&
		request->options.source == TIME_CLOCK)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("partitioned table %s cannot take its system time from the clock",
						dbp_relation_name(rel)),
				 errdetail("The two halves of a row's move to another partition would get two times."),
				 errhint("Give time_source => 'statement'.")));
	if (dbp_versioning_find(RelationGetRelid(rel), &table) &&
		table.baseid != RelationGetRelid(rel))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table %s is the history of table %s and cannot be versioned",
						dbp_relation_name(rel), dbp_relation_name_by_oid(table.baseid)),
				 errhint("Name a table of your own.")));
	refuse_drop_in(rel);
	check_columns(rel, &request->options);
}

/* ---- the period ------------------------------------------------------------ */

/*
 * add_period adds the column: the rows that are there begin now.
 */
static void
add_period(Oid relid, const char *period)
{
	Relation	rel = table_open(relid, NoLock);
	TimestampTz now = dbp_versioning_now(rel, TIME_TRANSACTION);
	char	   *table = dbp_relation_name(rel);

	table_close(rel, NoLock);
	dbp_versioning_command(psprintf("ALTER TABLE %s ADD COLUMN %s pg_catalog.tstzrange NOT NULL"
									" DEFAULT pg_catalog.tstzrange(%s, NULL)",
									table, quote_identifier(period),
									quote_literal_cstr(timestamptz_to_str(now))));
	dbp_versioning_command(psprintf("ALTER TABLE %s ALTER COLUMN %s DROP DEFAULT",
									table, quote_identifier(period)));
}

/*
 * take_period takes over a column that is there, if all rows are current: without an
 * end, or with infinity for one, which is the same.
 */
static void
take_period(Oid relid, const char *period)
{
	char	   *table = dbp_relation_name_by_oid(relid);
	const char *column = quote_identifier(period);
	DbpOwnerScope scope;

	dbp_sql_query(psprintf("SELECT pg_catalog.count(*), pg_catalog.min(ctid::pg_catalog.text)"
						   " FROM %s WHERE %s IS NULL OR pg_catalog.isempty(%s)"
						   " OR pg_catalog.upper(%s) OPERATOR(pg_catalog.<>) 'infinity'"
						   " OR pg_catalog.lower(%s) OPERATOR(pg_catalog.=) 'infinity'",
						   table, column, column, column, column), 0, NULL);
	if (DatumGetInt64(dbp_sql_value(0, 0, NULL)) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("%s rows of table %s have no open period in column \"%s\"",
						dbp_sql_text(0, 0), table, period),
				 errdetail("One of them is at ctid %s.", dbp_sql_text(0, 1)),
				 errhint("A current row's period has a beginning and no end.")));
	dbp_enter_owner(&scope, dbp_relation_owner(relid));
	dbp_sql_query(psprintf("UPDATE %s SET %s = pg_catalog.tstzrange(pg_catalog.lower(%s), NULL)"
						   " WHERE pg_catalog.upper(%s) OPERATOR(pg_catalog.=) 'infinity'",
						   table, column, column, column), 0, NULL);
	dbp_leave_owner(&scope);
	dbp_versioning_command(psprintf("ALTER TABLE %s ALTER COLUMN %s SET NOT NULL",
									table, column));
}

/* ---- on -------------------------------------------------------------------- */

/*
 * history_name returns the quoted name of the history that was asked for.
 */
static char *
history_name(Relation base, const char *history)
{
	Oid			nsp = RelationGetNamespace(base);
	RangeVar   *name;

	if (history == NULL)
		return quote_qualified_identifier(get_namespace_name(nsp),
										  makeObjectName(RelationGetRelationName(base), NULL,
														 "history"));
	name = makeRangeVarFromNameList(stringToQualifiedNameList(history, NULL));
	if (name->schemaname != NULL)
		nsp = get_namespace_oid(name->schemaname, false);
	return quote_qualified_identifier(get_namespace_name(nsp), name->relname);
}

/*
 * get_history finds or makes the history, sets table->historyid and tells whether
 * it was made.
 */
static bool
get_history(VersionedTable *table, Request *request, bool again)
{
	Relation	base = table_open(table->baseid, NoLock);
	Relation	history;
	char	   *name = history_name(base, request->options.history);

	if (again)
	{
		char	   *present = dbp_relation_name_by_oid(table->historyid);

		if (request->options.history != NULL && strcmp(name, present) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the history of table %s is %s", dbp_relation_name(base), present),
					 errhint("Call dbpatterns.versioning_disable first to give it another one.")));
		name = present;
	}
	request->options.history = name;
	table->historyid = dbp_versioning_history(&request->options);
	if (OidIsValid(table->historyid))
	{
		history = table_open(table->historyid, ShareRowExclusiveLock);
		dbp_versioning_check_history(base, history, &request->options);
		if (!again)
			dbp_versioning_check_types(base, history, &request->options);
		if (request->partition_by != NULL &&
			!dbp_versioning_by_time(history, request->options.period))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("history %s is not partitioned by the end of its period", name),
					 errhint("Leave argument \"partition_by\" out, or make a new history.")));
		table_close(history, NoLock);
		table_close(base, NoLock);
		return false;
	}
	table_close(base, NoLock);
	table->historyid = dbp_versioning_make_history(table->baseid, &request->options,
												   request->partition_by != NULL);
	return true;
}

/*
 * same_interval tells whether two intervals, or two NULLs, are the same.
 */
static bool
same_interval(const Interval *a, const Interval *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return a->time == b->time && a->day == b->day && a->month == b->month;
}

/*
 * versioning_enable(target regclass, history text, period name, time_source text,
 * same_transaction text, on_newer text, ignore_unchanged boolean, exclude name[],
 * on_truncate text, partition_by interval, keep interval): from now on every row
 * of target has the period of system time in which it is current, and old
 * versions go to the history, which is returned.
 *
 * history: table for old versions, NULL for <target>_history beside target; made if
 * it does not exist, taken over if it does.  period: column of type tstzrange, added if
 * it does not exist; rows that are there then begin now.  time_source:
 * 'transaction', 'statement' or 'clock'.  same_transaction: 'first' keeps no version
 * that the transaction which made it ended, 'all' keeps each.  on_newer: what happens
 * when a row began after the time of the change: 'adjust' ends it 1 microsecond
 * after it began, 'error' raises.  ignore_unchanged: updates that change no value make
 * no version.  exclude: columns without a history, whose changes make no version.
 * on_truncate: 'error', 'archive' or 'ignore'.  partition_by: length of the history's
 * partitions by end of the period, NULL for none.  keep: for how long versions
 * are kept after they ended, NULL for ever; versioning_run removes older ones.
 *
 * Raises 22004 (target or period is NULL), 42P01 (no such table), 55000 (library and SQL
 * versions differ), 22023 (bad value), 42501 (not the owner), 42809 (not an ordinary or
 * partitioned table, a partition, a history), 0A000 (temporary or inheriting
 * table, clock on a partitioned one), 42804 (column of another type), 42703 (no
 * such column), 23514 (rows without an open period), 42723 (a function of the
 * reader's name exists), 55000 (another history, or another trigger that keeps
 * versions).  Locks ACCESS EXCLUSIVE on target and its partitions, then on the history.
 * Runs as the caller; history and functions are made as the owner.  An identical second
 * call changes nothing and says so; another one replaces the settings.
 */
Datum
dbpatterns_versioning_enable(PG_FUNCTION_ARGS)
{
	VersionedTable table = {0};
	VersioningOptions present;
	Request		request;
	Relation	rel;
	bool		again;
	bool		changed;

	dbp_require_argument(fcinfo, 0, "target", "Name the table to version.");
	table.baseid = PG_GETARG_OID(0);
	(void) dbp_relation_name_by_oid(table.baseid);	/* raises if there is none */
	dbp_check_version();
	read_request(fcinfo, &request);

	SPI_connect();
	(void) dbp_lock_tree(table.baseid, AccessExclusiveLock);
	rel = table_open(table.baseid, NoLock);
	check_target(rel, &request);
	again = dbp_versioning_options(rel, &present) && dbp_versioning_find(table.baseid, &table);
	if (again && strcmp(present.period, request.options.period) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the system time period of table %s is column \"%s\"",
						dbp_relation_name(rel), present.period),
				 errhint("Rename the column, or call dbpatterns.versioning_disable first.")));
	table_close(rel, NoLock);
	if (!again)
		table.columns = -1;

	if (get_attnum(table.baseid, request.options.period) == InvalidAttrNumber)
		add_period(table.baseid, request.options.period);
	else if (!again)
		take_period(table.baseid, request.options.period);
	changed = get_history(&table, &request, again) || !again ||
		!same_interval(table.partition_by, request.partition_by) ||
		!same_interval(table.keep, request.keep);
	table.partition_by = request.partition_by;
	table.keep = request.keep;
	changed |= dbp_versioning_sync(&table, &request.options, request.guard, true);
	if (!again)
		dbp_versioning_give_index(table.baseid, table.historyid, &request.options);
	if (table.partition_by != NULL)
		(void) dbp_versioning_make_partitions(&table, &request.options);
	if (!changed)
		ereport(NOTICE,
				(errmsg("table %s is already versioned with these settings",
						dbp_relation_name_by_oid(table.baseid))));
	SPI_finish();
	PG_RETURN_OID(table.historyid);
}

/* ---- off ------------------------------------------------------------------- */

/*
 * leave_period leaves the column as one that a row gets by itself, or drops it with
 * the history.
 */
static void
leave_period(Oid baseid, const char *period, bool keep)
{
	char	   *table = dbp_relation_name_by_oid(baseid);

	if (keep)
		dbp_versioning_command(psprintf("ALTER TABLE %s ALTER COLUMN %s SET DEFAULT"
										" pg_catalog.tstzrange(pg_catalog.now(), NULL)",
										table, quote_identifier(period)));
	else
		dbp_versioning_command(psprintf("ALTER TABLE %s DROP COLUMN %s",
										table, quote_identifier(period)));
}

/*
 * versioning_disable(target regclass, keep_history boolean): target's changes make
 * no versions any more.
 *
 * keep_history: true leaves the history as an ordinary table, and the period in the
 * rows, for whoever enables versioning again; false drops both.
 *
 * Raises 22004 (an argument is NULL), 42P01 (no such table), 55000 (library and
 * SQL versions differ), 42501 (not the owner), 2BP01 (something depends on the
 * functions that read the table, or on what is dropped).  Locks ACCESS EXCLUSIVE on
 * target, its partitions and the history.  Runs as the caller.  On a table that
 * is not versioned it changes nothing and says so.
 */
Datum
dbpatterns_versioning_disable(PG_FUNCTION_ARGS)
{
	Oid			baseid;
	VersioningOptions options;
	Relation	rel;
	Oid			historyid;
	bool		keep;

	dbp_require_argument(fcinfo, 0, "target", "Name a versioned table.");
	dbp_require_argument(fcinfo, 1, "keep_history", "Give true or false.");
	baseid = PG_GETARG_OID(0);
	keep = PG_GETARG_BOOL(1);
	(void) dbp_relation_name_by_oid(baseid);
	dbp_check_version();

	SPI_connect();
	(void) dbp_lock_tree(baseid, AccessExclusiveLock);
	rel = table_open(baseid, NoLock);
	if (!dbp_versioning_options(rel, &options))
	{
		ereport(NOTICE,
				(errmsg("table %s is not versioned", dbp_relation_name(rel))));
		table_close(rel, NoLock);
		SPI_finish();
		PG_RETURN_VOID();
	}
	table_close(rel, NoLock);

	historyid = dbp_versioning_history(&options);
	dbp_readers_drop(&dbp_versioning_readers, baseid);
	(void) dbp_versioning_drop_triggers(baseid);
	dbp_versioning_forget(baseid);
	leave_period(baseid, options.period, keep);
	if (!keep && OidIsValid(historyid))
	{
		dbp_require_owner(historyid);
		dbp_versioning_command(psprintf("DROP TABLE %s", options.history));
	}
	SPI_finish();
	PG_RETURN_VOID();
}

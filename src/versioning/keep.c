/*-------------------------------------------------------------------------
 *
 * keep.c
 *	  For how long versions are kept: partitions and purge.
 *
 * A partitioned history has a partition for each stretch of time in which
 * versions ended, and a default one for the rest.  Partitions are made beside the
 * history and attached, which takes no lock that a reader or writer of the
 * others would wait for.  A version belongs to the past for good, so whole
 * partitions can go when their end is old enough.
 *
 * Bounds are whole months, days or hours of UTC.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/keep.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "core/append.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/progress.h"
#include "core/sql.h"
#include "core/target.h"
#include "core/version.h"
#include "miscadmin.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "versioning/versioning.h"

PG_FUNCTION_INFO_V1(dbpatterns_versioning_run);
PG_FUNCTION_INFO_V1(dbpatterns_history_purge);

/* Partitions that are ready for versions to come. */
#define PARTITIONS_AHEAD 2

static TimestampTz
plus(TimestampTz when, const Interval *step)
{
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												   TimestampTzGetDatum(when),
												   IntervalPGetDatum(step)));
}

static TimestampTz
minus(TimestampTz when, const Interval *step)
{
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval,
												   TimestampTzGetDatum(when),
												   IntervalPGetDatum(step)));
}

/* A time in text that does not depend on settings but the time zone, UTC here. */
static char *
literal(TimestampTz when)
{
	return quote_literal_cstr(timestamptz_to_str(when));
}

/*
 * enter_owner becomes the owner of a history, with the time zone pinned.
 */
static void
enter_owner(DbpOwnerScope *scope, Oid historyid)
{
	dbp_enter_owner(scope, dbp_relation_owner(historyid));
	(void) set_config_option("TimeZone", "UTC", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/* ---- partitions ------------------------------------------------------------ */

/*
 * last_bound returns the end of the last partition, or of the time before the first
 * one that is to come, and the OID of the default partition or 0.
 */
static TimestampTz
last_bound(Oid historyid, const Interval *step, Oid *defaultid)
{
	Relation	history = table_open(historyid, AccessShareLock);
	PartitionDesc desc = RelationGetPartitionDesc(history, true);
	PartitionBoundInfo bounds = desc->boundinfo;
	const char *unit = step->month != 0 ? "month" : step->day != 0 ? "day" : "hour";
	TimestampTz last;

	*defaultid = get_default_oid_from_partdesc(desc);
	last = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_trunc,
												   CStringGetTextDatum(unit),
												   TimestampTzGetDatum(GetCurrentTimestamp())));
	for (int i = 0; bounds != NULL && i < bounds->ndatums; i++)
	{
		if (bounds->kind[i][0] == PARTITION_RANGE_DATUM_VALUE)
			last = DatumGetTimestampTz(bounds->datums[i][0]);
	}
	table_close(history, NoLock);
	return last;
}

static char *
partition_name(Oid historyid, TimestampTz from)
{
	char	   *stamp = TextDatumGetCString(DirectFunctionCall2(timestamptz_to_char,
																TimestampTzGetDatum(from),
																CStringGetTextDatum("\"p\"YYYYMMDD\"_\"HH24")));

	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(historyid)),
									  makeObjectName(get_rel_name(historyid), NULL, stamp));
}

static void
make_default(Oid historyid)
{
	char	   *schema = get_namespace_name(get_rel_namespace(historyid));
	char	   *name = makeObjectName(get_rel_name(historyid), NULL, "default");

	dbp_versioning_command(psprintf("CREATE TABLE %s PARTITION OF %s DEFAULT",
									quote_qualified_identifier(schema, name),
									dbp_relation_name_by_oid(historyid)));
}

/*
 * make_partition makes the partition for versions that ended from one time up to
 * another, with those that the default partition holds.
 */
static void
make_partition(Oid historyid, Oid defaultid, const char *period, TimestampTz from,
			   TimestampTz upto)
{
	char	   *history = dbp_relation_name_by_oid(historyid);
	char	   *name = partition_name(historyid, from);
	char	   *column = psprintf("pg_catalog.upper(%s)", quote_identifier(period));
	char	   *which = psprintf("%s OPERATOR(pg_catalog.>=) %s AND %s OPERATOR(pg_catalog.<) %s",
								 column, literal(from), column, literal(upto));

	dbp_versioning_command(psprintf("CREATE TABLE %s (LIKE %s INCLUDING DEFAULTS INCLUDING CONSTRAINTS"
									" INCLUDING STORAGE INCLUDING COMMENTS)", name, history));
	if (OidIsValid(defaultid))
	{
		char	   *other = dbp_relation_name_by_oid(defaultid);

		LockRelationOid(defaultid, ShareRowExclusiveLock);
		if (dbp_sql_query(psprintf("SELECT FROM %s WHERE %s LIMIT 1", other, which), 0, NULL) > 0)
			dbp_versioning_command(psprintf("WITH moved AS (DELETE FROM %s WHERE %s RETURNING *)"
											" INSERT INTO %s SELECT * FROM moved",
											other, which, name));
	}
	dbp_versioning_command(psprintf("ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%s) TO (%s)",
									history, name, literal(from), literal(upto)));
}

/*
 * dbp_versioning_make_partitions makes partitions of a history up to some time ahead, and
 * returns how many.  The caller is connected to SPI.
 */
int
dbp_versioning_make_partitions(const VersionedTable *table, const VersioningOptions *options)
{
	DbpOwnerScope scope;
	Oid			defaultid;
	TimestampTz from;
	TimestampTz ahead;
	int			n = 0;

	enter_owner(&scope, table->historyid);
	from = last_bound(table->historyid, table->partition_by, &defaultid);
	if (!OidIsValid(defaultid))
	{
		make_default(table->historyid);
		CommandCounterIncrement();
		from = last_bound(table->historyid, table->partition_by, &defaultid);
	}
	ahead = GetCurrentTimestamp();
	for (int i = 0; i < PARTITIONS_AHEAD; i++)
		ahead = plus(ahead, table->partition_by);
	for (; from < ahead; n++)
	{
		TimestampTz upto = plus(from, table->partition_by);

		make_partition(table->historyid, defaultid, options->period, from, upto);
		from = upto;
	}
	dbp_leave_owner(&scope);
	return n;
}

/*
 * old_partitions returns the partitions whose versions all ended before a time.
 */
static List *
old_partitions(Oid historyid, TimestampTz before)
{
	Relation	history = table_open(historyid, AccessShareLock);
	PartitionDesc desc = RelationGetPartitionDesc(history, true);
	PartitionBoundInfo bounds = desc->boundinfo;
	List	   *result = NIL;

	/* indexes[i] is the partition below datum i. */
	for (int i = 0; bounds != NULL && i < bounds->ndatums; i++)
	{
		if (bounds->indexes[i] >= 0 && bounds->kind[i][0] == PARTITION_RANGE_DATUM_VALUE &&
			DatumGetTimestampTz(bounds->datums[i][0]) <= before)
			result = lappend_oid(result, desc->oids[bounds->indexes[i]]);
	}
	table_close(history, NoLock);
	return result;
}

/* ---- purge ----------------------------------------------------------------- */

static int64
count_rows(const char *table)
{
	dbp_sql_query(psprintf("SELECT pg_catalog.count(*) FROM %s", table), 0, NULL);
	return DatumGetInt64(dbp_sql_value(0, 0, NULL));
}

static int64
drop_partitions(Oid historyid, TimestampTz before)
{
	int64		n = 0;
	ListCell   *lc;

	foreach(lc, old_partitions(historyid, before))
	{
		char	   *name = dbp_relation_name_by_oid(lfirst_oid(lc));

		n += count_rows(name);
		dbp_versioning_command(psprintf("DROP TABLE %s", name));
	}
	return n;
}

static int64
delete_batch(const char *table, const char *period, TimestampTz before, int64 batch)
{
	DbpParam	params[2];

	params[0] = DBP_PARAM(TIMESTAMPTZOID, TimestampTzGetDatum(before));
	params[1] = DBP_PARAM(INT8OID, Int64GetDatum(batch));
	return dbp_sql_query(psprintf("DELETE FROM %s WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY("
								  "SELECT ctid FROM %s WHERE pg_catalog.upper(%s)"
								  " OPERATOR(pg_catalog.<) $1 LIMIT $2))",
								  table, table, quote_identifier(period)), 2, params);
}

/*
 * commit_batch ends the transaction of a batch and begins the next one.
 */
static void
commit_batch(DbpOwnerScope *scope, Oid historyid)
{
	dbp_leave_owner(scope);
	SPI_commit();
	enter_owner(scope, historyid);
}

/*
 * purge removes the versions of a history that ended before a time, in batches that
 * it commits, and returns how many.
 */
static int64
purge(const VersionedTable *table, const VersioningOptions *options, TimestampTz before,
	  int64 batch)
{
	Relation	history = table_open(table->historyid, AccessShareLock);
	bool		by_time = dbp_versioning_by_time(history, options->period);
	DbpOwnerScope scope;
	List	   *leaves;
	ListCell   *lc;
	int64		n;

	table_close(history, AccessShareLock);
	dbp_progress_start("history_purge", options->history, -1);
	enter_owner(&scope, table->historyid);
	n = by_time ? drop_partitions(table->historyid, before) : 0;
	commit_batch(&scope, table->historyid);
	leaves = find_all_inheritors(table->historyid, AccessShareLock, NULL);
	foreach(lc, leaves)
	{
		char	   *name;
		int64		deleted;

		if (get_rel_relkind(lfirst_oid(lc)) != RELKIND_RELATION)
			continue;
		name = dbp_relation_name_by_oid(lfirst_oid(lc));
		do
		{
			deleted = delete_batch(name, options->period, before, batch);
			n += deleted;
			dbp_progress_update(n);
			commit_batch(&scope, table->historyid);
		} while (deleted == batch);
	}
	dbp_leave_owner(&scope);
	dbp_progress_end();
	return n;
}

/*
 * find_versioned finds the table that an argument names, or raises.
 */
static void
find_versioned(Oid relid, VersionedTable *table, VersioningOptions *options)
{
	Relation	rel;

	dbp_require_owner(relid);
	rel = table_open(relid, AccessShareLock);
	if (!dbp_versioning_options(rel, options))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s is not versioned", dbp_relation_name(rel)),
				 errhint("Call dbpatterns.versioning_enable for it.")));
	if (!dbp_versioning_find(relid, table) || table->baseid != relid)
	{
		memset(table, 0, sizeof(*table));
		table->baseid = relid;
	}
	table->historyid = dbp_versioning_history(options);
	if (!OidIsValid(table->historyid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("history %s of table %s does not exist", options->history,
						dbp_relation_name(rel)),
				 errhint("Restore it, or call dbpatterns.versioning_disable for the table.")));
	table_close(rel, NoLock);
}

/*
 * history_purge(target regclass, older_than interval, batch_rows bigint) removes the
 * versions of target that ended longer ago than that; current rows stay.
 *
 * older_than: positive.  batch_rows: how many are deleted between commits; whole
 * partitions are dropped.  Says in a NOTICE how many it were.
 *
 * Raises 22004 (an argument is NULL), 22023 (not positive), 25001 (inside a
 * transaction block), 42P01, 42501 (not the owner), 55000 (not versioned).  Locks ROW
 * EXCLUSIVE on the history, ACCESS EXCLUSIVE where a partition is dropped.  Runs as
 * the owner.  A second call finds nothing; after a crash it goes on.
 */
Datum
dbpatterns_history_purge(PG_FUNCTION_ARGS)
{
	VersionedTable table;
	VersioningOptions options;
	TimestampTz before;
	int64		n;

	dbp_require_argument(fcinfo, 0, "target", "Name a versioned table.");
	dbp_require_argument(fcinfo, 1, "older_than", "Give an interval such as '1 year'.");
	dbp_require_argument(fcinfo, 2, "batch_rows", "Give a number of rows.");
	dbp_require_own_transaction(fcinfo, "history_purge");
	(void) dbp_relation_name_by_oid(PG_GETARG_OID(0));
	dbp_check_version();
	before = minus(GetCurrentTimestamp(), PG_GETARG_INTERVAL_P(1));
	if (before >= GetCurrentTimestamp() || PG_GETARG_INT64(2) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("arguments \"older_than\" and \"batch_rows\" must be positive"),
				 errhint("Give an interval such as '1 year', and a number of rows.")));
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	find_versioned(PG_GETARG_OID(0), &table, &options);
	n = purge(&table, &options, before, PG_GETARG_INT64(2));
	ereport(NOTICE,
			(errmsg("%lld versions of table %s were removed", (long long) n,
					dbp_relation_name_by_oid(table.baseid))));
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * run_table makes the partitions of one table and removes what is too old.
 */
static void
run_table(Oid relid)
{
	VersionedTable table;
	VersioningOptions options;

	find_versioned(relid, &table, &options);
	if (table.partition_by != NULL)
	{
		(void) dbp_versioning_make_partitions(&table, &options);
		SPI_commit();
	}
	if (table.keep != NULL)
		(void) purge(&table, &options, minus(GetCurrentTimestamp(), table.keep), 10000);
}

/*
 * versioning_run(target regclass) makes the partitions that histories will need, and
 * removes versions that are older than the keep of their table.
 *
 * target: NULL for all tables that the caller may alter.  Call it regularly.
 *
 * Raises 25001 (inside a transaction block), 42P01, 42501 (not the owner), 55000 (not
 * versioned).  Locks as history_purge, and SHARE UPDATE EXCLUSIVE on a history that gets
 * a partition, ACCESS EXCLUSIVE on its default one.  Runs as the owner of each.
 * A second call finds nothing to do.
 */
Datum
dbpatterns_versioning_run(PG_FUNCTION_ARGS)
{
	List	   *tables = NIL;
	ListCell   *lc;
	MemoryContext cxt = CurrentMemoryContext;

	dbp_require_own_transaction(fcinfo, "versioning_run");
	dbp_check_version();
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	if (!PG_ARGISNULL(0))
	{
		(void) dbp_relation_name_by_oid(PG_GETARG_OID(0));
		tables = list_make1_oid(PG_GETARG_OID(0));
	}
	else
	{
		DbpOwnerScope scope;
		char	   *user = GetUserNameFromId(GetUserId(), false);
		DbpParam	param = DBP_PARAM(NAMEOID, CStringGetDatum(user));
		uint64		rows;

		dbp_enter_owner(&scope, dbp_relation_owner(dbp_own_relation("versioning")));
		rows = dbp_sql_query("SELECT v.target::pg_catalog.oid FROM _dbpatterns.versioning v"
							 " JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) v.target"
							 " WHERE pg_catalog.pg_has_role($1, c.relowner, 'USAGE') ORDER BY 1",
							 1, &param);
		dbp_leave_owner(&scope);
		for (uint64 i = 0; i < rows; i++)
		{
			MemoryContext oldcxt = MemoryContextSwitchTo(cxt);

			tables = lappend_oid(tables, DatumGetObjectId(dbp_sql_value(i, 0, NULL)));
			MemoryContextSwitchTo(oldcxt);
		}
	}
	foreach(lc, tables)
		run_table(lfirst_oid(lc));
	SPI_finish();
	PG_RETURN_VOID();
}

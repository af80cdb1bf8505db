/*-------------------------------------------------------------------------
 *
 * log.c
 *	  The log's partitions: creating, purging, guarding.
 *
 * It is partitioned by transaction start.  Rows for which there is no partition
 * go to the default one, and audit_run moves them on when it creates the
 * partition they belong to.
 *
 * Writers lock only the partition they write to (see core/append.c), so what
 * is done here to other partitions does not wait for them nor they for it.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/log.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "audit/audit.h"
#include "catalog/pg_type.h"
#include "compat/compat.h"
#include "core/append.h"
#include "core/locks.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/progress.h"
#include "core/sql.h"
#include "core/target.h"
#include "core/trigger.h"
#include "miscadmin.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(dbpatterns_audit_guard);
PG_FUNCTION_INFO_V1(dbpatterns_audit_run);
PG_FUNCTION_INFO_V1(dbpatterns_audit_purge);

/* True while a function of ours changes what is in the log. */
static bool writable = false;

/*
 * dbp_audit_log_owner returns the owner of the log.
 */
Oid
dbp_audit_log_owner(void)
{
	return dbp_relation_owner(dbp_own_relation("audit_log"));
}

/*
 * dbp_audit_log_change runs a statement that changes what is in the log, past the
 * guard.  Caller: SPI connected, log owner entered.
 */
uint64
dbp_audit_log_change(const char *sql, int nparams, const DbpParam *params)
{
	bool		was_writable = writable;
	uint64		rows;

	writable = true;
	PG_TRY();
	{
		rows = dbp_sql_query_latest(sql, nparams, params);
	}
	PG_FINALLY();
	{
		writable = was_writable;
	}
	PG_END_TRY();
	return rows;
}

/*
 * audit_guard() is the trigger function that keeps the log append-only: UPDATE,
 * DELETE and TRUNCATE on its tables are refused, to superusers too, unless
 * audit_run, audit_purge, audit_seal or audit_erase is at work.
 *
 * Raises 39P01 when it is not called as a trigger, 42501 for what it refuses.
 * Takes no lock and changes nothing; runs as whoever changes the table.
 */
Datum
dbpatterns_audit_guard(PG_FUNCTION_ARGS)
{
	TriggerData *data = dbp_trigger_data(fcinfo, "audit_guard");

	if (!writable)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("table %s is append-only", dbp_relation_name(data->tg_relation)),
				 errhint("Use dbpatterns.audit_purge or dbpatterns.audit_erase.")));
	if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
		return PointerGetDatum(data->tg_newtuple);
	return PointerGetDatum(TRIGGER_FIRED_FOR_ROW(data->tg_event) ? data->tg_trigtuple : NULL);
}

static int
compare_partitions(const ListCell *a, const ListCell *b)
{
	const AuditPartition *pa = lfirst(a);
	const AuditPartition *pb = lfirst(b);

	return pa->from < pb->from ? -1 : pa->from > pb->from ? 1 : 0;
}

/*
 * dbp_audit_log_partitions lists the partitions of the log in time order, the
 * default one first.
 */
List *
dbp_audit_log_partitions(void)
{
	Relation	rel = table_open(dbp_own_relation("audit_log"), AccessShareLock);
	PartitionDesc desc = RelationGetPartitionDesc(rel, true);
	PartitionBoundInfo bounds = desc->boundinfo;
	List	   *result = NIL;

	for (int i = -1; bounds != NULL && i < bounds->ndatums; i++)
	{
		int			index = i < 0 ? bounds->default_index : bounds->indexes[i];
		AuditPartition *part;

		if (index < 0)
			continue;
		part = palloc0(sizeof(AuditPartition));
		part->relid = desc->oids[index];
		part->is_default = (i < 0);
		part->from = DT_NOBEGIN;
		part->upto = DT_NOEND;
		if (i >= 0)
		{
			/* indexes[i] is the partition that ends at datum i */
			if (bounds->kind[i][0] == PARTITION_RANGE_DATUM_VALUE)
				part->upto = DatumGetTimestampTz(bounds->datums[i][0]);
			if (i > 0 && bounds->kind[i - 1][0] == PARTITION_RANGE_DATUM_VALUE)
				part->from = DatumGetTimestampTz(bounds->datums[i - 1][0]);
		}
		result = lappend(result, part);
	}
	table_close(rel, AccessShareLock);
	list_sort(result, compare_partitions);
	return result;
}

/*
 * partition_name makes the name of a partition from the time it starts at.
 */
static char *
partition_name(TimestampTz from)
{
	DbpParam	param = DBP_PARAM(TIMESTAMPTZOID, TimestampTzGetDatum(from));

	dbp_sql_query("SELECT 'audit_log_' || regexp_replace("
				  "to_char($1 AT TIME ZONE 'UTC', 'YYYYMMDD_HH24MI'), '_0000$', '')",
				  1, &param);
	return dbp_sql_text(0, 0);
}

static char *
utc_literal(TimestampTz when)
{
	DbpParam	param = DBP_PARAM(TIMESTAMPTZOID, TimestampTzGetDatum(when));

	dbp_sql_query("SELECT to_char($1 AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US\"+00\"')",
				  1, &param);
	return quote_literal_cstr(dbp_sql_text(0, 0));
}

/*
 * default_has_rows tells whether the default partition holds rows of a range.
 */
static bool
default_has_rows(TimestampTz from, TimestampTz upto)
{
	DbpParam	params[2];

	params[0] = DBP_PARAM(TIMESTAMPTZOID, TimestampTzGetDatum(from));
	params[1] = DBP_PARAM(TIMESTAMPTZOID, TimestampTzGetDatum(upto));
	dbp_sql_query_latest("SELECT EXISTS (SELECT FROM _dbpatterns.audit_log_default"
						 " WHERE xact_time >= $1 AND xact_time < $2)", 2, params);
	return DatumGetBool(dbp_sql_value(0, 0, NULL));
}

/*
 * create_partition adds the partition [from, upto) to the log, with the rows
 * of that range that wait in the default partition.  The table is filled
 * before it is attached, so every row is visible exactly once throughout.
 */
static void
create_partition(TimestampTz from, TimestampTz upto)
{
	const char *name = quote_identifier(partition_name(from));
	char	   *lower = utc_literal(from);
	char	   *upper = utc_literal(upto);

	dbp_sql_command("CREATE TABLE _dbpatterns.%s (LIKE _dbpatterns.audit_log_default INCLUDING INDEXES)",
					name);
	if (default_has_rows(from, upto))
		dbp_audit_log_change(psprintf("WITH moved AS (DELETE FROM _dbpatterns.audit_log_default"
									  " WHERE xact_time >= %s AND xact_time < %s RETURNING *)"
									  " INSERT INTO _dbpatterns.%s SELECT * FROM moved",
									  lower, upper, name),
							 0, NULL);

	/* Let the first rows not widen a summary with each insert. */
	dbp_sql_query_latest(psprintf("SELECT brin_desummarize_range(i.indexrelid, 0)"
								  " FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
								  " JOIN pg_am a ON a.oid = c.relam AND a.amname = 'brin'"
								  " WHERE i.indrelid = '_dbpatterns.%s'::regclass", name),
						 0, NULL);
	dbp_sql_command("ALTER TABLE _dbpatterns.audit_log ATTACH PARTITION _dbpatterns.%s"
					" FOR VALUES FROM (%s) TO (%s)",
					name, lower, upper);
	dbp_sql_command("CREATE TRIGGER dbpatterns_guard_truncate BEFORE TRUNCATE"
					" ON _dbpatterns.%s FOR EACH STATEMENT"
					" EXECUTE FUNCTION _dbpatterns.audit_guard()",
					name);
}

/*
 * lock_log takes the locks that adding a partition needs: nobody may write to
 * the default partition meanwhile.
 */
static void
lock_log(void)
{
	Oid			relids[] = {dbp_own_relation("audit_log"), dbp_own_relation("audit_log_default")};
	LOCKMODE	modes[] = {ShareUpdateExclusiveLock, AccessExclusiveLock};

	if (!dbp_lock_relations(lengthof(relids), relids, modes))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("the default partition of the audit log is in use"),
				 errhint("Long transactions write to it; run dbpatterns.audit_run again later.")));
}

static TimestampTz
scalar_time(const char *sql, int nparams, const DbpParam *params)
{
	bool		isnull;
	Datum		value;

	dbp_sql_query_latest(sql, nparams, params);
	value = dbp_sql_value(0, 0, &isnull);
	return isnull ? DT_NOEND : DatumGetTimestampTz(value);
}

/*
 * first_missing returns where the next partition starts: at the end of the
 * last one, or at the oldest row that waits for a partition, or now.
 */
static TimestampTz
first_missing(Interval *every)
{
	List	   *parts = dbp_audit_log_partitions();
	AuditPartition *last = parts == NIL ? NULL : llast(parts);
	DbpParam	params[2];
	TimestampTz start;

	if (last != NULL && !last->is_default)
		return last->upto;
	start = Min(scalar_time("SELECT min(xact_time) FROM _dbpatterns.audit_log_default", 0, NULL),
				GetCurrentTransactionStartTimestamp());
	params[0] = DBP_PARAM(TIMESTAMPTZOID, TimestampTzGetDatum(start));
	params[1] = DBP_PARAM(INTERVALOID, IntervalPGetDatum(every));
	return scalar_time("SELECT date_trunc(CASE WHEN $2 >= interval '1 year' THEN 'year'"
					   " WHEN $2 >= interval '1 month' THEN 'month'"
					   " WHEN $2 >= interval '1 day' THEN 'day' ELSE 'hour' END, $1, 'UTC')",
					   2, params);
}

static TimestampTz
add_interval(TimestampTz when, Interval *step)
{
	/* In UTC both kinds of timestamp are the same number. */
	return DatumGetTimestamp(DirectFunctionCall2(timestamp_pl_interval,
												 TimestampGetDatum(when),
												 IntervalPGetDatum(step)));
}

/*
 * extend creates the next missing partition of the log if it starts before
 * upto, and tells whether it did.
 */
static bool
extend(Interval *every, TimestampTz upto)
{
	DbpOwnerScope scope;
	TimestampTz from;
	bool		missing;

	dbp_enter_owner(&scope, dbp_audit_log_owner());
	missing = first_missing(every) < upto;
	if (missing)
	{
		lock_log();
		from = first_missing(every);	/* others may have made it meanwhile */
		missing = from < upto;
		if (missing)
			create_partition(from, add_interval(from, every));
	}
	dbp_leave_owner(&scope);
	return missing;
}

static bool
can_commit(FunctionCallInfo fcinfo)
{
	return fcinfo->context != NULL && IsA(fcinfo->context, CallContext) &&
		!castNode(CallContext, fcinfo->context)->atomic;
}

static int64
interval_hours(const Interval *value)
{
	return ((int64) value->month * 30 + value->day) * 24 + value->time / USECS_PER_HOUR;
}

static void
require_interval(Interval *value, const char *argument, int64 at_least_hours)
{
	if (INTERVAL_IS_NOBEGIN(value) || INTERVAL_IS_NOEND(value) ||
		value->month < 0 || value->day < 0 || value->time < 0 ||
		interval_hours(value) < at_least_hours)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg_plural("argument \"%s\" must be at least %lld hour",
							   "argument \"%s\" must be at least %lld hours",
							   (unsigned long) at_least_hours, argument,
							   (long long) at_least_hours),
				 errhint("Give a positive interval such as '1 month'.")));
}

static void purge(TimestampTz before, bool nonatomic);

/*
 * audit_run(every interval, ahead interval, keep interval) is the maintenance
 * of the log, to be called from time to time.
 *
 * Creates partitions of width every, one after the other, until they reach
 * ahead of now, and moves rows that waited in the default partition into
 * theirs.  keep: purge what is older (NULL: nothing), see audit_purge.
 * Commits after each partition when not called inside a transaction block.
 * A second call finds nothing to do.
 *
 * Raises 22004 for a NULL width, 22023 for intervals that are not positive,
 * 55P03 when the default partition stays in use for ten seconds.  Locks SHARE
 * UPDATE EXCLUSIVE on audit_log, ACCESS EXCLUSIVE on its default partition,
 * never waiting in the lock queue.  Runs as the owner of the log.
 */
Datum
dbpatterns_audit_run(PG_FUNCTION_ARGS)
{
	bool		nonatomic = can_commit(fcinfo);
	Interval	every;
	Interval	ahead;
	Interval	keep;
	bool		have_keep = !PG_ARGISNULL(2);
	TimestampTz upto;
	int64		created = 0;

	dbp_require_argument(fcinfo, 0, "every", "Leave it out for the default.");
	dbp_require_argument(fcinfo, 1, "ahead", "Leave it out for the default.");
	every = *PG_GETARG_INTERVAL_P(0);
	ahead = *PG_GETARG_INTERVAL_P(1);
	require_interval(&every, "every", 1);
	require_interval(&ahead, "ahead", 0);
	if (have_keep)
	{
		keep = *PG_GETARG_INTERVAL_P(2);
		require_interval(&keep, "keep", 1);
	}

	SPI_connect_ext(nonatomic ? SPI_OPT_NONATOMIC : 0);
	upto = add_interval(GetCurrentTransactionStartTimestamp(), &ahead);
	dbp_progress_start("audit_run", NULL, -1);
	while (created < AUDIT_MAX_CREATE && extend(&every, upto))
	{
		dbp_progress_update(++created);
		if (nonatomic)
			SPI_commit();
	}
	if (created == AUDIT_MAX_CREATE)
		ereport(NOTICE,
				(errmsg("created %d partitions of the audit log, the most for one call",
						AUDIT_MAX_CREATE),
				 errhint("Call dbpatterns.audit_run again if you really want more.")));
	if (have_keep)
	{
		Datum		now = TimestampGetDatum(GetCurrentTransactionStartTimestamp());

		purge(DatumGetTimestamp(DirectFunctionCall2(timestamp_mi_interval, now,
													IntervalPGetDatum(&keep))),
			  nonatomic);
	}
	dbp_progress_end();
	SPI_finish();
	PG_RETURN_NULL();
}

/*
 * drop_partition drops a partition of the log, in a moment when nobody uses
 * it.
 */
static void
drop_partition(AuditPartition *part)
{
	Oid			relids[] = {dbp_own_relation("audit_log"), dbp_own_relation("audit_log_default"),
	part->relid};
	LOCKMODE	modes[] = {AccessExclusiveLock, AccessExclusiveLock, AccessExclusiveLock};

	if (!dbp_lock_relations(lengthof(relids), relids, modes))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("partition %s of the audit log is in use",
						dbp_relation_name_by_oid(part->relid)),
				 errhint("What was purged before it stays purged; call the procedure again later.")));
	dbp_sql_command("DROP TABLE %s", dbp_relation_name_by_oid(part->relid));
}

static uint64
purge_default(TimestampTz before)
{
	DbpParam	param = DBP_PARAM(TIMESTAMPTZOID, TimestampTzGetDatum(before));

	return dbp_audit_log_change("DELETE FROM _dbpatterns.audit_log_default WHERE xact_time < $1",
								1, &param);
}

static void
log_purged(TimestampTz before)
{
	dbp_audit_log_marker(0, "purged",
						 psprintf("{\"before\": \"%s\"}", timestamptz_to_str(before)));
}

/*
 * purge drops the partitions that end at or before the given time, and
 * deletes older rows of the default one.  If there is anything to remove the
 * log says so, in the same transaction as the first removal: readers rely on
 * it.  Caller: SPI connected.
 */
static void
purge(TimestampTz before, bool nonatomic)
{
	DbpOwnerScope scope;
	int64		dropped = 0;
	uint64		rows;
	TimestampTz stays = DT_NOEND;	/* older rows are all to go */
	ListCell   *lc;

	foreach(lc, dbp_audit_log_partitions())
	{
		AuditPartition *part = lfirst(lc);

		if (part->is_default || part->upto > before)
		{
			if (!part->is_default)
				stays = Min(stays, part->from);
			continue;
		}
		dbp_audit_seal_purge(part->relid, part->upto, part->upto);
		if (dropped == 0)
			log_purged(before);
		dbp_enter_owner(&scope, dbp_audit_log_owner());
		drop_partition(part);
		dbp_leave_owner(&scope);
		dbp_progress_update(++dropped);
		if (nonatomic)
			SPI_commit();
	}

	dbp_audit_seal_purge(dbp_own_relation("audit_log_default"), before, Min(before, stays));
	dbp_enter_owner(&scope, dbp_audit_log_owner());
	rows = purge_default(before);
	dbp_leave_owner(&scope);
	if (rows > 0 && dropped == 0)
		log_purged(before);
}

/*
 * audit_purge(before timestamptz) removes log entries of transactions that
 * began before a time: it drops the partitions that end by then, and deletes
 * from the default partition.  A partition that reaches past the time stays
 * whole.
 *
 * Commits after each partition when not called inside a transaction block;
 * a call that was interrupted goes on where it stopped.  Sealed blocks stay
 * verifiable from the cut on.  Raises 22004 for NULL, 22023 for a time in the
 * future, 55P03 when a partition stays in use for ten seconds.  Locks ACCESS
 * EXCLUSIVE on the log, its default partition and the one to drop,
 * for the moment of the drop, never waiting in the lock queue.  Runs as the
 * owner of the log.
 */
Datum
dbpatterns_audit_purge(PG_FUNCTION_ARGS)
{
	bool		nonatomic = can_commit(fcinfo);
	TimestampTz before;

	dbp_require_argument(fcinfo, 0, "before",
						 "Entries of transactions that began before this time are removed.");
	before = PG_GETARG_TIMESTAMPTZ(0);
	if (before > GetCurrentTransactionStartTimestamp())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"before\" lies in the future"),
				 errhint("The entries of running transactions cannot be purged.")));

	SPI_connect_ext(nonatomic ? SPI_OPT_NONATOMIC : 0);
	dbp_progress_start("audit_purge", NULL, -1);
	purge(before, nonatomic);
	dbp_progress_end();
	SPI_finish();
	PG_RETURN_NULL();
}

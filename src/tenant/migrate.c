/*-------------------------------------------------------------------------
 *
 * migrate.c
 *	  Migrations over all tenants that have a schema of their own.
 *
 * Each schema is migrated in a transaction of its own, which also writes down that it
 * was: so after a crash, or an error, the next call goes on with the first schema that was
 * not.  Templates come first, so that tenants that are made meanwhile are
 * born with the new version.  Two calls at once take turns at each schema, by a lock on it
 * that also keeps it from being dropped.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/migrate.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "core/owner.h"
#include "core/progress.h"
#include "core/sql.h"
#include "core/target.h"
#include "core/version.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tcop/pquery.h"
#include "tenant/tenant.h"
#include "utils/builtins.h"
#include "utils/guc.h"

PG_FUNCTION_INFO_V1(dbpatterns_tenant_migrate);

/* One migration of one schema. */
typedef struct Migration
{
	char	   *version;
	char	   *sql;
	char	   *place;			/* the schema */
	char	   *tenant;			/* NULL: a template */
	bool		wall;
} Migration;

/* A call. */
typedef struct Course
{
	Migration	now;
	List	   *failed;			/* names of schemas */
	char	   *first_error;
	MemoryContext cxt;			/* outlives transactions */
} Course;

/*
 * require_version writes down what a version is.  It raises 55000 if it was something
 * else before, and some schema has that.
 */
static void
require_version(const Migration *migration)
{
	DbpOwnerScope scope;
	DbpParam	params[2];

	params[0] = DBP_PARAM(TEXTOID, CStringGetTextDatum(migration->version));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(migration->sql));
	dbp_tenant_enter_ours(&scope);
	dbp_sql_query("INSERT INTO _dbpatterns.tenant_version (version, sql) VALUES ($1, $2)"
				  " ON CONFLICT (version) DO UPDATE SET sql = excluded.sql WHERE NOT EXISTS ("
				  "  SELECT FROM _dbpatterns.tenant_migration m WHERE m.version = $1 AND m.state = 'done')",
				  2, params);
	if (dbp_sql_query_latest("SELECT FROM _dbpatterns.tenant_version WHERE version = $1 AND sql = $2",
							 2, params) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("version \"%s\" is another migration", migration->version),
				 errdetail("Some schemas have it already."),
				 errhint("Give a new version; what it was, _dbpatterns.tenant_version has.")));
	dbp_leave_owner(&scope);
}

/*
 * next_place finds the next schema to migrate: templates first, then tenants by id.
 */
static bool
next_place(Course *course)
{
	DbpOwnerScope scope;
	DbpParam	params[2];
	MemoryContext oldcxt;
	bool		found;

	params[0] = DBP_PARAM(TEXTOID, CStringGetTextDatum(course->now.version));
	params[1] = dbp_texts_param(course->failed);
	dbp_tenant_enter_ours(&scope);
	found = dbp_sql_query_latest("SELECT m.schema, m.tenant, t.wall FROM dbpatterns.tenant_migrations m"
								 " LEFT JOIN dbpatterns.tenant t ON t.id = m.tenant"
								 " WHERE m.version = $1 AND m.state <> 'done' AND m.tenant_state <> 'deleting'"
								 " AND m.schema <> ALL ($2::name[]) ORDER BY m.tenant NULLS FIRST, m.schema LIMIT 1",
								 2, params) > 0;
	if (found)
	{
		oldcxt = MemoryContextSwitchTo(course->cxt);
		course->now.place = dbp_sql_text(0, 0);
		course->now.tenant = dbp_sql_text(0, 1);
		course->now.wall = course->now.tenant != NULL && DatumGetBool(dbp_sql_value(0, 2, NULL));
		MemoryContextSwitchTo(oldcxt);
	}
	dbp_leave_owner(&scope);
	return found;
}

/*
 * is_due locks a schema and tells whether it is still to be migrated.
 */
static bool
is_due(const Migration *migration, Oid schema)
{
	DbpOwnerScope scope;
	DbpParam	params[2];
	bool		done;

	LockDatabaseObject(NamespaceRelationId, schema, 0, ShareUpdateExclusiveLock);
	if (get_namespace_oid(migration->place, true) != schema)
		return false;
	params[0] = DBP_PARAM(TEXTOID, CStringGetTextDatum(migration->place));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(migration->version));
	dbp_tenant_enter_ours(&scope);
	done = dbp_sql_query_latest("SELECT FROM _dbpatterns.tenant_migration"
								" WHERE place = $1::name AND version = $2 AND state = 'done'", 2, params) > 0;
	dbp_leave_owner(&scope);
	return !done;
}

static void
write_down(const Migration *migration, const ErrorData *error)
{
	DbpOwnerScope scope;
	DbpParam	params[5];

	params[0] = DBP_PARAM(TEXTOID, CStringGetTextDatum(migration->place));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(migration->version));
	params[2] = DBP_PARAM(TEXTOID, CStringGetTextDatum(error != NULL ? "failed" : "done"));
	params[3] = DBP_PARAM_OR_NULL(TEXTOID, (Datum) 0, true);
	params[4] = params[3];
	if (error != NULL)
	{
		params[3] = DBP_PARAM(TEXTOID, CStringGetTextDatum(unpack_sql_state(error->sqlerrcode)));
		params[4] = DBP_PARAM(TEXTOID, CStringGetTextDatum(error->message));
	}
	dbp_tenant_enter_ours(&scope);
	dbp_sql_query("INSERT INTO _dbpatterns.tenant_migration (place, version, state, sqlstate, error)"
				  " VALUES ($1::name, $2, $3, $4, $5) ON CONFLICT (place, version) DO UPDATE"
				  " SET state = excluded.state, sqlstate = excluded.sqlstate, error = excluded.error,"
				  "  finished_at = excluded.finished_at", 5, params);
	dbp_leave_owner(&scope);
}

static void
run(const char *sql)
{
	int			result = SPI_execute(sql, false, 0);

	if (result == SPI_ERROR_TRANSACTION)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("a migration cannot begin or end transactions"),
				 errhint("Each schema has a transaction of its own already.")));
	if (result < 0)
		elog(ERROR, "SPI_execute failed: %s", SPI_result_code_string(result));
}

/*
 * migrate runs a migration, and gives new tables of a tenant their wall.
 */
static void
migrate(void *arg)
{
	Migration  *migration = arg;
	DbpOwnerScope scope;

	dbp_enter_caller(&scope);
	(void) set_config_option("search_path", psprintf("%s, public, pg_temp", quote_identifier(migration->place)),
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	run(migration->sql);
	dbp_leave_owner(&scope);
	if (migration->wall)
		dbp_tenant_protect_schema(get_namespace_oid(migration->place, false), migration->tenant);
	write_down(migration, NULL);
}

/*
 * migrate_next migrates the next schema, and returns false if there is none.
 */
static bool
migrate_next(Course *course, bool stop)
{
	ErrorData  *error;
	Oid			schema;
	MemoryContext oldcxt;

	if (!next_place(course))
		return false;
	schema = get_namespace_oid(course->now.place, true);
	if (OidIsValid(schema) && !is_due(&course->now, schema))
		return true;
	error = dbp_attempt(migrate, &course->now, true);
	if (error == NULL)
		return true;
	write_down(&course->now, error);
	oldcxt = MemoryContextSwitchTo(course->cxt);
	course->failed = lappend(course->failed, course->now.place);
	if (course->first_error == NULL)
		course->first_error = psprintf("%s: %s", course->now.place, error->message);
	MemoryContextSwitchTo(oldcxt);
	return !stop;
}

static void
require_own_transaction(FunctionCallInfo fcinfo)
{
	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("tenant_migrate cannot run inside a transaction block"),
				 errhint("It commits after each schema, so that it can go on where it stopped.")));
}

/*
 * tenant_migrate(version text, sql text, on_error text, batch integer) runs SQL in the schema
 * of each tenant, after those that are their templates, and commits after each.
 *
 * version: what the migration is called; schemas that have it are left out, so the
 * same call goes on where an error, a crash or the batch ended it.  sql: statements, run with
 * the caller's rights and the schema and public in search_path; tables without a schema
 * are the tenant's.  on_error: "stop" with the error at the first schema that fails, or "skip"
 * it and warn at the end.  batch: at most so many schemas; NULL for all.  Raises
 * 22004 and 22023 for arguments, 25001 inside a transaction block, 55000 for a version that was
 * other SQL, and with "stop" 55000 when a schema failed.  Locks one schema at a time against DROP and
 * other calls.  Runs as the caller.
 */
Datum
dbpatterns_tenant_migrate(PG_FUNCTION_ARGS)
{
	Course		course = {0};
	bool		stop;
	int64		most;
	int64		done = 0;

	dbp_require_words(fcinfo, 0, "version", "Give the migration a name.");
	dbp_require_words(fcinfo, 1, "sql", "Give the statements to run.");
	stop = !dbp_choose_argument(fcinfo, 2, "on_error", "stop", "skip");
	most = PG_ARGISNULL(3) ? PG_INT64_MAX : PG_GETARG_INT32(3);
	if (most < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value of argument \"batch\": " INT64_FORMAT, most),
				 errhint("Give how many schemas to migrate, or NULL for all.")));
	require_own_transaction(fcinfo);
	dbp_check_version();
	course.now.version = text_to_cstring(PG_GETARG_TEXT_PP(0));
	course.now.sql = text_to_cstring(PG_GETARG_TEXT_PP(1));
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	course.cxt = CurrentMemoryContext;
	require_version(&course.now);
	dbp_progress_start("tenant_migrate", course.now.version, -1);
	SPI_commit();
	EnsurePortalSnapshotExists();
	while (done < most && migrate_next(&course, stop))
	{
		dbp_progress_update(++done);
		SPI_commit();
		EnsurePortalSnapshotExists();
	}
	dbp_progress_end();
	SPI_commit();
	EnsurePortalSnapshotExists();
	if (course.first_error != NULL)
		ereport(stop ? ERROR : WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("version \"%s\" failed in %d schemas", course.now.version,
						list_length(course.failed)),
				 errdetail("%s", course.first_error),
				 errhint("Mend them and make the same call again: it leaves out those that are done.")));
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * dbp_tenant_inherit_versions writes down that a clone has the versions of its template.
 */
void
dbp_tenant_inherit_versions(const char *template, const char *clone)
{
	DbpOwnerScope scope;
	DbpParam	params[2];

	params[0] = DBP_PARAM(TEXTOID, CStringGetTextDatum(template));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(clone));
	dbp_tenant_enter_ours(&scope);
	dbp_sql_query("INSERT INTO _dbpatterns.tenant_migration (place, version, state, finished_at)"
				  " SELECT $2::name, version, state, finished_at FROM _dbpatterns.tenant_migration"
				  " WHERE place = $1::name AND state = 'done' ON CONFLICT DO NOTHING", 2, params);
	dbp_leave_owner(&scope);
}

/*
 * dbp_tenant_forget_versions forgets those of a schema that is gone.
 */
void
dbp_tenant_forget_versions(const char *place)
{
	DbpOwnerScope scope;
	DbpParam	param = DBP_PARAM(TEXTOID, CStringGetTextDatum(place));

	dbp_tenant_enter_ours(&scope);
	dbp_sql_query("DELETE FROM _dbpatterns.tenant_migration WHERE place = $1::name", 1, &param);
	dbp_leave_owner(&scope);
}

/*-------------------------------------------------------------------------
 *
 * migrate.c
 *	  Migrations over all tenants that have a schema or a database of their own.
 *
 * Each place is migrated in a transaction of its own, which also writes down that it
 * was: so after a crash, or an error, the next call goes on with the first place that was
 * not.  A database has its own ledger for that; ours has a copy, which a crash may
 * leave behind until the next call asks again.  Templates come first, so that tenants that are
 * made meanwhile are born with the new version.  Two calls at once take turns at
 * each schema, by a lock on it that also keeps it from being dropped, and at each
 * database, by its ledger.
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
#include "core/task.h"
#include "core/version.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tcop/pquery.h"
#include "tenant/tenant.h"
#include "utils/builtins.h"
#include "utils/guc.h"

PG_FUNCTION_INFO_V1(dbpatterns_tenant_migrate);
PG_FUNCTION_INFO_V1(dbpatterns_tenant_migrate_here);

/* One migration of one place. */
typedef struct Migration
{
	char	   *version;
	char	   *sql;
	char	   *model;			/* schema or database */
	char	   *place;			/* its name */
	char	   *tenant;			/* NULL: a template */
	bool		wall;
} Migration;

/* A call. */
typedef struct Course
{
	char	   *version;
	char	   *sql;
	List	   *places;			/* Migrations to come */
	List	   *failed;			/* places, each behind its model */
	char	   *first_error;
	MemoryContext cxt;			/* outlives transactions */
} Course;

/*
 * require_version writes down what a version is.  It raises 55000 if it was something
 * else before, and some schema has that.
 */
static void
require_version(const char *version, const char *sql)
{
	DbpOwnerScope scope;
	DbpParam	params[2];

	params[0] = DBP_PARAM(TEXTOID, CStringGetTextDatum(version));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(sql));
	dbp_tenant_enter_ours(&scope);
	dbp_sql_query("INSERT INTO _dbpatterns.tenant_version (version, sql) VALUES ($1, $2)"
				  " ON CONFLICT (version) DO UPDATE SET sql = excluded.sql WHERE NOT EXISTS ("
				  "  SELECT FROM _dbpatterns.tenant_migration m WHERE m.version = $1 AND m.state = 'done')",
				  2, params);
	if (dbp_sql_query_latest("SELECT FROM _dbpatterns.tenant_version WHERE version = $1 AND sql = $2",
							 2, params) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("version \"%s\" is another migration", version),
				 errdetail("Some places have it already."),
				 errhint("Give a new version; what it was, _dbpatterns.tenant_version has.")));
	dbp_leave_owner(&scope);
}

/*
 * read_places reads which places are to be migrated next: templates first, then tenants by
 * id.
 */
static void
read_places(Course *course)
{
	DbpOwnerScope scope;
	DbpParam	params[2];
	MemoryContext oldcxt;
	uint64		rows;

	params[0] = DBP_PARAM(TEXTOID, CStringGetTextDatum(course->version));
	params[1] = dbp_texts_param(course->failed);
	dbp_tenant_enter_ours(&scope);
	rows = dbp_sql_query_latest("SELECT m.model, m.place, m.tenant, t.wall FROM dbpatterns.tenant_migrations m"
								" LEFT JOIN dbpatterns.tenant t ON t.id = m.tenant"
								" WHERE m.version = $1 AND m.state <> 'done' AND m.tenant_state <> 'deleting'"
								" AND m.model || ' ' || m.place <> ALL ($2)"
								" ORDER BY m.tenant NULLS FIRST, m.model, m.place LIMIT 1000",
								2, params);
	oldcxt = MemoryContextSwitchTo(course->cxt);
	for (uint64 i = 0; i < rows; i++)
	{
		Migration  *migration = palloc(sizeof(Migration));

		migration->version = course->version;
		migration->sql = course->sql;
		migration->model = dbp_sql_text(i, 0);
		migration->place = dbp_sql_text(i, 1);
		migration->tenant = dbp_sql_text(i, 2);
		migration->wall = migration->tenant != NULL && DatumGetBool(dbp_sql_value(i, 3, NULL));
		course->places = lappend(course->places, migration);
	}
	MemoryContextSwitchTo(oldcxt);
	dbp_leave_owner(&scope);
}

/*
 * is_due locks a schema and tells whether it is still to be migrated.
 */
static bool
is_due(const Migration *migration)
{
	Oid			schema = get_namespace_oid(migration->place, true);
	DbpOwnerScope scope;
	DbpParam	params[2];
	bool		done;

	if (!OidIsValid(schema))
		return true;

	LockDatabaseObject(NamespaceRelationId, schema, 0, ShareUpdateExclusiveLock);
	if (get_namespace_oid(migration->place, true) != schema)
		return false;
	params[0] = DBP_PARAM(TEXTOID, CStringGetTextDatum(migration->place));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(migration->version));
	dbp_tenant_enter_ours(&scope);
	done = dbp_sql_query_latest("SELECT FROM _dbpatterns.tenant_migration"
								" WHERE model = 'schema' AND place = $1::name AND version = $2 AND state = 'done'",
								2, params) > 0;
	dbp_leave_owner(&scope);
	return !done;
}

static void
write_down(const Migration *migration, const ErrorData *error)
{
	DbpOwnerScope scope;
	DbpParam	params[6];

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
	params[5] = DBP_PARAM(TEXTOID, CStringGetTextDatum(migration->model));
	dbp_tenant_enter_ours(&scope);
	dbp_sql_query("INSERT INTO _dbpatterns.tenant_migration (place, version, state, sqlstate, error, model)"
				  " VALUES ($1::name, $2, $3, $4, $5, $6) ON CONFLICT (model, place, version) DO UPDATE"
				  " SET state = excluded.state, sqlstate = excluded.sqlstate, error = excluded.error,"
				  "  finished_at = excluded.finished_at", 6, params);
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
 * migrate_schema runs a migration, and gives new tables of a tenant their wall.
 */
static void
migrate_schema(const Migration *migration)
{
	DbpOwnerScope scope;

	dbp_enter_caller(&scope);
	(void) set_config_option("search_path", psprintf("%s, public, pg_temp", quote_identifier(migration->place)),
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) get_namespace_oid(migration->place, false);
	run(migration->sql);
	dbp_leave_owner(&scope);
	if (migration->wall)
		dbp_tenant_protect_schema(get_namespace_oid(migration->place, false), migration->tenant);
}

/*
 * migrate runs a migration, and writes down that it was.
 */
static void
migrate(void *arg)
{
	Migration  *migration = arg;

	if (strcmp(migration->model, "schema") == 0)
		migrate_schema(migration);
	else
		dbp_task_run(migration->place, false,
					 psprintf("SELECT dbpatterns.tenant_migrate_here(%s, %s)",
							  quote_literal_cstr(migration->version),
							  quote_literal_cstr(migration->sql)));
	write_down(migration, NULL);
}

static void
note_failure(Course *course, const Migration *migration, const ErrorData *error)
{
	MemoryContext oldcxt = MemoryContextSwitchTo(course->cxt);

	course->failed = lappend(course->failed, psprintf("%s %s", migration->model, migration->place));
	if (course->first_error == NULL)
		course->first_error = psprintf("%s: %s", migration->place, error->message);
	MemoryContextSwitchTo(oldcxt);
}

/*
 * migrate_place migrates a place, unless another call has done so meanwhile.
 */
static void
migrate_place(Course *course, Migration *migration)
{
	ErrorData  *error;

	if (strcmp(migration->model, "schema") == 0 && !is_due(migration))
		return;
	error = dbp_attempt(migrate, migration, true);
	if (error == NULL)
		return;
	write_down(migration, error);
	note_failure(course, migration, error);
}

/*
 * migrate_next migrates the next place, and returns false if there is none.  What that takes
 * of memory goes with the inner connection.
 */
static bool
migrate_next(Course *course)
{
	SPI_connect();
	if (course->places == NIL)
		read_places(course);
	if (course->places == NIL)
	{
		SPI_finish();
		return false;
	}
	migrate_place(course, linitial(course->places));
	course->places = list_delete_first(course->places);
	SPI_finish();
	return true;
}

/*
 * tenant_migrate(version text, sql text, on_error text, batch integer) runs SQL in the schema
 * or database of each tenant, after those that are their templates, and commits after each.
 *
 * version: what the migration is called; places that have it are left out, so the
 * same call goes on where an error, a crash or the batch ended it.  sql: statements, run with
 * the caller's rights; in a schema with it and public in search_path, in a database by
 * a background worker.  on_error: "stop" with the error at the first place that fails, or
 * "skip" it and warn at the end.  batch: at most so many places; NULL for all.  Raises
 * 22004 and 22023 for arguments, 25001 inside a transaction block, 55000 for a version that was
 * other SQL, and with "stop" 55000 when a place failed.  Locks one schema at a time against
 * DROP and other calls.  Runs as the caller.
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
				 errhint("Give how many places to migrate, or NULL for all.")));
	dbp_require_own_transaction(fcinfo, "tenant_migrate");
	dbp_check_version();
	course.version = text_to_cstring(PG_GETARG_TEXT_PP(0));
	course.sql = text_to_cstring(PG_GETARG_TEXT_PP(1));
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	course.cxt = CurrentMemoryContext;
	require_version(course.version, course.sql);
	dbp_progress_start("tenant_migrate", course.version, -1);
	SPI_commit();
	EnsurePortalSnapshotExists();
	while (done < most && !(stop && course.failed != NIL) && migrate_next(&course))
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
				 errmsg("version \"%s\" failed in %d places", course.version,
						list_length(course.failed)),
				 errdetail("%s", course.first_error),
				 errhint("Mend them and make the same call again: it leaves out those that are done.")));
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * tenant_migrate_here(version text, sql text) runs a migration in this database, unless it was
 * before, and returns whether it did.
 *
 * For tenant_migrate, which calls it in the databases of tenants.  Raises 22004 and 22023 for
 * arguments, 55000 for a version that was other SQL, and what the SQL raises.  Another
 * call for the same version waits.  Runs as the caller.
 */
Datum
dbpatterns_tenant_migrate_here(PG_FUNCTION_ARGS)
{
	char	   *sql;
	DbpOwnerScope scope;
	DbpParam	param;
	bool		due;

	dbp_require_words(fcinfo, 0, "version", "Give the migration a name.");
	dbp_require_words(fcinfo, 1, "sql", "Give the statements to run.");
	dbp_check_version();
	sql = text_to_cstring(PG_GETARG_TEXT_PP(1));
	param = DBP_PARAM(TEXTOID, PG_GETARG_DATUM(0));
	SPI_connect();
	require_version(text_to_cstring(PG_GETARG_TEXT_PP(0)), sql);
	dbp_tenant_enter_ours(&scope);
	/* Without the database's name, which is another one in a copy of it. */
	due = dbp_sql_query("INSERT INTO _dbpatterns.tenant_migration (model, place, version, state)"
						" VALUES ('here', '', $1, 'done') ON CONFLICT (model, place, version) DO NOTHING",
						1, &param) > 0;
	dbp_leave_owner(&scope);
	if (due)
		run(sql);
	SPI_finish();
	PG_RETURN_BOOL(due);
}

/*
 * dbp_tenant_inherit_versions writes down that a clone has the versions of its template.
 */
void
dbp_tenant_inherit_versions(const char *model, const char *template, const char *clone)
{
	DbpOwnerScope scope;
	DbpParam	params[3];

	params[0] = DBP_PARAM(TEXTOID, CStringGetTextDatum(template));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(clone));
	params[2] = DBP_PARAM(TEXTOID, CStringGetTextDatum(model));
	dbp_tenant_enter_ours(&scope);
	dbp_sql_query("INSERT INTO _dbpatterns.tenant_migration (model, place, version, state, finished_at)"
				  " SELECT $3, $2::name, version, state, finished_at FROM _dbpatterns.tenant_migration"
				  " WHERE model = $3 AND place = $1::name AND state = 'done' ON CONFLICT DO NOTHING", 3, params);
	dbp_leave_owner(&scope);
}

/*
 * dbp_tenant_forget_versions forgets those of a place that is gone.
 */
void
dbp_tenant_forget_versions(const char *model, const char *place)
{
	DbpOwnerScope scope;
	DbpParam	params[2];

	params[0] = DBP_PARAM(TEXTOID, CStringGetTextDatum(model));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(place));
	dbp_tenant_enter_ours(&scope);
	dbp_sql_query("DELETE FROM _dbpatterns.tenant_migration WHERE model = $1 AND place = $2::name", 2, params);
	dbp_leave_owner(&scope);
}

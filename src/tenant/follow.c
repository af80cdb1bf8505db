/*-------------------------------------------------------------------------
 *
 * follow.c
 *	  New tables, and what is taken from isolated ones.
 *
 * What comes below an isolated table is isolated as it comes, whatever the settings:
 * its rows are rows of that table.  All else is as dbpatterns.tenant_new_tables says: nothing
 * (off), a WARNING (warn), it is put right where it can be and refused where it cannot
 * (protect), or refused (reject).
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/follow.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_type.h"
#include "core/ddl.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/registry.h"
#include "core/sql.h"
#include "nodes/parsenodes.h"
#include "tcop/deparse_utility.h"
#include "tenant/tenant.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

static bool paused = false;

/*
 * dbp_tenant_pause_following says whether commands are ours and need not be
 * followed, and returns what was said before.
 */
bool
dbp_tenant_pause_following(bool pause)
{
	bool		before = paused;

	paused = pause;
	return before;
}

/*
 * isolated_above returns the isolated table that a table is, or is below, and
 * InvalidOid if there is none.
 */
static Oid
isolated_above(Oid relid)
{
	DbpOwnerScope scope;
	DbpParam	param = DBP_PARAM(OIDOID, ObjectIdGetDatum(relid));
	Oid			found = InvalidOid;

	dbp_tenant_enter_ours(&scope);
	if (dbp_sql_query_latest("WITH RECURSIVE above (relid, n) AS (SELECT $1, 0"
							 " UNION SELECT i.inhparent, n + 1 FROM above a JOIN pg_inherits i ON i.inhrelid = a.relid)"
							 " SELECT a.relid FROM above a JOIN _dbpatterns.registry g ON g.target = a.relid"
							 " WHERE g.pattern = 'tenant' ORDER BY n DESC LIMIT 1", 1, &param) > 0)
		found = DatumGetObjectId(dbp_sql_value(0, 0, NULL));
	dbp_leave_owner(&scope);
	return found;
}

/*
 * What a command does that concerns us.  All else is left alone: in a restore, tables
 * that the registry has already are altered before they get their policies.
 */
typedef struct Happening
{
	bool		is_new;			/* a table was made, or came into its schema */
	bool		arrives;		/* one came below another */
	bool		leaves;			/* it is below it no more */
	bool		weakens;		/* something was taken from one */
} Happening;

static void
look_at_subcommand(Happening *what, AlterTableCmd *command)
{
	switch (command->subtype)
	{
		case AT_AttachPartition:
		case AT_AddInherit:
			what->arrives = true;
			break;
		case AT_DetachPartition:
		case AT_DetachPartitionFinalize:
		case AT_DropInherit:
			what->leaves = true;
			break;
		case AT_DisableRowSecurity:
		case AT_NoForceRowSecurity:
		case AT_DropColumn:
		case AT_DropNotNull:
			what->weakens = true;
			break;
		case AT_ColumnDefault:
			what->weakens |= command->def == NULL;
			break;
		default:
			break;
	}
}

/*
 * what_happens tells what the present command does.  command: its tag.  Caller: SPI
 * connected.
 */
static Happening
what_happens(const char *command)
{
	Happening	what = {0};
	uint64		rows = dbp_sql_query("SELECT command FROM pg_catalog.pg_event_trigger_ddl_commands()"
									 " WHERE NOT in_extension", 0, NULL);

	what.is_new = strcmp(command, "CREATE TABLE") == 0 || strcmp(command, "CREATE TABLE AS") == 0 ||
		strcmp(command, "SELECT INTO") == 0 || strcmp(command, "CREATE SCHEMA") == 0 ||
		strcmp(command, "CREATE FOREIGN TABLE") == 0;
	what.arrives = what.is_new;
	for (uint64 i = 0; i < rows; i++)
	{
		void	   *value = DatumGetPointer(dbp_sql_value(i, 0, NULL));
		CollectedCommand *collected = value;
		ListCell   *lc;

		if (collected->type == SCT_Simple && collected->parsetree != NULL)
		{
			what.is_new |= IsA(collected->parsetree, AlterObjectSchemaStmt);
			what.weakens |= IsA(collected->parsetree, AlterPolicyStmt);
		}
		else if (collected->type == SCT_AlterTable)
		{
			foreach(lc, collected->d.alterTable.subcmds)
			{
				CollectedATSubcmd *sub = lfirst(lc);

				look_at_subcommand(&what, castNode(AlterTableCmd, sub->parsetree));
			}
		}
	}
	return what;
}

static void
refuse(int elevel, Oid relid, const char *why, const char *hint)
{
	ereport(elevel,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table %s %s", dbp_relation_name_by_oid(relid), why),
			 errhint("%s", hint)));
}

static bool
has_column(Oid relid, const char *column)
{
	return get_attnum(relid, column) != InvalidAttrNumber;
}

/*
 * look_below isolates what came below an isolated table.
 */
static void
look_below(const TenantSpec *spec, Oid relid)
{
	TenantScript script = {false, false, NIL, 0, CurrentMemoryContext};
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relid, AccessExclusiveLock, NULL))
		dbp_tenant_protect(&script, spec, lfirst_oid(lc),
						   lfirst_oid(lc) == relid && !get_rel_relispartition(relid));
}

/*
 * look_at_isolated sees to it that an isolated table, or one below, still has what it
 * needs.
 */
static void
look_at_isolated(const TenantSpec *spec, Oid relid)
{
	bool		protect = dbp_tenant_new_tables == TENANT_NEW_PROTECT;
	TenantScript script = {!protect, false, NIL, 0, CurrentMemoryContext};

	if (dbp_tenant_new_tables == TENANT_NEW_OFF)
		return;
	if (!has_column(relid, spec->column))
	{
		refuse(dbp_tenant_new_tables == TENANT_NEW_WARN ? WARNING : ERROR, relid,
			   "would not be isolated any more",
			   "Call dbpatterns.tenant_disable before dropping the tenant's column.");
		return;
	}
	dbp_tenant_protect(&script, spec, relid, !get_rel_relispartition(relid));
	if (script.commands == NIL)
		return;
	if (protect)
		ereport(NOTICE,
				(errmsg("table %s stays isolated", dbp_relation_name_by_oid(relid)),
				 errdetail("What was taken from it is there again."),
				 errhint("Call dbpatterns.tenant_disable to end its isolation.")));
	else
		refuse(dbp_tenant_new_tables == TENANT_NEW_WARN ? WARNING : ERROR, relid,
			   "would not be isolated any more", "Call dbpatterns.tenant_disable to end its isolation.");
}

/*
 * enable_as_its_schema isolates a table as the others of its schema.  The cover has been
 * read; relid has the column.
 */
static void
enable_as_its_schema(Oid relid)
{
	DbpParam	params[5];

	params[0] = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(relid));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(dbp_sql_text(0, 0)));
	params[2] = DBP_PARAM(TEXTOID, CStringGetTextDatum(dbp_sql_text(0, 1)));
	params[3] = DBP_PARAM(TEXTOID, CStringGetTextDatum(dbp_sql_text(0, 2)));
	params[4] = DBP_PARAM(BOOLOID, dbp_sql_value(0, 3, NULL));
	dbp_sql_query("SELECT dbpatterns.tenant_enable($1, $2::name, on_missing => $3, form => $4, fix_keys => $5)",
				  5, params);
}

/*
 * look_at_new sees to it that a table in a covered schema is isolated or exempt.
 */
static void
look_at_new(Oid relid, bool is_new)
{
	int			elevel = dbp_tenant_new_tables != TENANT_NEW_WARN && is_new ? ERROR : WARNING;
	const char *why = "is in a schema of tenants and not isolated";
	DbpOwnerScope scope;
	char	   *schema = get_namespace_name(get_rel_namespace(relid));
	DbpParam	param = DBP_PARAM(TEXTOID, CStringGetTextDatum(schema));
	bool		covered;

	if (dbp_tenant_new_tables == TENANT_NEW_OFF || dbp_tenant_is_exempt(relid))
		return;
	dbp_tenant_enter_ours(&scope);
	covered = dbp_sql_query("SELECT tenant_column, on_missing, form, fix_keys FROM _dbpatterns.tenant_schema"
							" WHERE schema = $1", 1, &param) > 0;
	dbp_leave_owner(&scope);
	if (!covered)
		return;
	if (dbp_tenant_new_tables == TENANT_NEW_PROTECT && has_column(relid, dbp_sql_text(0, 0)))
		enable_as_its_schema(relid);
	else
		refuse(elevel, relid, why,
			   "Call dbpatterns.tenant_enable or, for a table that tenants share, dbpatterns.tenant_exempt; first set dbpatterns.tenant_new_tables to warn.");
}

/*
 * look_at sees to a table that a command made or changed.
 */
static void
look_at(Oid relid, const Happening *what)
{
	char		kind = get_rel_relkind(relid);
	Oid			nsp = get_rel_namespace(relid);
	TenantSpec	spec;
	Oid			above;

	if (kind == '\0' || isAnyTempNamespace(nsp) || nsp == get_namespace_oid("_dbpatterns", true))
		return;
	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE &&
		!(kind == RELKIND_FOREIGN_TABLE && get_rel_relispartition(relid)))
		return;
	above = isolated_above(relid);
	if (OidIsValid(above))
	{
		(void) dbp_tenant_read_spec(above, &spec);
		if (above != relid && what->arrives && has_column(relid, spec.column))
			look_below(&spec, relid);
		else if (what->weakens)
			look_at_isolated(&spec, relid);
	}
	else if ((what->is_new || what->leaves) && kind != RELKIND_FOREIGN_TABLE &&
			 !get_rel_relispartition(relid))
		look_at_new(relid, what->is_new);
}

/*
 * follow looks at tables with search_path pinned; commands it runs itself are not
 * followed.  command: the tag, NULL when policies were dropped.
 */
static void
follow(List *relids, const char *command)
{
	Happening	what = {.weakens = true};
	bool		before;
	DbpOwnerScope scope;
	ListCell   *lc;

	if (paused)
		return;
	before = dbp_tenant_pause_following(true);
	PG_TRY();
	{
		SPI_connect();
		dbp_enter_caller(&scope);
		if (command != NULL)
			what = what_happens(command);
		foreach(lc, relids)
			look_at(lfirst_oid(lc), &what);
		dbp_leave_owner(&scope);
		SPI_finish();
	}
	PG_FINALLY();
	{
		dbp_tenant_pause_following(before);
	}
	PG_END_TRY();
}

static void
after_ddl(const char *command, List *relids)
{
	follow(relids, command);
}

/*
 * A column of an isolated table has another name: policies know it by its number.
 */
static void
after_rename(Oid relid, bool column, const char *old_name, const char *new_name)
{
	TenantSpec	spec;

	if (!column)
		return;
	SPI_connect();
	if (dbp_tenant_read_spec(relid, &spec))
	{
		bool		is_tenant = strcmp(spec.column, old_name) == 0;
		bool		is_user = spec.user_column != NULL && strcmp(spec.user_column, old_name) == 0;

		if (is_tenant)
			spec.column = pstrdup(new_name);
		if (is_user)
			spec.user_column = pstrdup(new_name);
		if (is_tenant || is_user)
			dbp_registry_set(relid, "tenant", dbp_tenant_spec_options(&spec));
	}
	SPI_finish();
}

static void
forget_exemption(Oid relid)
{
	DbpOwnerScope scope;
	DbpParam	param = DBP_PARAM(OIDOID, ObjectIdGetDatum(relid));

	SPI_connect();
	dbp_tenant_enter_ours(&scope);
	dbp_sql_query("DELETE FROM _dbpatterns.tenant_exempt WHERE target::oid = $1", 1, &param);
	dbp_leave_owner(&scope);
	SPI_finish();
}

static void
after_drop(List *dropped)
{
	List	   *relids = NIL;
	ListCell   *lc;

	foreach(lc, dropped)
	{
		DbpDropped *object = lfirst(lc);

		if (object->classid == RelationRelationId)
			forget_exemption(object->objid);
		else if (object->classid == PolicyRelationId && OidIsValid(object->relid))
			relids = list_append_unique_oid(relids, object->relid);
	}
	if (relids != NIL)
		follow(relids, NULL);
}

/*
 * dbp_tenant_follow_init registers for commands.
 */
void
dbp_tenant_follow_init(void)
{
	dbp_ddl_register(after_ddl, after_drop, NULL, after_rename);
}

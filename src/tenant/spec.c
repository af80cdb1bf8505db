/*-------------------------------------------------------------------------
 *
 * spec.c
 *	  How a table is isolated.
 *
 * A spec comes from the arguments of tenant_enable and the settings, or from the
 * options that the registry has kept of them.  The condition of the policies is
 * one equality of a plain column and a getter of its type, so that it is an index
 * condition, and so simple that it can be read.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/spec.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat/compat.h"
#include "core/argument.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/sql.h"
#include "catalog/namespace.h"
#include "tenant/tenant.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"

/*
 * column_type returns the type of the getter that a column is compared with.
 * Raises 42703, 42804 for a column of another type, 0A000 for one that is
 * computed, or whose collation takes different strings for equal.
 */
static char *
column_type(Relation rel, const char *column)
{
	AttrNumber	attnum = dbp_column_number(rel, column);
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	char	   *why = NULL;

	if (att->attgenerated != '\0')
		why = "is generated";
	else if (att->attidentity != '\0')
		why = "is an identity column";
	else if (OidIsValid(att->attcollation) && !get_collation_isdeterministic(att->attcollation))
		why = "has a collation that takes different strings for equal";
	if (why != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("column \"%s\" of table %s %s", column, dbp_relation_name(rel), why),
				 errhint("Name a plain column of type uuid, bigint, integer or text.")));
	switch (getBaseType(att->atttypid))
	{
		case UUIDOID:
			return "uuid";
		case INT8OID:
			return "bigint";
		case INT4OID:
			return "integer";
		case TEXTOID:
		case VARCHAROID:
			return "text";
		default:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of table %s is of type %s", column,
							dbp_relation_name(rel), format_type_be(att->atttypid)),
					 errhint("Ids of tenants and users are uuid, bigint, integer or text.")));
			return NULL;		/* keep the compiler quiet */
	}
}

/*
 * partitioned_by tells whether a column is in the partition key of a table.
 */
static bool
partitioned_by(Relation rel, const char *column)
{
	AttrNumber	attnum = dbp_column_number(rel, column);
	PartitionKey key = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ?
		RelationGetPartitionKey(rel) : NULL;

	for (int i = 0; key != NULL && i < key->partnatts; i++)
	{
		if (key->partattrs[i] == attnum)
			return true;
	}
	return false;
}

/*
 * dbp_tenant_complete_spec adds to a spec what the table and the settings say.  form:
 * of the policies, "auto", "initplan" or "bare".
 *
 * A condition that calls the getter in place prunes partitions before the first
 * row is asked for; a subquery is computed once and is the same in every plan.
 */
void
dbp_tenant_complete_spec(TenantSpec *spec, Relation rel, const char *form)
{
	ListCell   *lc;

	spec->type = column_type(rel, spec->column);
	if (spec->user_column != NULL)
		spec->user_type = column_type(rel, spec->user_column);
	if (strcmp(form, "auto") == 0)
		spec->bare = partitioned_by(rel, spec->column);
	else
		spec->bare = strcmp(form, "bare") == 0;
	spec->roles = dbp_tenant_application_roles();
	spec->admin = dbp_tenant_admin_role();
	foreach(lc, spec->roles)
	{
		if (strcmp(lfirst(lc), "public") != 0)
			(void) get_role_oid(lfirst(lc), false);
		else if (spec->admin != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("role \"%s\" cannot administer tenants while policies are for all roles",
							spec->admin),
					 errhint("Name the roles of applications in dbpatterns.tenant_application_roles.")));
	}
	if (spec->admin != NULL)
		(void) get_role_oid(spec->admin, false);
}

static const char *
suffix(const char *type)
{
	if (strcmp(type, "uuid") == 0)
		return "_uuid";
	if (strcmp(type, "bigint") == 0)
		return "_bigint";
	return strcmp(type, "integer") == 0 ? "_int" : "";
}

/*
 * dbp_tenant_getter returns the call of the getter that fills a column.
 */
char *
dbp_tenant_getter(const TenantSpec *spec)
{
	return psprintf("dbpatterns.current_tenant%s()", suffix(spec->type));
}

static char *
equality(const TenantSpec *spec, const char *column, const char *getter, const char *type)
{
	return psprintf("%s OPERATOR(pg_catalog.=) %sdbpatterns.%s%s()%s",
					quote_identifier(column), spec->bare ? "" : "(SELECT ", getter,
					suffix(type), spec->bare ? "" : ")");
}

/*
 * dbp_tenant_equality returns the condition of the tenant's policy.
 */
char *
dbp_tenant_equality(const TenantSpec *spec)
{
	return equality(spec, spec->column,
					spec->on_missing_error ? "require_tenant" : "current_tenant", spec->type);
}

/*
 * dbp_tenant_user_equality returns the condition of the user's policy.
 */
char *
dbp_tenant_user_equality(const TenantSpec *spec)
{
	return equality(spec, spec->user_column, "current_user_id", spec->user_type);
}

static void
put_string(StringInfo out, const char *name, const char *value)
{
	appendStringInfo(out, "%s\"%s\": ", out->len > 1 ? ", " : "", name);
	if (value == NULL)
		appendStringInfoString(out, "null");
	else
		escape_json(out, value);
}

/*
 * dbp_tenant_spec_options returns what the registry keeps of a spec: a JSON object.
 */
char *
dbp_tenant_spec_options(const TenantSpec *spec)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	put_string(&out, "column", spec->column);
	put_string(&out, "type", spec->type);
	put_string(&out, "user_column", spec->user_column);
	put_string(&out, "user_type", spec->user_type);
	put_string(&out, "on_missing", spec->on_missing_error ? "error" : "deny");
	put_string(&out, "form", spec->bare ? "bare" : "initplan");
	dbp_argument_print_names(&out, "roles", spec->roles);
	put_string(&out, "admin", spec->admin);
	appendStringInfo(&out, ", \"before\": {\"rls\": %s, \"force\": %s}}",
					 spec->had_rls ? "true" : "false", spec->had_force ? "true" : "false");
	return out.data;
}

/* What take_spec takes. */
#define SPECS \
	"SELECT r.target::oid, r.options ->> 'column', r.options ->> 'type', r.options ->> 'user_column'," \
	" r.options ->> 'user_type', r.options ->> 'on_missing', r.options ->> 'form'," \
	" r.options ->> 'admin', r.options #>> '{before,rls}', r.options #>> '{before,force}'," \
	" ARRAY(SELECT jsonb_array_elements_text(r.options -> 'roles'))::name[]" \
	" FROM _dbpatterns.registry r WHERE r.pattern = 'tenant'"

static void
take_spec(uint64 row, TenantSpec *spec)
{
	memset(spec, 0, sizeof(TenantSpec));
	spec->relid = DatumGetObjectId(dbp_sql_value(row, 0, NULL));
	spec->column = dbp_sql_text(row, 1);
	spec->type = dbp_sql_text(row, 2);
	spec->user_column = dbp_sql_text(row, 3);
	spec->user_type = dbp_sql_text(row, 4);
	spec->on_missing_error = strcmp(dbp_sql_text(row, 5), "error") == 0;
	spec->bare = strcmp(dbp_sql_text(row, 6), "bare") == 0;
	spec->admin = dbp_sql_text(row, 7);
	spec->had_rls = strcmp(dbp_sql_text(row, 8), "true") == 0;
	spec->had_force = strcmp(dbp_sql_text(row, 9), "true") == 0;
	spec->roles = dbp_column_list(DatumGetArrayTypePCopy(dbp_sql_value(row, 10, NULL)), "roles");
}

/*
 * dbp_tenant_read_spec reads how a table is isolated, and returns false if it is
 * not.  Caller: SPI connected.
 */
bool
dbp_tenant_read_spec(Oid relid, TenantSpec *spec)
{
	MemoryContext cxt = CurrentMemoryContext;
	MemoryContext oldcxt;
	DbpOwnerScope scope;
	DbpParam	param = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(relid));
	bool		found;

	dbp_tenant_enter_ours(&scope);
	found = dbp_sql_query_latest(SPECS " AND r.target = $1", 1, &param) > 0;
	oldcxt = MemoryContextSwitchTo(cxt);
	if (found)
		take_spec(0, spec);
	MemoryContextSwitchTo(oldcxt);
	dbp_leave_owner(&scope);
	return found;
}

/*
 * dbp_tenant_read_specs reads how all isolated tables are isolated, by OID.  Caller: as
 * above.
 */
TenantSpec *
dbp_tenant_read_specs(int *n)
{
	MemoryContext cxt = CurrentMemoryContext;
	MemoryContext oldcxt;
	DbpOwnerScope scope;
	TenantSpec *specs;

	dbp_tenant_enter_ours(&scope);
	*n = dbp_sql_query_latest(SPECS " ORDER BY r.target::oid", 0, NULL);
	oldcxt = MemoryContextSwitchTo(cxt);
	specs = palloc(sizeof(TenantSpec) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
		take_spec(i, &specs[i]);
	MemoryContextSwitchTo(oldcxt);
	dbp_leave_owner(&scope);
	return specs;
}

/*-------------------------------------------------------------------------
 *
 * life.c
 *	  Listing, suspending and resuming tenants.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/life.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/owner.h"
#include "core/sql.h"
#include "core/target.h"
#include "fmgr.h"
#include "tenant/tenant.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

PG_FUNCTION_INFO_V1(dbpatterns_tenant_create);
PG_FUNCTION_INFO_V1(dbpatterns_tenant_suspend);
PG_FUNCTION_INFO_V1(dbpatterns_tenant_resume);

static void
refuse_limits(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid limits of a tenant: %s", what),
			 errhint("As in {\"statement_timeout\": \"5s\", \"work_mem\": \"16MB\", \"max_rows\": 10000}.")));
}

/*
 * check_setting raises 22023 unless a value could be that of a setting.
 */
static void
check_setting(const char *name, JsonbValue *value)
{
	char	   *text_value;

	if (value->type != jbvString || value->val.string.len >= TENANT_LIMIT_SIZE)
		refuse_limits(psprintf("\"%s\" is not a string", name));
	text_value = pnstrdup(value->val.string.val, value->val.string.len);
	(void) set_config_option(name, text_value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL,
							 false, ERROR, false);
}

static void
check_max_rows(JsonbValue *value)
{
	Datum		zero = NumericGetDatum(int64_to_numeric(0));
	Datum		most = NumericGetDatum(int64_to_numeric(PG_INT64_MAX / 2));
	Datum		rows;
	Datum		floored;

	if (value->type != jbvNumeric)
		refuse_limits("\"max_rows\" is not a number");
	rows = NumericGetDatum(value->val.numeric);
	floored = DirectFunctionCall1(numeric_floor, rows);
	if (!DatumGetBool(DirectFunctionCall2(numeric_gt, rows, zero)) ||
		!DatumGetBool(DirectFunctionCall2(numeric_lt, rows, most)) ||
		!DatumGetBool(DirectFunctionCall2(numeric_eq, rows, floored)))
		refuse_limits("\"max_rows\" is not a number of rows");
}

/*
 * dbp_tenant_check_limits raises 22023 for what is no limit that we know.
 */
void
dbp_tenant_check_limits(Jsonb *limits)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(limits))
		refuse_limits("not an object");
	it = JsonbIteratorInit(&limits->root);
	(void) JsonbIteratorNext(&it, &key, true);
	while ((token = JsonbIteratorNext(&it, &key, true)) == WJB_KEY)
	{
		char	   *name = pnstrdup(key.val.string.val, key.val.string.len);

		(void) JsonbIteratorNext(&it, &value, true);
		if (strcmp(name, "statement_timeout") == 0 || strcmp(name, "work_mem") == 0)
			check_setting(name, &value);
		else if (strcmp(name, "max_rows") == 0)
			check_max_rows(&value);
		else
			refuse_limits(psprintf("\"%s\" is not known", name));
	}
}

/*
 * tenant_create(tenant text, slug name, limits jsonb) lists a tenant, or changes its slug
 * and limits.
 *
 * tenant: its id, as tokens name it.  slug: a short name that no other has, NULL for none.
 * limits: of each transaction, an object with statement_timeout and work_mem, as
 * settings are written, and max_rows, the most rows that a query or a FETCH may return.
 * From the first tenant on, those that are not listed are refused.  Raises 22004 for a NULL
 * tenant or limits, 22023 for an empty id and for limits that are none, 23505 for a slug that
 * another has.  Takes ROW EXCLUSIVE on dbpatterns.tenant; runs as the owner of that.
 */
Datum
dbpatterns_tenant_create(PG_FUNCTION_ARGS)
{
	DbpOwnerScope scope;
	DbpParam	params[3];

	dbp_require_words(fcinfo, 0, "tenant", "Give the id that tokens name.");
	dbp_require_argument(fcinfo, 2, "limits", "Give '{}' for no limits.");
	dbp_tenant_check_limits(PG_GETARG_JSONB_P(2));
	params[0] = DBP_PARAM(TEXTOID, PG_GETARG_DATUM(0));
	params[1] = DBP_PARAM_OR_NULL(NAMEOID, PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1),
								  PG_ARGISNULL(1));
	params[2] = DBP_PARAM(JSONBOID, PG_GETARG_DATUM(2));
	SPI_connect();
	dbp_tenant_enter_ours(&scope);
	dbp_sql_query("INSERT INTO dbpatterns.tenant (id, slug, limits) VALUES ($1, $2, $3)"
				  " ON CONFLICT (id) DO UPDATE SET slug = excluded.slug, limits = excluded.limits",
				  3, params);
	dbp_leave_owner(&scope);
	SPI_finish();
	PG_RETURN_VOID();
}

static void
set_state(FunctionCallInfo fcinfo, const char *state)
{
	DbpOwnerScope scope;
	DbpParam	params[2];
	uint64		rows;

	dbp_require_argument(fcinfo, 0, "tenant", "Name the tenant.");
	params[0] = DBP_PARAM(TEXTOID, PG_GETARG_DATUM(0));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(state));
	SPI_connect();
	dbp_tenant_enter_ours(&scope);
	rows = dbp_sql_query("UPDATE dbpatterns.tenant SET"
						 " state = CASE state WHEN 'deleting' THEN state ELSE $2 END"
						 " WHERE id = $1 RETURNING state = $2", 2, params);
	if (rows > 0 && !DatumGetBool(dbp_sql_value(0, 0, NULL)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("tenant \"%s\" has been deleted",
						text_to_cstring(PG_GETARG_TEXT_PP(0))),
				 errhint("dbpatterns.tenant_drop takes it off the list.")));
	dbp_leave_owner(&scope);
	SPI_finish();
	if (rows == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no tenant \"%s\"", text_to_cstring(PG_GETARG_TEXT_PP(0))),
				 errhint("List it with dbpatterns.tenant_create.")));
}

/*
 * tenant_suspend(tenant text) refuses new transactions of a tenant, from the commit on;
 * those that run go on.  tenant_resume(tenant text) admits them again.
 *
 * A second call changes nothing.  Raise 22004 for NULL, 42704 for a tenant that is not
 * listed, 55000 for one that has been purged.  Take ROW EXCLUSIVE on dbpatterns.tenant; run
 * as the owner of that.
 */
Datum
dbpatterns_tenant_suspend(PG_FUNCTION_ARGS)
{
	set_state(fcinfo, "suspended");
	PG_RETURN_VOID();
}

Datum
dbpatterns_tenant_resume(PG_FUNCTION_ARGS)
{
	set_state(fcinfo, "active");
	PG_RETURN_VOID();
}

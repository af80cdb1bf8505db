/*-------------------------------------------------------------------------
 *
 * admin.c
 *	  The way in for administrators of all tenants.
 *
 * Administrators see rows by a policy for their role alone, and only in a
 * transaction that said why.  What the tenants' policies ask for never changes.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/admin.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "core/owner.h"
#include "core/sql.h"
#include "core/target.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "tenant/tenant.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(dbpatterns_tenant_admin_begin);
PG_FUNCTION_INFO_V1(dbpatterns_tenant_is_admin);
PG_FUNCTION_INFO_V1(dbpatterns_tenant_lets_pass);

static void
write_log(const char *login, const char *role, const char *reason)
{
	DbpOwnerScope scope;
	DbpParam	params[3];

	params[0] = DBP_PARAM(TEXTOID, CStringGetTextDatum(login));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(role));
	params[2] = DBP_PARAM(TEXTOID, CStringGetTextDatum(reason));
	SPI_connect();
	dbp_tenant_enter_ours(&scope);
	dbp_sql_query("INSERT INTO _dbpatterns.tenant_admin_log (session_role, role, reason)"
				  " VALUES ($1, $2, $3)", 3, params);
	dbp_leave_owner(&scope);
	SPI_finish();
}

/*
 * tenant_admin_begin(reason text) lets this transaction see the rows of all
 * tenants, by the policies of the administrators' role.
 *
 * reason: why; not NULL or empty.  Written to dbpatterns.tenant_admin_log, which goes
 * with the transaction, and to the server's log, which does not; on a standby to
 * that alone.  Raises 25P01 and 55000 as tenant_begin does, 22004 and 22023 for no
 * reason, 42501 unless the current role has the rights of dbpatterns.tenant_admin_role.
 * Takes ROW EXCLUSIVE on the log, and writes there as its owner.
 */
Datum
dbpatterns_tenant_admin_begin(PG_FUNCTION_ARGS)
{
	TenantClaims nobody = {0};
	char	   *role = dbp_tenant_admin_role();
	char	   *login = GetUserNameFromId(GetSessionUserId(), false);
	char	   *user = GetUserNameFromId(GetUserId(), false);
	char	   *reason;

	dbp_tenant_require_unset("tenant_admin_begin");
	dbp_require_words(fcinfo, 0, "reason", "Say why.");
	reason = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (role == NULL || !has_privs_of_role(GetUserId(), get_role_oid(role, false)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" does not administer tenants", user),
				 errhint("Become the role that dbpatterns.tenant_admin_role names.")));
	ereport(LOG,
			(errmsg("role \"%s\" administers all tenants as \"%s\": %s", login, user, reason)));
	if (!RecoveryInProgress())
		write_log(login, user, reason);
	dbp_tenant_pin(&nobody, true);
	PG_RETURN_VOID();
}

/*
 * tenant_is_admin() tells policies whether this transaction has called
 * tenant_admin_begin.  Takes no lock.
 */
Datum
dbpatterns_tenant_is_admin(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(dbp_tenant_is_admin());
}

/*
 * tenant_lets_pass() is true.  Policies that let rows pass call it, so that they depend on
 * the extension.  Takes no lock.
 */
Datum
dbpatterns_tenant_lets_pass(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(true);
}

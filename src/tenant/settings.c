/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  Settings of tenant isolation.
 *
 * Only superusers set them, for the server, a database or a role: who is
 * isolated must not choose how.  A value that was given before the library was
 * loaded is dropped by the server unless a superuser gave it.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/settings.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "tenant/tenant.h"
#include "utils/guc.h"
#include "utils/varlena.h"

int			dbp_tenant_new_tables = TENANT_NEW_OFF;
bool		dbp_tenant_strict_pool = false;
char	   *dbp_tenant_setting = NULL;
char	   *dbp_tenant_key_file = NULL;
int			dbp_tenant_token_slots = 65536;

static char *application_roles = NULL;
static char *admin_role = NULL;

static const struct config_enum_entry new_tables_options[] = {
	{"off", TENANT_NEW_OFF, false},
	{"warn", TENANT_NEW_WARN, false},
	{"protect", TENANT_NEW_PROTECT, false},
	{"reject", TENANT_NEW_REJECT, false},
	{NULL, 0, false}
};

/* A list of role names, as they are written in search_path. */
static bool
check_roles(char **newval, void **extra, GucSource source)
{
	char	   *copy = pstrdup(*newval);
	List	   *names;

	if (!SplitIdentifierString(copy, ',', &names) || names == NIL)
	{
		GUC_check_errdetail("It must be a list of roles, separated by commas.");
		return false;
	}
	return true;
}

/*
 * dbp_tenant_application_roles returns the names of the roles that policies
 * are made for: a list of strings, "public" for all.
 */
List *
dbp_tenant_application_roles(void)
{
	List	   *names;

	if (!SplitIdentifierString(pstrdup(application_roles), ',', &names))
		elog(ERROR, "invalid list of roles");
	return names;
}

/*
 * dbp_tenant_admin_role returns the name of the role that administrators act
 * in, NULL if there is none.
 */
char *
dbp_tenant_admin_role(void)
{
	return admin_role[0] != '\0' ? pstrdup(admin_role) : NULL;
}

static void
define_texts(void)
{
	DefineCustomStringVariable("dbpatterns.tenant_application_roles",
							   "Roles that the policies of tenants are made for.",
							   "A list of roles, or public for all of them.",
							   &application_roles, "public", PGC_SUSET, GUC_LIST_INPUT,
							   check_roles, NULL, NULL);
	DefineCustomStringVariable("dbpatterns.tenant_admin_role",
							   "Role that administrators of all tenants act in.",
							   "Empty: there is none.",
							   &admin_role, "", PGC_SUSET, 0,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("dbpatterns.tenant_setting",
							   "Setting of the application that names the tenant, for want of a context.",
							   "Empty: none is read. Whoever can send SQL can change such a setting.",
							   &dbp_tenant_setting, "", PGC_SUSET, 0,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("dbpatterns.tenant_key_file",
							   "File with the keys that tokens are signed with.",
							   "Empty: keys are in the database only.",
							   &dbp_tenant_key_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
}

/*
 * dbp_tenant_settings_init defines the settings.
 */
void
dbp_tenant_settings_init(void)
{
	define_texts();
	DefineCustomEnumVariable("dbpatterns.tenant_new_tables",
							 "What happens to a new table that is not isolated.",
							 NULL,
							 &dbp_tenant_new_tables, TENANT_NEW_OFF, new_tables_options,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);
	DefineCustomBoolVariable("dbpatterns.tenant_strict_pool",
							 "Refuses a context where the session holds what another tenant may have left.",
							 "Cursors WITH HOLD, temporary tables, LISTEN.",
							 &dbp_tenant_strict_pool, false, PGC_SUSET, 0,
							 NULL, NULL, NULL);
	if (process_shared_preload_libraries_in_progress)
		DefineCustomIntVariable("dbpatterns.tenant_token_slots",
								"Number of used tokens that are remembered until they expire.",
								NULL,
								&dbp_tenant_token_slots, 65536, 1024, 16777216,
								PGC_POSTMASTER, 0,
								NULL, NULL, NULL);
}

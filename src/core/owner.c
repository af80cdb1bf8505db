/*-------------------------------------------------------------------------
 *
 * owner.c
 *	  Ownership check and run-as-owner scope.
 *
 * A user with rights on a table of his own needs none on the storage we keep
 * for it: the code that writes there switches to the owner of that storage
 * for as long as a scope lasts, with search_path pinned, and never through a
 * SECURITY DEFINER function.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/owner.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "compat/compat.h"
#include "core/names.h"
#include "core/owner.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/syscache.h"

/*
 * dbp_require_owner raises unless a relation exists (42P01) and belongs to the
 * current user (42501).  It takes no lock.
 */
void
dbp_require_owner(Oid relid)
{
	char	   *name = dbp_relation_name_by_oid(relid);

	if (!object_ownercheck(RelationRelationId, relid, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of table %s", name),
				 errhint("Run this as the owner of the table or as a superuser.")));
}

static void
pin_setting(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

static void
pin_settings(DbpOwnerScope *scope)
{
	GetUserIdAndSecContext(&scope->userid, &scope->sec_context);
	scope->guc_nestlevel = NewGUCNestLevel();
	pin_setting("search_path", "pg_catalog, pg_temp");
	pin_setting("default_tablespace", "");
	pin_setting("default_table_access_method", "heap");
}

/*
 * dbp_enter_owner becomes owner until dbp_leave_owner, with search_path and
 * the place of new tables pinned and without the power to change the session.
 * Row security that is forced on owners does not hide rows from it.
 */
void
dbp_enter_owner(DbpOwnerScope *scope, Oid owner)
{
	pin_settings(scope);
	SetUserIdAndSecContext(owner,
						   scope->sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
}

/*
 * dbp_enter_caller pins the same settings and changes nobody's rights, for
 * commands that need those of the caller, such as making temporary tables.
 */
void
dbp_enter_caller(DbpOwnerScope *scope)
{
	pin_settings(scope);
}

/*
 * dbp_leave_owner ends either scope.
 */
void
dbp_leave_owner(DbpOwnerScope *scope)
{
	AtEOXact_GUC(false, scope->guc_nestlevel);
	SetUserIdAndSecContext(scope->userid, scope->sec_context);
}

/*
 * dbp_relation_owner returns the owner of a relation that exists.
 */
Oid
dbp_relation_owner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

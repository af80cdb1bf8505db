/*-------------------------------------------------------------------------
 *
 * rights.c
 *	  Rights that policies do not look at.
 *
 * TRUNCATE takes the rows of all tenants, REFERENCES and TRIGGER see them.  So
 * applications must not have these rights, neither themselves nor through a role
 * that they are members of.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/rights.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "core/names.h"
#include "miscadmin.h"
#include "tenant/tenant.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#define UNCHECKED	(ACL_TRUNCATE | ACL_REFERENCES | ACL_TRIGGER)

/*
 * helps tells whether an application gets what a grantee was given.
 */
static bool
helps(Oid grantee, const List *applications)
{
	ListCell   *lc;

	foreach(lc, applications)
	{
		Oid			application = strcmp(lfirst(lc), "public") == 0 ? ACL_ID_PUBLIC :
			get_role_oid(lfirst(lc), true);

		if (application == ACL_ID_PUBLIC || grantee == ACL_ID_PUBLIC)
			return true;
		/* Superusers are members of every role. */
		if (OidIsValid(application) && !superuser_arg(application) &&
			is_member_of_role(application, grantee))
			return true;
	}
	return false;
}

/*
 * add_grantees adds the grantees of an access control list to a list of names.
 */
static List *
add_grantees(List *names, Datum acl, Oid owner, const List *applications)
{
	Acl		   *items = DatumGetAclP(acl);

	for (int i = 0; i < ACL_NUM(items); i++)
	{
		AclItem    *item = &ACL_DAT(items)[i];
		char	   *name;

		if ((ACLITEM_GET_PRIVS(*item) & UNCHECKED) == 0 || item->ai_grantee == owner ||
			!helps(item->ai_grantee, applications))
			continue;
		name = item->ai_grantee == ACL_ID_PUBLIC ? "PUBLIC" :
			pstrdup(quote_identifier(GetUserNameFromId(item->ai_grantee, false)));
		if (!dbp_list_has_name(names, name))
			names = lappend(names, name);
	}
	return names;
}

static int
by_name(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/*
 * dbp_tenant_revoke takes these rights away from applications.  The right of columns
 * goes with that of the table.
 */
void
dbp_tenant_revoke(TenantScript *script, const TenantSpec *spec, Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	Oid			owner = rel->rd_rel->relowner;
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	List	   *grantees = NIL;
	bool		isnull;
	Datum		acl = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_relacl, &isnull);
	ListCell   *lc;

	if (!isnull)
		grantees = add_grantees(grantees, acl, owner, spec->roles);
	ReleaseSysCache(tuple);
	for (int i = 1; i <= RelationGetNumberOfAttributes(rel); i++)
	{
		tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relid), Int16GetDatum(i));
		acl = SysCacheGetAttr(ATTNUM, tuple, Anum_pg_attribute_attacl, &isnull);
		if (!isnull)
			grantees = add_grantees(grantees, acl, owner, spec->roles);
		ReleaseSysCache(tuple);
	}
	list_sort(grantees, by_name);
	foreach(lc, grantees)
		dbp_tenant_add(script, "REVOKE TRUNCATE, REFERENCES, TRIGGER ON %s FROM %s CASCADE",
					   dbp_relation_name(rel), (char *) lfirst(lc));
}

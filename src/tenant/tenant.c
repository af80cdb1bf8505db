/*-------------------------------------------------------------------------
 *
 * tenant.c
 *	  Entry point of tenant isolation.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/tenant.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/append.h"
#include "tenant/tenant.h"

/*
 * dbp_tenant_enter_ours becomes the owner of our tables until dbp_leave_owner.
 */
void
dbp_tenant_enter_ours(DbpOwnerScope *scope)
{
	dbp_enter_owner(scope, dbp_relation_owner(dbp_own_relation("registry")));
}

/*
 * dbp_tenant_init prepares this backend, or the postmaster.
 */
void
dbp_tenant_init(void)
{
	dbp_tenant_settings_init();
	dbp_tenant_context_init();
	dbp_tenant_keys_init();
	dbp_tenant_used_init();
	dbp_tenant_admit_init();
	dbp_tenant_follow_init();
}

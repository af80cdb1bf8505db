/* Stands for what other files of this module will bring; to be deleted. */
#include "postgres.h"

#include "hierarchy/hierarchy.h"

#pragma weak dbp_hier_sync
int64
dbp_hier_sync(HierState *state)
{
	return 0;
}

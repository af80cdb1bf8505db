/* Stands for what other files of this module will bring; to be deleted. */
#include "postgres.h"

#include "funcapi.h"
#include "hierarchy/hierarchy.h"

/* build.c */
HierForest *
dbp_forest_load(HierState *state, MemoryContext cxt)
{
	return NULL;
}

void
dbp_forest_require(HierState *state, HierForest *forest)
{
}

void
dbp_forest_write(HierState *state, HierForest *forest, Oid storageid)
{
}

/* sync.c */
int64
dbp_hier_sync(HierState *state)
{
	return 0;
}

/* readers.c */
void
dbp_hier_create_readers(Relation target, const HierSpec *spec)
{
}

void
dbp_hier_drop_readers(Oid targetid, const HierSpec *spec)
{
}

/* check.c */
PG_FUNCTION_INFO_V1(dbpatterns_closure_check);

Datum
dbpatterns_closure_check(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	PG_RETURN_NULL();
}

/* Stands for what other files of this module will bring; to be deleted. */
#include "postgres.h"

#include "hierarchy/hierarchy.h"

/* readers.c */
void
dbp_hier_create_readers(Relation target, const HierSpec *spec)
{
}

void
dbp_hier_drop_readers(Oid targetid, const HierSpec *spec)
{
}

/* Stands for what other files of this module will bring; to be deleted. */
#include "postgres.h"

#include "catalog/partition.h"
#include "hierarchy/hierarchy.h"

#pragma weak dbp_hier_root
Oid
dbp_hier_root(Relation rel)
{
	return rel->rd_rel->relispartition ?
		llast_oid(get_partition_ancestors(RelationGetRelid(rel))) : RelationGetRelid(rel);
}

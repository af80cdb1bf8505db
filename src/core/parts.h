/*-------------------------------------------------------------------------
 *
 * parts.h
 *	  Partitions that come and go, with rows that no trigger sees.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/parts.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_PARTS_H
#define DBP_PARTS_H

#include "nodes/pg_list.h"

extern Oid	dbp_former_root(Oid relid, const List *touched);
extern bool dbp_new_part(Oid relid, const List *touched);
extern bool dbp_has_rows(Oid relid);

#endif							/* DBP_PARTS_H */

/*-------------------------------------------------------------------------
 *
 * bulk.h
 *	  Filling a new table.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/bulk.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_BULK_H
#define DBP_BULK_H

#include "executor/tuptable.h"
#include "utils/rel.h"

typedef struct DbpBulk DbpBulk;

extern DbpBulk *dbp_bulk_begin(Relation rel);
extern TupleTableSlot *dbp_bulk_row(DbpBulk *bulk);
extern void dbp_bulk_end(DbpBulk *bulk);

#endif							/* DBP_BULK_H */

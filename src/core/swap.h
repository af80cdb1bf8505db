/*-------------------------------------------------------------------------
 *
 * swap.h
 *	  Giving a table the files of another one.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/swap.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_SWAP_H
#define DBP_SWAP_H

#include "utils/rel.h"

extern void dbp_swap_require(Relation rel, const char *hint);
extern Oid	dbp_swap_create_twin(Relation rel);
extern void dbp_swap_with_twin(Oid relid, Oid twinid);

#endif							/* DBP_SWAP_H */

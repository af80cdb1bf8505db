/*-------------------------------------------------------------------------
 *
 * counts.h
 *	  Numbers of children and descendants: what counts*.c share.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/counts.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_HIERARCHY_COUNTS_H
#define DBP_HIERARCHY_COUNTS_H

#include "hierarchy/rows.h"

/* The table of counts and its closure, for statements. */
typedef struct CountsSql
{
	Oid			owner;			/* of the target, too */
	char	   *counts;
	List	   *key;			/* names of its columns */
	char	   *expected;		/* FROM item with k1.., children, descendants */
	HierKeyType *type;
} CountsSql;

extern Oid	dbp_counts_require(HierState *state);
extern void dbp_counts_read_names(CountsSql *sql, HierState *state);
extern char *dbp_counts_match(CountsSql *sql);
extern Oid	dbp_counts_array_type(Oid type);

#endif							/* DBP_HIERARCHY_COUNTS_H */

/*-------------------------------------------------------------------------
 *
 * closure.h
 *	  What is known of a closure table; for pairs.c only.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/closure.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_HIERARCHY_CLOSURE_H
#define DBP_HIERARCHY_CLOSURE_H

#include "access/skey.h"
#include "hierarchy/hierarchy.h"

/* What is known of a closure table. */
typedef struct Closure
{
	DbpRelState head;			/* MUST BE FIRST */
	Oid			forward;		/* index led by the ancestor */
	Oid			backward;		/* index led by the descendant */
	AttrNumber	ancestor[HIER_MAX_KEY]; /* the scope's columns included */
	AttrNumber	descendant[HIER_MAX_KEY];
	AttrNumber	depth;
	HierKeyShape shape;			/* of the keys that fit */
	ScanKeyData forward_keys[2 * HIER_MAX_KEY];
	ScanKeyData backward_keys[HIER_MAX_KEY];
} Closure;

extern Closure *dbp_closure_of(Relation rel, HierState *state);

#endif							/* DBP_HIERARCHY_CLOSURE_H */

/*-------------------------------------------------------------------------
 *
 * tree.h
 *	  What tree.c and attach.c share; nobody else includes it.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/tree.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_HIERARCHY_TREE_H
#define DBP_HIERARCHY_TREE_H

#include "hierarchy/hierarchy.h"

/* What became of a node. */
typedef enum Change
{
	CHANGE_NONE,
	CHANGE_NEW,
	CHANGE_MOVED,
	CHANGE_GONE
} Change;

typedef enum Mark
{
	MARK_OPEN,
	MARK_ON_PATH,				/* somebody above waits for it */
	MARK_DONE
} Mark;

/* A node that is the parent of touched ones. */
typedef struct Parent
{
	HierMapEntry head;			/* MUST BE FIRST */
	HierTouched *touched;		/* NULL: the flush does not concern it */
	bool		exists;
	bool		placed;			/* nothing above it will move any more */
	HierPairList above;			/* it and its ancestors, as stored */
} Parent;

/* A touched node, for one attempt. */
typedef struct Work
{
	HierTouched *touched;
	Change		change;
	Mark		mark;
	bool		orphan;			/* its parent is not there */
	Parent	   *parent;			/* NULL: a root, or an orphan */
} Work;

typedef struct Flush
{
	HierState  *state;
	HierQueue  *queue;
	HierPairs  *pairs;
	bool		adopts;			/* new nodes may have children already */
	bool		leaves;			/* those that go may leave children */
	bool		again;			/* it has begun anew */
	MemoryContext attempt_cxt;	/* reset at each attempt */
	MemoryContext row_cxt;		/* reset for each row */
	HierMap    *parents;		/* Parent */
	HierMap    *roots;			/* HierRootLock */
	int			nmoved;
	int			ngone;
} Flush;

static inline Work *
work_of(HierTouched *touched)
{
	return (Work *) touched->work;
}

extern const HierPair *dbp_tree_root(const HierPairList *above);
extern bool dbp_tree_attach(Flush *flush);

#endif							/* DBP_HIERARCHY_TREE_H */

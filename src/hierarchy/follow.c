/*-------------------------------------------------------------------------
 *
 * follow.c
 *	  Bringing the pairs of one forest to those of a later one.
 *
 * A node's pairs have changed if it is new or has another parent, or if that
 * holds for a node above it.  Of such a node the pairs are replaced from the
 * first ancestor on in which the old way up and the new one differ.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/follow.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "hierarchy/hierarchy.h"
#include "miscadmin.h"

/* What number of a node says. */
#define UNKNOWN		0
#define SAME		1
#define CHANGED		2

/*
 * find_node finds a node in another forest; NULL if it is none there.
 */
static HierNode *
find_node(HierForest *forest, HierNode *node)
{
	HierNode   *found = dbp_map_find(forest->map, node->head.key);

	return found != NULL && found->depth >= 0 ? found : NULL;
}

/*
 * has_moved tells whether a node is new or has another parent.
 */
static bool
has_moved(HierKeyType *type, HierForest *old, HierNode *node)
{
	HierNode   *before = find_node(old, node);

	if (before == NULL)
		return true;
	if (before->parent == NULL || node->parent == NULL)
		return before->parent != node->parent;
	return !dbp_key_equal(type, before->parent->head.key, node->parent->head.key);
}

/*
 * mark_path marks a node and all above it that are not marked yet: changed up
 * to the highest one that has moved.
 */
static void
mark_path(HierKeyType *type, HierForest *old, HierNode *node)
{
	HierNode   *highest = NULL;
	HierNode   *top;
	uint32		mark;

	for (top = node; top != NULL && top->number == UNKNOWN; top = top->parent)
	{
		if (has_moved(type, old, top))
			highest = top;
	}
	mark = highest != NULL || (top != NULL && top->number == CHANGED) ? CHANGED : SAME;
	if (top != NULL && top->number == CHANGED)
		highest = NULL;
	for (; node != top; node = node->parent)
	{
		node->number = mark;
		if (node == highest)
			mark = SAME;
	}
}

/*
 * replace_pairs deletes the pairs of a node's old way up, and adds those of its
 * new one; either may be NULL.
 */
static void
replace_pairs(HierPairs *pairs, HierKeyType *type, HierNode *before, HierNode *after)
{
	HierNode   *from = before;
	HierNode   *to = after;
	HierPair	pair;

	while (from != NULL && to != NULL &&
		   dbp_key_equal(type, from->head.key, to->head.key))
	{
		from = from->parent;
		to = to->parent;
	}
	for (; from != NULL; from = from->parent)
	{
		if (!dbp_pairs_find(pairs, from->head.key, before->head.key, &pair))
			elog(ERROR, "a pair of the twin is missing");
		dbp_pairs_delete(pairs, &pair, from->head.key, before->head.key);
	}
	for (; to != NULL; to = to->parent)
		dbp_pairs_add(pairs, to->head.key, after->head.key, after->depth - to->depth);
}

/*
 * dbp_forest_follow brings a closure table that holds the pairs of one forest
 * to those of another.  Nobody else writes to it.
 */
void
dbp_forest_follow(HierState *state, HierForest *old, HierForest *new)
{
	HierPairs  *pairs = dbp_pairs_open(state);
	int64		kept = 0;

	for (HierNode *node = new->first; node != NULL; node = node->next)
		node->number = UNKNOWN;
	for (HierNode *node = new->first; node != NULL; node = node->next)
	{
		HierNode   *before;

		CHECK_FOR_INTERRUPTS();
		if (node->number == UNKNOWN)
			mark_path(&state->type, old, node);
		if (node->number == SAME)
		{
			kept++;
			continue;
		}
		before = find_node(old, node);
		kept += before != NULL;
		replace_pairs(pairs, &state->type, before, node);
	}
	for (HierNode *node = old->first; node != NULL && kept < old->nnodes; node = node->next)
	{
		CHECK_FOR_INTERRUPTS();
		if (find_node(new, node) == NULL)
			replace_pairs(pairs, &state->type, node, NULL);
	}
	dbp_pairs_close(pairs);
	CommandCounterIncrement();
}

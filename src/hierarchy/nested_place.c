/*-------------------------------------------------------------------------
 *
 * nested_place.c
 *	  Nodes to their places, the last step of a flush.
 *
 * What was loaded is taken out of the storage first, so that it is in nobody's
 * way: whatever moves, moves through memory.  Then each tree in memory is
 * numbered as a tree of its own, or goes below a stored node, which is not
 * touched by that.  Numbers may run out on the way and be made anew, so rows
 * that were read before are read again then.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/nested_place.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "hierarchy/nested.h"
#include "miscadmin.h"

/* A place below a stored node, and who goes there. */
typedef struct Site
{
	NestedRow  *parent;
	NestedNode *node;
	int			position;
} Site;

/* ---- places ------------------------------------------------------------------ */

static void
place_root(NestedFlush *flush, NestedNode *root)
{
	NestedNode *node = root;

	dbp_nested_number_tree(root, flush->state->spec.gap, flush->state->spec.order_by != NULL);
	/* In preorder, without recursion: a chain can be long. */
	for (;;)
	{
		dbp_nested_insert(flush->store, &node->row);
		if (node->first != NULL)
		{
			node = node->first;
			continue;
		}
		while (node != root && node->next == NULL)
			node = node->parent;
		if (node == root)
			return;
		node = node->next;
	}
}

static int
order_sites(const void *a, const void *b, void *arg)
{
	const Site *left = a;
	const Site *right = b;
	int			order = dbp_key_compare(arg, left->parent->tree, right->parent->tree);

	if (order != 0)
		return order;
	if (left->parent->lft != right->parent->lft)
		return left->parent->lft < right->parent->lft ? -1 : 1;
	return left->position - right->position;
}

/*
 * is_child tells whether there is a row of that node below parent, and reads it.
 */
static bool
is_child(NestedFlush *flush, const NestedRow *parent, const Datum *key, NestedRow *row)
{
	return dbp_nested_find(flush->store, key, row) && row->depth == parent->depth + 1 &&
		row->lft > parent->lft && row->rgt < parent->rgt &&
		dbp_key_equal(&flush->state->type, row->tree, parent->tree);
}

/*
 * place_in_order places nodes between the children that their parent has.  True
 * if other rows got other numbers, too.
 */
static bool
place_in_order(NestedFlush *flush, NestedRow *parent, Site *sites, int n)
{
	HierState  *state = flush->state;
	NestedRow	previous;
	Datum	   *key;
	List	   *children;
	bool		moved = false;

	if (n == 1)
	{
		bool		has = dbp_nested_predecessor(state, sites[0].node->head.key, parent->key,
												 &key);

		if (!has || is_child(flush, parent, key, &previous))
			return dbp_nested_place(flush->store, parent, has ? &previous : NULL, sites[0].node,
									state->spec.gap, true);
	}

	children = dbp_nested_children(state, parent->key);
	for (int i = 0; i < n; i++)
		sites[i].node->position = -1;
	for (int i = 0; i < list_length(children); i++)
	{
		NestedNode *node = dbp_map_find(flush->nodes, list_nth(children, i));
		int			j = i - 1;

		if (node == NULL || node->position != -1)
			continue;
		dbp_nested_write(flush->store);
		if (moved && !dbp_nested_find(flush->store, parent->key, parent))
			dbp_nested_damaged(flush->store, parent->tree);
		while (j >= 0 && !is_child(flush, parent, list_nth(children, j), &previous))
			j--;
		moved |= dbp_nested_place(flush->store, parent, j >= 0 ? &previous : NULL, node,
								  state->spec.gap, true);
		node->position = 0;
	}
	return moved;
}

/*
 * place_last places nodes after the children that their parent has.
 */
static bool
place_last(NestedFlush *flush, NestedRow *parent, Site *sites, int n)
{
	NestedRow	last;
	bool		has = dbp_nested_before(flush->store, parent->tree, parent->depth + 1,
										parent->rgt - 1, &last) && last.lft > parent->lft;

	for (int i = 0; i < n - 1; i++)
		sites[i].node->next = sites[i + 1].node;
	return dbp_nested_place(flush->store, parent, has ? &last : NULL, sites[0].node,
							flush->state->spec.gap, false);
}

/*
 * place_below places nodes below stored parents, one parent after the other.
 */
static void
place_below(NestedFlush *flush, Site *sites, int n)
{
	bool		moved = false;
	int			i = 0;

	qsort_arg(sites, n, sizeof(Site), order_sites, &flush->state->type);
	while (i < n)
	{
		NestedRow	parent = *sites[i].parent;
		int			first = i;

		CHECK_FOR_INTERRUPTS();
		while (i < n && sites[i].parent->lft == parent.lft &&
			   dbp_key_equal(&flush->state->type, sites[i].parent->key, parent.key))
			i++;
		if (moved && !dbp_nested_find(flush->store, parent.key, &parent))
			dbp_nested_damaged(flush->store, parent.tree);
		moved |= flush->state->spec.order_by != NULL ?
			place_in_order(flush, &parent, &sites[first], i - first) :
			place_last(flush, &parent, &sites[first], i - first);
	}
}

/*
 * take_out deletes the rows that were loaded.
 */
static void
take_out(NestedFlush *flush)
{
	ListCell   *lc;

	foreach(lc, flush->loaded)
	{
		CHECK_FOR_INTERRUPTS();
		dbp_nested_delete(flush->store, &((NestedNode *) lfirst(lc))->row);
	}
}

/*
 * dbp_nested_apply writes what a flush has found out.
 */
void
dbp_nested_apply(NestedFlush *flush)
{
	HierQueue  *queue = flush->queue;
	Site	   *sites = palloc_extended(sizeof(Site) * (queue->ntouched + 1), MCXT_ALLOC_HUGE);
	int			n = 0;

	take_out(flush);
	for (int i = 0; i < queue->ntouched; i++)
	{
		NestedNode *node = queue->touched[i]->work;

		if (node->orphan)
			queue->touched[i]->carried = !queue->final;
		if (node->orphan && queue->final)
			dbp_hier_accept_orphan(flush->state, node->head.key, node->wanted);
		if (!node->wants || node->parent != NULL)
			continue;
		if (node->wanted == NULL || node->orphan)
			place_root(flush, node);
		else
		{
			sites[n].parent = node->upper;
			sites[n].node = node;
			sites[n++].position = i;
		}
	}
	place_below(flush, sites, n);
}

/*-------------------------------------------------------------------------
 *
 * nested_gather.c
 *	  Nodes that a flush moves, with all below them, as trees in memory.
 *
 * What is gone or belongs elsewhere is loaded with what is below it, and linked
 * to what it belongs to, if that is in memory, too.  All that is above a node
 * in the storage stays there, so whatever closes a cycle does so in memory.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/nested_gather.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "hierarchy/nested.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* Marks of nodes in the search for cycles. */
#define MARK_OPEN		0
#define MARK_ON_PATH	1
#define MARK_DONE		2

/* ---- loading ----------------------------------------------------------------- */

static void
link_child(NestedNode *parent, NestedNode *child)
{
	child->parent = parent;
	child->next = NULL;
	if (parent->first == NULL)
		parent->first = child;
	else
		parent->last->next = child;
	parent->last = child;
}

/*
 * load reads all that is below a stored node, and the node, into memory.
 */
static void
load(NestedFlush *flush, NestedNode *top)
{
	NestedNode *above = NULL;
	NestedRow  *rows;
	int			n;

	if (top->loaded)
		return;
	rows = dbp_nested_range(flush->store, top->row.tree, top->row.lft, top->row.rgt, &n);
	for (int i = 0; i < n; i++)
	{
		bool		found;
		NestedNode *node = dbp_map_enter(flush->nodes, rows[i].key, &found);

		if (!found)
			node->exists = node->stored = true;
		node->row = rows[i];
		node->loaded = true;
		flush->loaded = lappend(flush->loaded, node);

		while (above != NULL && above->row.rgt < node->row.lft)
			above = above->above;
		node->above = above;
		above = node;
		if (node->wants || !node->exists)
			continue;
		/* Its parent is gone, and it does not know. */
		if (!node->above->exists)
		{
			(void) dbp_nested_touch(flush, node->head.key);
			flush->again = true;
		}
		else
			link_child(node->above, node);
	}
	pfree(rows);
}

static int
order_by_place(const void *a, const void *b, void *arg)
{
	const NestedNode *left = *(NestedNode *const *) a;
	const NestedNode *right = *(NestedNode *const *) b;
	int			order = dbp_key_compare(arg, left->row.tree, right->row.tree);

	if (order != 0)
		return order;
	return left->row.lft < right->row.lft ? -1 : left->row.lft > right->row.lft;
}

/*
 * load_cut loads all that is gone or belongs elsewhere, the outermost first.
 */
static void
load_cut(NestedFlush *flush)
{
	HierQueue  *queue = flush->queue;
	NestedNode **cut = palloc_extended(sizeof(NestedNode *) * (queue->ntouched + 1),
									   MCXT_ALLOC_HUGE);
	int			n = 0;

	for (int i = 0; i < queue->ntouched; i++)
	{
		NestedNode *node = (NestedNode *) queue->touched[i]->work;

		if (node->stored && (node->wants || !node->exists))
			cut[n++] = node;
	}
	qsort_arg(cut, n, sizeof(NestedNode *), order_by_place, &flush->state->type);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		load(flush, cut[i]);
	}
}

/* ---- linking ----------------------------------------------------------------- */

/*
 * memory_parent returns the parent that a node finds in memory, or NULL.
 */
static NestedNode *
memory_parent(NestedFlush *flush, NestedNode *node)
{
	NestedNode *parent;

	if (node->wanted == NULL || node->orphan)
		return NULL;
	parent = dbp_map_find(flush->nodes, node->wanted);
	return parent != NULL && (parent->loaded || !parent->stored) ? parent : NULL;
}

static int
order_by_position(const ListCell *a, const ListCell *b)
{
	const NestedNode *left = lfirst(a);
	const NestedNode *right = lfirst(b);

	return left->position < right->position ? -1 : left->position > right->position;
}

/*
 * order_children brings the children of a node in memory into their order.
 */
static void
order_children(NestedFlush *flush, NestedNode *parent)
{
	List	   *children = NIL;
	int64		position = 1;
	ListCell   *lc;

	if (parent->ordered || parent->first == parent->last)
		return;
	parent->ordered = true;
	foreach(lc, dbp_nested_children(flush->state, parent->head.key))
	{
		NestedNode *child = dbp_map_find(flush->nodes, lfirst(lc));

		if (child != NULL)
			child->position = position++;
	}
	for (NestedNode *child = parent->first; child != NULL; child = child->next)
		children = lappend(children, child);
	list_sort(children, order_by_position);
	parent->first = parent->last = NULL;
	foreach(lc, children)
		link_child(parent, lfirst(lc));
}

static void
link_nodes(NestedFlush *flush)
{
	HierQueue  *queue = flush->queue;

	for (int i = 0; i < queue->ntouched; i++)
	{
		NestedNode *node = (NestedNode *) queue->touched[i]->work;
		NestedNode *parent = node->wants ? memory_parent(flush, node) : NULL;

		if (parent != NULL)
			link_child(parent, node);
	}
	if (flush->state->spec.order_by == NULL)
		return;
	for (int i = 0; i < queue->ntouched; i++)
	{
		NestedNode *node = (NestedNode *) queue->touched[i]->work;

		if (node->wants && node->parent != NULL)
			order_children(flush, node->parent);
	}
}

/*
 * refuse_cycle raises if a node is below itself; otherwise the flush begins
 * anew.
 */
static void
refuse_cycle(NestedFlush *flush, NestedNode *node)
{
	if (!dbp_hier_refuse_cycle(flush->state, flush->queue, node->head.key) && flush->retried)
		dbp_nested_damaged(flush->store, node->head.key);
	flush->retried = true;
	flush->again = true;
}

/*
 * find_cycles looks for nodes that would be below themselves.
 */
static void
find_cycles(NestedFlush *flush)
{
	HierQueue  *queue = flush->queue;

	for (int i = 0; i < queue->ntouched && !flush->again; i++)
	{
		NestedNode *top = (NestedNode *) queue->touched[i]->work;
		NestedNode *node;

		if (!top->wants)
			continue;
		for (node = top; node != NULL && node->mark == MARK_OPEN; node = node->parent)
			node->mark = MARK_ON_PATH;
		if (node != NULL && node->mark == MARK_ON_PATH)
			refuse_cycle(flush, node);
		for (node = top; node != NULL && node->mark == MARK_ON_PATH; node = node->parent)
			node->mark = MARK_DONE;
	}
}

/*
 * dbp_nested_gather makes trees in memory of all that moves.  It raises 23514
 * for a cycle, and sets flush->again when nodes have been touched.
 */
void
dbp_nested_gather(NestedFlush *flush)
{
	load_cut(flush);
	if (flush->again)
		return;
	link_nodes(flush);
	find_cycles(flush);
}

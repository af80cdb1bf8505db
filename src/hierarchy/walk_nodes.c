/*-------------------------------------------------------------------------
 *
 * walk_nodes.c
 *	  Finding the nodes of a walk, one after the other.
 *
 * Found nodes stand in one array, the children of a node together; what comes
 * next stands in the agenda, a stack (depth first) or a queue (breadth first),
 * so that no chain is too deep.  Children are found in advance for all nodes
 * there are, or, if the caller takes rows one by one, for twice as many each
 * time; when about a tenth of the table was found like that, the rest is read
 * in one pass.
 *
 * Since a key is unique, every node has one parent.  So on the way down only
 * the start can come again, and on the way up there is one way.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/walk_nodes.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "hierarchy/walk.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* From this share of the table on, looking up children does not pay. */
#define LOAD_SHARE	0.1
#define LOAD_LEAST	1000

#define ENLARGE(array, allocated, first) \
	((allocated) = (allocated) == 0 ? (first) : (allocated) * 2, \
	 (array) = (array) == NULL ? \
	 MemoryContextAllocHuge(walk->cxt, sizeof(*(array)) * (Size) (allocated)) : \
	 repalloc_huge((array), sizeof(*(array)) * (Size) (allocated)))

/* ---- finding nodes ---- */

/*
 * add_node adds a node; key is one of walk->cxt.
 */
static inline uint32
add_node(Walk *walk, WalkKey key, uint32 parent, int32 depth, uint32 row)
{
	WalkNode   *node;

	if (walk->nnodes == walk->allocated)
	{
		if (walk->nnodes >= (1U << 30))
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("too many nodes in one walk"),
					 errhint("Walk parts of the table, each from a start of its own.")));
		ENLARGE(walk->node, walk->allocated, walk->lazy ? 16 : 256);
	}
	node = &walk->node[walk->nnodes];
	node->key = key;
	node->parent = parent;
	node->depth = depth;
	node->first = row;
	node->nchildren = WALK_NOT_EXPANDED;
	return walk->nnodes++;
}

/*
 * add_above keeps what the parent columns of a start hold.
 */
static uint32
add_above(Walk *walk, WalkKey key, bool isnull)
{
	if (walk->nabove == walk->above_allocated)
		ENLARGE(walk->above, walk->above_allocated, 4);
	walk->above[walk->nabove].key = key;
	walk->above[walk->nabove].isnull = isnull;
	return walk->nabove++;
}

/*
 * mark_cycles finds the start among new nodes.
 */
static void
mark_cycles(Walk *walk, uint32 from)
{
	if (!walk->has_start)
		return;
	for (uint32 n = from; n < walk->nnodes; n++)
	{
		if (walk_equal(&walk->source->type, &walk->node[n].key, &walk->node[0].key))
			walk->node[n].nchildren = WALK_CLOSES_CYCLE;
	}
}

/*
 * expand_from_forest adds the children of a node from memory.
 */
static void
expand_from_forest(Walk *walk, uint32 n)
{
	WalkForest *forest = walk->forest;
	uint32		row = walk->node[n].first;
	uint32		first = walk->nnodes;

	if (row == WALK_NONE)
		row = dbp_walk_map_find(&forest->map, forest->key, &walk->node[n].key);
	walk->node[n].nchildren = 0;
	if (row == WALK_NONE)
		return;					/* cannot be, one snapshot shows all rows */
	for (uint32 c = forest->first[row]; c < forest->first[row + 1]; c++)
		add_node(walk, forest->key[forest->child[c]], n, walk->node[n].depth + 1,
				 forest->child[c]);
	walk->node[n].first = first;
	walk->node[n].nchildren = walk->nnodes - first;
	mark_cycles(walk, first);
}

static void
add_child(void *arg, uint32 n, const Datum *key, const Datum *parent,
		  Datum order, bool order_isnull)
{
	Walk	   *walk = arg;
	MemoryContext oldcxt = MemoryContextSwitchTo(walk->cxt);
	uint32		child = add_node(walk, walk_key(&walk->source->type, key), n,
								 walk->node[n].depth + 1, WALK_NONE);

	if (walk->node[n].nchildren++ == 0)
		walk->node[n].first = child;
	if (walk->source->order != 0)
	{
		WalkSource *source = walk->source;
		WalkSortItem *item;

		if (walk->nitems == walk->items_allocated)
			ENLARGE(walk->items, walk->items_allocated, 64);
		item = &walk->items[walk->nitems++];
		item->key = walk->node[child].key;
		item->isnull = order_isnull;
		item->order = order_isnull ? (Datum) 0 :
			dbp_walk_copy_order(source, order);
	}
	MemoryContextSwitchTo(oldcxt);
}

/*
 * order_children puts the children of the nodes that were looked up in order.
 */
static void
order_children(Walk *walk, WalkProbe *probes, uint32 nprobes)
{
	for (uint32 p = 0; p < nprobes; p++)
	{
		WalkNode   *node = &walk->node[probes[p].node];
		WalkSortItem *items;

		if (node->nchildren < 2)
			continue;
		items = walk->items + (node->first - walk->items_base);
		dbp_walk_sort(&walk->sorter, items, node->nchildren);
		for (int c = 0; c < node->nchildren; c++)
			walk->node[node->first + c].key = items[c].key;
	}
	if (!walk->source->order_typbyval)
	{
		for (uint32 i = 0; i < walk->nitems; i++)
		{
			if (!walk->items[i].isnull)
				pfree(DatumGetPointer(walk->items[i].order));
		}
	}
	walk->nitems = 0;
}

/*
 * pays_to_load tells whether so much of the table was looked up that the rest
 * is better read in one pass.
 */
static bool
pays_to_load(Walk *walk)
{
	return !walk->source->probes ||
		walk->looked_up > Max(LOAD_LEAST, walk->source->rows * LOAD_SHARE);
}

/*
 * look_up_round finds the children of the next nodes, at most so many.
 */
static void
look_up_round(Walk *walk, uint32 limit)
{
	WalkProbe  *probes;
	uint32		nprobes = 0;
	uint32		first = walk->nnodes;

	limit = Min(limit, walk->nnodes - walk->not_expanded);
	probes = MemoryContextAllocHuge(walk->cxt, sizeof(WalkProbe) * limit);
	while (nprobes < limit && walk->not_expanded < walk->nnodes)
	{
		WalkNode   *node = &walk->node[walk->not_expanded];

		if (node->nchildren == WALK_NOT_EXPANDED && node->depth < walk->max_depth)
		{
			probes[nprobes].key = node->key;
			probes[nprobes++].node = walk->not_expanded;
			node->nchildren = 0;
		}
		walk->not_expanded++;
	}
	walk->looked_up += nprobes;
	walk->items_base = first;
	dbp_walk_read_children(walk->source, probes, nprobes, add_child, walk);
	if (walk->source->order != 0)
		order_children(walk, probes, nprobes);
	mark_cycles(walk, first);
	pfree(probes);
}

/*
 * expand_by_index finds the children of a node, and of others in advance: in
 * the order in which they were found, so the node is among them.
 */
static void
expand_by_index(Walk *walk, uint32 n)
{
	double		until = walk->looked_up + walk->batch;

	walk->batch = Min(walk->batch, PG_UINT32_MAX / 2) * 2;
	dbp_walk_open(walk->source);
	while (walk->not_expanded < walk->nnodes &&
		   (walk->node[n].nchildren == WALK_NOT_EXPANDED ||
			(walk->looked_up < until && !pays_to_load(walk))))
		look_up_round(walk, (uint32) Max(until - walk->looked_up, 1));
	dbp_walk_close(walk->source);
}

static void
load(Walk *walk)
{
	MemoryContext oldcxt = MemoryContextSwitchTo(walk->cxt);

	dbp_walk_open(walk->source);
	walk->forest = dbp_walk_load(walk->source, true);
	dbp_walk_close(walk->source);
	MemoryContextSwitchTo(oldcxt);
}

static void
expand(Walk *walk, uint32 n)
{
	if (walk->forest == NULL && pays_to_load(walk))
		load(walk);
	if (walk->forest != NULL)
		expand_from_forest(walk, n);
	else
		expand_by_index(walk, n);
}

/* ---- downwards ---- */

static inline void
put_on_agenda(Walk *walk, uint32 n)
{
	if (walk->tail == walk->agenda_allocated)
		ENLARGE(walk->agenda, walk->agenda_allocated, 64);
	walk->agenda[walk->tail++] = n;
}

static void
agenda_children(Walk *walk, uint32 n)
{
	WalkNode   *node = &walk->node[n];

	if (node->nchildren == WALK_NOT_EXPANDED && node->depth < walk->max_depth)
	{
		expand(walk, n);
		node = &walk->node[n];
	}
	if (walk->breadth)
	{
		for (int32 c = 0; c < node->nchildren; c++)
			put_on_agenda(walk, node->first + c);
	}
	else
	{
		for (int32 c = node->nchildren - 1; c >= 0; c--)
			put_on_agenda(walk, node->first + c);
	}
}

/*
 * next_down returns the next node on the way down, or WALK_NONE.
 */
static uint32
next_down(Walk *walk)
{
	if (walk->emitted != WALK_NONE)
		agenda_children(walk, walk->emitted);
	if (walk->breadth)
		walk->emitted = walk->head < walk->tail ? walk->agenda[walk->head++] : WALK_NONE;
	else
		walk->emitted = walk->tail > 0 ? walk->agenda[--walk->tail] : WALK_NONE;
	return walk->emitted;
}

static bool
take_start(void *arg, const Datum *key, const Datum *parent)
{
	Walk	   *walk = arg;
	HierKeyType *type = &walk->source->type;
	MemoryContext oldcxt = MemoryContextSwitchTo(walk->cxt);
	uint32		above = add_above(walk, parent != NULL ? walk_key(type, parent) : (Datum) 0,
								  parent == NULL);

	put_on_agenda(walk, add_node(walk, walk_key(type, key), above, 0, WALK_NONE));
	MemoryContextSwitchTo(oldcxt);
	return false;
}

/*
 * begin_down puts the start, or all roots, on the agenda.
 */
static void
begin_down(Walk *walk)
{
	walk->emitted = WALK_NONE;
	walk->batch = walk->lazy ? 1 : PG_UINT32_MAX;
	if (walk->source->order != 0)
		dbp_walk_sorter_init(&walk->sorter, walk->source);
	if (walk->has_start)
	{
		dbp_walk_open(walk->source);
		(void) dbp_walk_climb(walk->source, walk->start, take_start, walk);
		dbp_walk_close(walk->source);
		return;
	}

	load(walk);
	for (uint32 i = 0; i < walk->forest->nroots; i++)
	{
		WalkRoot   *root = &walk->forest->root[i];

		add_node(walk, walk->forest->key[root->row],
				 add_above(walk, root->above, !root->orphan), 0, root->row);
	}
	for (uint32 n = 0; n < walk->nnodes; n++)
		put_on_agenda(walk, walk->breadth ? n : walk->nnodes - 1 - n);
}

/* ---- upwards ---- */

static bool
take_step(void *arg, const Datum *key, const Datum *parent)
{
	Walk	   *walk = arg;
	HierKeyType *type = &walk->source->type;
	MemoryContext oldcxt = MemoryContextSwitchTo(walk->cxt);
	uint32		above = add_above(walk, parent != NULL ? walk_key(type, parent) : (Datum) 0,
								  parent == NULL);
	uint32		n = add_node(walk, walk_key(type, key), above, walk->nnodes, WALK_NONE);

	if (dbp_walk_map_add(&walk->seen, walk->node, n) != WALK_NONE)
		walk->node[n].nchildren = WALK_CLOSES_CYCLE;
	walk->at_end = parent == NULL || walk->node[n].nchildren == WALK_CLOSES_CYCLE ||
		walk->node[n].depth >= walk->max_depth;
	MemoryContextSwitchTo(oldcxt);
	return !walk->at_end && walk->nnodes < walk->wanted;
}

/*
 * next_up returns the next node on the way up, or WALK_NONE.
 */
static uint32
next_up(Walk *walk)
{
	if (walk->next == walk->nnodes && !walk->at_end)
	{
		if (walk->wanted < PG_UINT32_MAX / 2)
			walk->wanted *= 2;
		dbp_walk_open(walk->source);
		if (!dbp_walk_climb(walk->source, walk->nnodes == 0 ? walk->start :
							walk->above[walk->nnodes - 1].key, take_step, walk))
			walk->at_end = true;
		dbp_walk_close(walk->source);
	}
	return walk->next < walk->nnodes ? walk->next++ : WALK_NONE;
}

static void
begin_up(Walk *walk)
{
	MemoryContext oldcxt = MemoryContextSwitchTo(walk->cxt);

	walk->at_end = !walk->has_start;	/* nothing is above nothing */
	walk->wanted = walk->lazy ? 1 : PG_UINT32_MAX;
	dbp_walk_map_init(&walk->seen, &walk->source->type, sizeof(WalkNode));
	MemoryContextSwitchTo(oldcxt);
}

/* ---- both ---- */

/*
 * dbp_walk_begin makes a walk ready whose arguments are set, in walk->cxt.
 */
void
dbp_walk_begin(Walk *walk)
{
	if (walk->up)
		begin_up(walk);
	else
		begin_down(walk);
}

/*
 * dbp_walk_next returns the next node of a walk, or WALK_NONE.
 */
uint32
dbp_walk_next(Walk *walk)
{
	return walk->up ? next_up(walk) : next_down(walk);
}

/*-------------------------------------------------------------------------
 *
 * walk_forest.c
 *	  An adjacency list in memory, from one pass over its table.
 *
 * Rows are numbers from 0, in the order they were read; a map finds the number
 * of a key.  Integers that lie close together are looked up in an array, other
 * keys in a hash table.  The children of all rows stand in one array, grouped
 * by parent by a counting sort.
 *
 * Memory per row, without that of keys that are no integers: 8 bytes of key, 8
 * of parent while loading, 4 of parent, 8 of children, 4 to 32 of the map, and
 * 9 of the order of siblings while loading.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/walk_forest.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "hierarchy/walk.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/datum.h"
#include "utils/memutils.h"

/* ---- maps ---------------------------------------------------------------- */

typedef struct WalkMapSlot
{
	uint32		place;
	uint32		hash;
} WalkMapSlot;

#define FIRST_SLOTS	64

static WalkMapSlot *
new_slots(uint32 n)
{
	WalkMapSlot *slots = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(WalkMapSlot) * n);

	memset(slots, 0xFF, sizeof(WalkMapSlot) * n);	/* all of them WALK_NONE */
	return slots;
}

/*
 * dbp_walk_map_init makes an empty map in CurrentMemoryContext.
 */
void
dbp_walk_map_init(WalkMap *map, HierKeyType *type, Size stride)
{
	memset(map, 0, sizeof(*map));
	map->type = type;
	map->stride = stride;
	map->mask = FIRST_SLOTS - 1;
	map->slots = new_slots(FIRST_SLOTS);
}

static inline const WalkKey *
key_at(WalkMap *map, const void *array, uint32 place)
{
	return (const WalkKey *) ((const char *) array + map->stride * place);
}

static inline uint32
hash_of(WalkMap *map, const WalkKey *key)
{
	if (map->type->integer)
		return murmurhash32((uint32) *key ^ (uint32) ((uint64) *key >> 32));
	return dbp_key_hash(map->type, walk_values(map->type, key));
}

/*
 * slot_of returns the slot that holds a key, or that is free for it.
 */
static inline WalkMapSlot *
slot_of(WalkMap *map, const void *array, const WalkKey *key, uint32 hash)
{
	uint32		at = hash & map->mask;

	while (map->slots[at].place != WALK_NONE &&
		   (map->slots[at].hash != hash ||
			!walk_equal(map->type, key_at(map, array, map->slots[at].place), key)))
		at = (at + 1) & map->mask;
	return &map->slots[at];
}

/*
 * dbp_walk_map_find returns the place of a key in the array, or WALK_NONE.
 */
uint32
dbp_walk_map_find(WalkMap *map, const void *array, const WalkKey *key)
{
	if (map->dense != NULL)
	{
		uint64		at = (uint64) *key - (uint64) map->least;

		return at < map->range ? map->dense[at] : WALK_NONE;
	}
	return slot_of(map, array, key, hash_of(map, key))->place;
}

/*
 * grow makes a map at least twice as large as what it holds.
 */
static void
grow(WalkMap *map, uint32 n)
{
	WalkMapSlot *old = map->slots;
	uint32		nold = map->mask + 1;
	uint64		size = pg_nextpower2_64((uint64) n * 2);
	MemoryContext oldcxt = MemoryContextSwitchTo(GetMemoryChunkContext(old));

	map->mask = (uint32) (Min(size, (uint64) 1 << 31) - 1);
	map->slots = new_slots(map->mask + 1);
	for (uint32 i = 0; i < nold; i++)
	{
		uint32		at = old[i].hash & map->mask;

		if (old[i].place == WALK_NONE)
			continue;
		while (map->slots[at].place != WALK_NONE)
			at = (at + 1) & map->mask;
		map->slots[at] = old[i];
	}
	pfree(old);
	MemoryContextSwitchTo(oldcxt);
}

/*
 * dbp_walk_map_add enters the key at a place of the array, and returns
 * WALK_NONE, or where the same key was before.
 */
uint32
dbp_walk_map_add(WalkMap *map, const void *array, uint32 place)
{
	const WalkKey *key = key_at(map, array, place);
	uint32		hash;
	WalkMapSlot *slot;

	if (map->dense != NULL)
	{
		uint32	   *dense = &map->dense[(uint64) *key - (uint64) map->least];
		uint32		before = *dense;

		*dense = place;
		return before;
	}
	if (map->n >= map->mask / 2)
		grow(map, map->mask + 1);
	hash = hash_of(map, key);
	slot = slot_of(map, array, key, hash);
	if (slot->place != WALK_NONE)
		return slot->place;
	slot->place = place;
	slot->hash = hash;
	map->n++;
	return WALK_NONE;
}

/* ---- order of siblings --------------------------------------------------- */

/*
 * dbp_walk_copy_order copies a value that siblings are sorted by.
 */
Datum
dbp_walk_copy_order(WalkSource *source, Datum order)
{
	if (source->order_typbyval)
		return order;
	if (source->order_typlen == -1)
		return PointerGetDatum(PG_DETOAST_DATUM_COPY(order));
	return datumCopy(order, false, source->order_typlen);
}

/*
 * dbp_walk_sorter_init prepares for sorting, in CurrentMemoryContext.
 */
void
dbp_walk_sorter_init(WalkSorter *sorter, WalkSource *source)
{
	memset(sorter, 0, sizeof(*sorter));
	sorter->type = &source->type;
	sorter->order.ssup_cxt = CurrentMemoryContext;
	sorter->order.ssup_collation = source->order_collation;
	PrepareSortSupportFromOrderingOp(source->order_operator, &sorter->order);
}

static int
compare_items(const void *a, const void *b, void *arg)
{
	const WalkSortItem *x = a;
	const WalkSortItem *y = b;
	WalkSorter *sorter = arg;
	int			order = ApplySortComparator(x->order, x->isnull, y->order, y->isnull,
											&sorter->order);

	return order != 0 ? order : walk_compare(sorter->type, &x->key, &y->key);
}

/*
 * dbp_walk_sort sorts siblings, by their keys where they are equal otherwise.
 */
void
dbp_walk_sort(WalkSorter *sorter, WalkSortItem *items, uint32 n)
{
	qsort_arg(items, n, sizeof(WalkSortItem), compare_items, sorter);
}

/* ---- loading ------------------------------------------------------------- */

static void *
enlarge(void *array, Size size)
{
	return array == NULL ? MemoryContextAllocHuge(CurrentMemoryContext, size) :
		repalloc_huge(array, size);
}

static void
make_room(WalkForest *forest)
{
	uint32		n = forest->allocated == 0 ?
		(uint32) Min(Max(forest->source->rows * 1.1, 1024), 1 << 30) : forest->allocated * 2;

	if (forest->n > (1 << 30))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("table %s has more rows than can be walked at once",
						forest->source->name),
				 errhint("Walk parts of it, each from a start of its own.")));
	forest->allocated = n;
	forest->key = enlarge(forest->key, sizeof(WalkKey) * n);
	forest->above = enlarge(forest->above, sizeof(WalkKey) * n);
	forest->parent = enlarge(forest->parent, sizeof(uint32) * n);
	if (forest->source->order != 0)
	{
		forest->order = enlarge(forest->order, sizeof(Datum) * n);
		forest->order_isnull = enlarge(forest->order_isnull, sizeof(bool) * n);
	}
}

/* Marks a row whose parent is still to be found. */
#define NOT_YET	(WALK_NONE - 1)

static void
load_row(void *arg, uint32 unused, const Datum *key, const Datum *parent,
		 Datum order, bool order_isnull)
{
	WalkForest *forest = arg;
	WalkSource *source = forest->source;
	MemoryContext oldcxt = MemoryContextSwitchTo(forest->cxt);
	uint32		row;

	if (forest->n == forest->allocated)
		make_room(forest);
	row = forest->n++;
	forest->key[row] = walk_key(&source->type, key);
	forest->parent[row] = parent == NULL ? WALK_NONE : NOT_YET;
	if (source->type.integer)
	{
		forest->least = Min(forest->least, (int64) key[0]);
		forest->greatest = Max(forest->greatest, (int64) key[0]);
	}
	MemoryContextSwitchTo(forest->scratch);
	forest->above[row] = parent == NULL ? (Datum) 0 : walk_key(&source->type, parent);
	if (source->order != 0)
	{
		forest->order_isnull[row] = order_isnull;
		forest->order[row] = order_isnull ? (Datum) 0 : dbp_walk_copy_order(source, order);
	}
	MemoryContextSwitchTo(oldcxt);
}

/*
 * fill_map enters all keys.
 */
static void
fill_map(WalkForest *forest)
{
	WalkMap    *map = &forest->map;
	HierKeyType *type = &forest->source->type;
	uint64		range = (uint64) forest->greatest - (uint64) forest->least;

	dbp_walk_map_init(map, type, sizeof(WalkKey));
	if (type->integer && forest->n > 0 && range < (uint64) forest->n * 4)
	{
		map->range = range + 1;
		map->least = forest->least;
		map->dense = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(uint32) * map->range);
		memset(map->dense, 0xFF, sizeof(uint32) * map->range);
	}
	else
		grow(map, Max(forest->n + 1, FIRST_SLOTS));

	for (uint32 row = 0; row < forest->n; row++)
	{
		if (row % 4096 == 0)
			CHECK_FOR_INTERRUPTS();
		if (dbp_walk_map_add(map, forest->key, row) != WALK_NONE)
			ereport(ERROR,
					(errcode(ERRCODE_UNIQUE_VIOLATION),
					 errmsg("key %s occurs twice in table %s",
							dbp_key_text(type, walk_values(type, &forest->key[row])),
							forest->source->name),
					 errhint("Its unique constraint is checked later; use SET CONSTRAINTS ALL IMMEDIATE to check it now.")));
	}
}

/*
 * find_parents turns keys of parents into rows, and lists the roots: those
 * without a parent, and those whose parent is not there.
 */
static void
find_parents(WalkForest *forest)
{
	HierKeyType *type = &forest->source->type;
	uint32		allocated = 16;

	forest->root = palloc(sizeof(WalkRoot) * allocated);
	for (uint32 row = 0; row < forest->n; row++)
	{
		bool		orphan = false;

		if (row % 4096 == 0)
			CHECK_FOR_INTERRUPTS();
		if (forest->parent[row] == NOT_YET)
		{
			forest->parent[row] = dbp_walk_map_find(&forest->map, forest->key,
													&forest->above[row]);
			orphan = true;
		}
		if (forest->parent[row] != WALK_NONE)
			continue;
		if (forest->nroots == allocated)
		{
			allocated *= 2;
			forest->root = repalloc_huge(forest->root, sizeof(WalkRoot) * allocated);
		}
		forest->root[forest->nroots].row = row;
		forest->root[forest->nroots].orphan = orphan;
		forest->root[forest->nroots++].above = !orphan ? (Datum) 0 :
			walk_key(type, walk_values(type, &forest->above[row]));
	}
	pfree(forest->above);
	forest->above = NULL;
}

/*
 * group_children fills first and child.
 */
static void
group_children(WalkForest *forest)
{
	uint32	   *first;
	uint32		sum = 0;

	forest->child = MemoryContextAllocHuge(forest->cxt, sizeof(uint32) * ((Size) forest->n + 1));
	first = MemoryContextAllocExtended(forest->cxt, sizeof(uint32) * ((Size) forest->n + 2),
									   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	/* first[r + 2] counts, then first[r + 1] says where the next one goes. */
	for (uint32 row = 0; row < forest->n; row++)
	{
		if (forest->parent[row] != WALK_NONE)
			first[(Size) forest->parent[row] + 2]++;
	}
	for (Size r = 2; r < (Size) forest->n + 2; r++)
		first[r] = sum += first[r];
	for (uint32 row = 0; row < forest->n; row++)
	{
		if (forest->parent[row] != WALK_NONE)
			forest->child[first[(Size) forest->parent[row] + 1]++] = row;
	}
	forest->first = first;
}

/*
 * What siblings are sorted in, one family after the other.
 */
typedef struct Siblings
{
	WalkForest *forest;
	WalkSorter	sorter;
	WalkSortItem *items;
	uint32		allocated;
} Siblings;

static void
make_room_for(Siblings *siblings, uint32 n)
{
	if (n <= siblings->allocated)
		return;
	siblings->allocated = Max(n, 1024);
	siblings->items = enlarge(siblings->items, sizeof(WalkSortItem) * siblings->allocated);
}

/*
 * set_item fills an item for a row; number finds it again.
 */
static inline void
set_item(Siblings *siblings, uint32 at, uint32 row, uint32 number)
{
	WalkSortItem *item = &siblings->items[at];

	item->key = siblings->forest->key[row];
	item->order = siblings->forest->order[row];
	item->isnull = siblings->forest->order_isnull[row];
	item->row = number;
}

static void
order_rows(Siblings *siblings, uint32 *rows, uint32 n)
{
	make_room_for(siblings, n);
	for (uint32 i = 0; i < n; i++)
		set_item(siblings, i, rows[i], rows[i]);
	dbp_walk_sort(&siblings->sorter, siblings->items, n);
	for (uint32 i = 0; i < n; i++)
		rows[i] = siblings->items[i].row;
}

/*
 * order_roots orders the roots, which are siblings, too, but carry more than a
 * row.
 */
static void
order_roots(Siblings *siblings)
{
	WalkForest *forest = siblings->forest;
	WalkRoot   *root = forest->root;
	uint32		n = forest->nroots;

	make_room_for(siblings, n);
	for (uint32 i = 0; i < n; i++)
		set_item(siblings, i, root[i].row, i);
	dbp_walk_sort(&siblings->sorter, siblings->items, n);
	forest->root = MemoryContextAllocHuge(forest->cxt, sizeof(WalkRoot) * ((Size) n + 1));
	for (uint32 i = 0; i < n; i++)
		forest->root[i] = root[siblings->items[i].row];
	pfree(root);
}

static void
order_children(WalkForest *forest)
{
	Siblings	siblings = {.forest = forest};

	dbp_walk_sorter_init(&siblings.sorter, forest->source);
	for (uint32 row = 0; row < forest->n; row++)
	{
		uint32		n = forest->first[row + 1] - forest->first[row];

		if (row % 4096 == 0)
			CHECK_FOR_INTERRUPTS();
		if (n > 1)
			order_rows(&siblings, forest->child + forest->first[row], n);
	}
	order_roots(&siblings);
	if (siblings.items != NULL)
		pfree(siblings.items);
	pfree(forest->order);
	pfree(forest->order_isnull);
}

/*
 * dbp_walk_load reads a whole table into CurrentMemoryContext; without children
 * only keys and parents.  The source is open.
 */
WalkForest *
dbp_walk_load(WalkSource *source, bool children)
{
	WalkForest *forest = palloc0(sizeof(WalkForest));

	forest->source = source;
	forest->cxt = CurrentMemoryContext;
	forest->least = PG_INT64_MAX;
	forest->greatest = PG_INT64_MIN;
	forest->scratch = AllocSetContextCreate(forest->cxt, "dbpatterns walk parents",
											ALLOCSET_DEFAULT_SIZES);
	make_room(forest);
	dbp_walk_read_all(source, load_row, forest);
	fill_map(forest);
	find_parents(forest);
	if (children)
	{
		group_children(forest);
		if (source->order != 0)
			order_children(forest);
	}
	MemoryContextDelete(forest->scratch);
	return forest;
}

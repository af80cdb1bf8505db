/*-------------------------------------------------------------------------
 *
 * walk_read.c
 *	  Reading an adjacency list from its table and its indexes.
 *
 * The hard part is to look up the children of many nodes at once.  Going down
 * the index for each of them is what a nested loop does; instead the nodes are
 * sorted and merged with the index: where the next node is near, which it is
 * in most trees as they were loaded, the index is just read on, and the nodes
 * without children cost one comparison.  Where it is far the index is searched
 * again.  On the way along a chain there is one node at a time; if their keys
 * have been near each other for a while, the index is read on there, too.  Walks
 * up from many nodes meet: what one has found on its way is remembered for the
 * others.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/walk_read.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/itup.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "compat/compat.h"
#include "hierarchy/walk.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* Entries of an index that are read to find the next node without a search. */
#define NEAR	24

/*
 * A search for a range reads what is on the page, which costs as much as some
 * searches for one key: it must do for so many nodes.  That is judged after
 * some trials.
 */
#define WORTH	6
#define TRIALS	4

/* Rows between two resets of what comparisons leave behind. */
#define RESET_ROWS	1024

/*
 * columns_of fetches some columns of a row; false if one is NULL.
 */
static inline bool
columns_of(TupleTableSlot *slot, const AttrNumber *attnums, int n, Datum *values)
{
	for (int i = 0; i < n; i++)
	{
		bool		isnull;

		values[i] = slot_getattr(slot, attnums[i], &isnull);
		if (isnull)
			return false;
	}
	return true;
}

static inline Datum
order_of(WalkSource *source, TupleTableSlot *slot, bool *isnull)
{
	*isnull = true;
	return source->order != 0 ? slot_getattr(slot, source->order, isnull) : (Datum) 0;
}

/*
 * emit passes a row to its receiver, who may leave something in the scratch
 * context.  Scans must not run in it: they keep what they allocate.
 */
static inline void
emit(WalkSource *source, TupleTableSlot *slot, uint32 node, bool with_parent,
	 WalkRow row, void *arg)
{
	Datum		key[HIER_MAX_KEY];
	Datum		parent[HIER_MAX_KEY];
	bool		has_parent = false;
	bool		isnull;
	Datum		order;
	MemoryContext oldcxt;

	slot_getsomeattrs(slot, source->last);
	if (!columns_of(slot, source->key, source->type.n, key))
		return;					/* cannot be: NOT NULL */
	if (with_parent)
		has_parent = columns_of(slot, source->parent, source->type.n, parent);
	order = order_of(source, slot, &isnull);
	oldcxt = MemoryContextSwitchTo(source->scratch);
	row(arg, node, key, has_parent ? parent : NULL, order, isnull);
	MemoryContextSwitchTo(oldcxt);
}

/*
 * dbp_walk_read_all reads the whole table.
 */
void
dbp_walk_read_all(WalkSource *source, WalkRow row, void *arg)
{
	TupleTableSlot *slot;
	TableScanDesc scan;
	uint64		n = 0;

	if (!source->direct)
	{
		dbp_walk_sql_all(source, row, arg);
		return;
	}
	slot = table_slot_create(source->rel, NULL);
	/* From the first page on, so that the order of rows does not change. */
	scan = table_beginscan_strat(source->rel, GetActiveSnapshot(), 0, NULL, true, false);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		emit(source, slot, 0, true, row, arg);
		if (++n % RESET_ROWS == 0)
		{
			CHECK_FOR_INTERRUPTS();
			MemoryContextReset(source->scratch);
		}
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
}

/* ---- looking up rows by an index ---- */

typedef struct WalkLookup
{
	WalkSource *source;
	WalkIndex  *use;
	Relation	index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
	ScanKeyData keys[HIER_MAX_KEY];
} WalkLookup;

/*
 * open_lookup prepares to search for one key, or for all from one on or up to
 * one: strategy is that of btree.
 */
static WalkLookup *
open_lookup(WalkSource *source, WalkIndex *use, StrategyNumber strategy)
{
	WalkLookup *lookup = palloc(sizeof(WalkLookup));
	int			n = source->type.n;

	lookup->source = source;
	lookup->use = use;
	lookup->index = index_open(use->indexid, AccessShareLock);
	lookup->slot = table_slot_create(source->rel, NULL);
	for (int i = 0; i < n; i++)
		ScanKeyEntryInitialize(&lookup->keys[use->column[i] - 1], 0, use->column[i],
							   strategy, InvalidOid, source->type.col[i].collation,
							   strategy == BTEqualStrategyNumber ? use->equal[i] :
							   strategy == BTLessEqualStrategyNumber ? use->upto : use->from,
							   (Datum) 0);
	lookup->scan = index_beginscan(source->rel, lookup->index, GetActiveSnapshot(), NULL, n, 0);
	lookup->scan->xs_want_itup = strategy != BTEqualStrategyNumber;
	return lookup;
}

static void
search(WalkLookup *lookup, const WalkKey *key)
{
	const Datum *values = walk_values(&lookup->source->type, key);

	for (int i = 0; i < lookup->source->type.n; i++)
		lookup->keys[lookup->use->column[i] - 1].sk_argument = values[i];
	index_rescan(lookup->scan, lookup->keys, lookup->source->type.n, NULL, 0);
}

static void
close_lookup(WalkLookup *lookup)
{
	if (lookup == NULL)
		return;
	index_endscan(lookup->scan);
	index_close(lookup->index, NoLock);
	ExecDropSingleTupleTableSlot(lookup->slot);
	pfree(lookup);
}

/*
 * value_at returns what the entry of the index that was read last is for.
 */
static inline Datum
value_at(WalkLookup *lookup, bool *isnull)
{
	return index_getattr(lookup->scan->xs_itup, 1, lookup->scan->xs_itupdesc, isnull);
}

/* ---- following integers that are near each other ---- */

/* Keys in a row that have to be near, before it is worth a search for a range. */
#define STREAK	8

typedef struct WalkFollow
{
	WalkLookup *lookup;			/* NULL: not following */
	int			direction;		/* where keys go: 1, -1 */
	int			streak;
	int64		last;			/* key */
	bool		held;			/* an entry was read and not used: */
	int64		at;				/* its value */
} WalkFollow;

static void
read_on(WalkFollow *follow)
{
	ScanDirection direction = follow->direction > 0 ? ForwardScanDirection :
		BackwardScanDirection;
	bool		isnull = true;
	Datum		value = (Datum) 0;

	if (index_getnext_tid(follow->lookup->scan, direction) != NULL)
		value = value_at(follow->lookup, &isnull);
	follow->held = !isnull;
	follow->at = (int64) value;
}

/*
 * find_by_following reads on to a key, if it and those before it were near each
 * other; then the entries for it are those that are held.  False: search.
 */
static bool
find_by_following(WalkFollow *follow, WalkSource *source, WalkIndex *use, int64 key)
{
	int			direction = key > follow->last ? 1 : -1;
	uint64		distance = direction > 0 ? (uint64) key - (uint64) follow->last :
		(uint64) follow->last - (uint64) key;

	follow->last = key;
	if (!source->type.integer || !RegProcedureIsValid(use->from))
		return false;
	if (distance > NEAR || direction != follow->direction)
	{
		close_lookup(follow->lookup);
		follow->lookup = NULL;
		follow->direction = direction;
		follow->streak = 0;
		return false;
	}
	if (++follow->streak < STREAK)
		return false;

	if (follow->lookup == NULL)
	{
		WalkKey		start = (WalkKey) key;

		follow->lookup = open_lookup(source, use, direction > 0 ?
									 BTGreaterEqualStrategyNumber : BTLessEqualStrategyNumber);
		search(follow->lookup, &start);
		read_on(follow);
	}
	for (int passed = 0; follow->held &&
		 (direction > 0 ? follow->at < key : follow->at > key); passed++)
	{
		/* Many entries for few values: their rows have died, or are many. */
		if (passed > NEAR)
		{
			follow->streak = 0;
			close_lookup(follow->lookup);
			follow->lookup = NULL;
			return false;
		}
		read_on(follow);
	}
	return true;
}

static int
compare_probes(const void *a, const void *b, void *arg)
{
	return walk_compare(arg, &((const WalkProbe *) a)->key, &((const WalkProbe *) b)->key);
}

/*
 * merge reads the index on, from the children of the first probe, and returns
 * the number of probes that are done: all of them, or those before one that is
 * better searched for.
 */
static uint32
merge(WalkLookup *lookup, WalkProbe *probes, uint32 n, WalkRow row, void *arg)
{
	WalkSource *source = lookup->source;
	HierKeyType *type = &source->type;
	uint32		at = 0;
	int			passed = 0;

	while (index_getnext_tid(lookup->scan, ForwardScanDirection) != NULL)
	{
		bool		isnull;
		Datum		parent = value_at(lookup, &isnull);
		WalkKey		key = type->integer ? parent : PointerGetDatum(&parent);
		int			order = -1;
		MemoryContext oldcxt;

		if (isnull)
			break;
		oldcxt = MemoryContextSwitchTo(source->scratch);
		while (at < n && (order = walk_compare(type, &probes[at].key, &key)) < 0)
			at++;
		MemoryContextSwitchTo(oldcxt);
		if (at == n)
			return n;
		if (order == 0)
		{
			passed = 0;
			if (index_fetch_heap(lookup->scan, lookup->slot))
				emit(source, lookup->slot, probes[at].node, false, row, arg);
		}
		else if (++passed > NEAR)
			return at;
		CHECK_FOR_INTERRUPTS();
	}
	return n;
}

/*
 * lookup_of returns one of the two lookups of children, which stay open as
 * long as the source.
 */
static WalkLookup *
lookup_of(WalkSource *source, bool merging)
{
	WalkLookup **lookup = merging ? &source->merging : &source->lookup;

	if (*lookup == NULL)
		*lookup = open_lookup(source, &source->by_parent, merging ?
							  BTGreaterEqualStrategyNumber : BTEqualStrategyNumber);
	return *lookup;
}

/*
 * dbp_walk_end_lookup ends what dbp_walk_read_children has begun.
 */
void
dbp_walk_end_lookup(WalkSource *source)
{
	close_lookup(source->merging);
	close_lookup(source->lookup);
	if (source->follow != NULL)
	{
		close_lookup(source->follow->lookup);
		pfree(source->follow);
	}
	source->merging = NULL;
	source->lookup = NULL;
	source->follow = NULL;
}

/*
 * merge_children merges as long as that saves searches, and returns the number
 * of probes that are done.
 */
static uint32
merge_children(WalkSource *source, WalkProbe *probes, uint32 n, WalkRow row, void *arg)
{
	WalkLookup *lookup = lookup_of(source, true);
	uint32		at = 0;
	uint32		searches = 0;

	qsort_arg(probes, n, sizeof(WalkProbe), compare_probes, &source->type);
	while (at < n && (searches < TRIALS || at >= searches * WORTH))
	{
		search(lookup, &probes[at].key);
		at += merge(lookup, probes + at, n - at, row, arg);
		searches++;
		MemoryContextReset(source->scratch);
	}
	return at;
}

/*
 * search_children reads the children of one node.
 */
static void
search_children(WalkSource *source, WalkProbe *probe, WalkRow row, void *arg)
{
	WalkFollow *follow = source->follow;
	WalkLookup *lookup;

	if (find_by_following(follow, source, &source->by_parent, (int64) probe->key))
	{
		while (follow->held && follow->at == (int64) probe->key)
		{
			if (index_fetch_heap(follow->lookup->scan, follow->lookup->slot))
				emit(source, follow->lookup->slot, probe->node, false, row, arg);
			CHECK_FOR_INTERRUPTS();
			read_on(follow);
		}
		return;
	}
	lookup = lookup_of(source, false);
	search(lookup, &probe->key);
	while (index_getnext_slot(lookup->scan, ForwardScanDirection, lookup->slot))
	{
		emit(source, lookup->slot, probe->node, false, row, arg);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * dbp_walk_read_children reads the children of some nodes: those of one node
 * one after the other, in no particular order of nodes.  Reorders probes.
 */
void
dbp_walk_read_children(WalkSource *source, WalkProbe *probes, uint32 n, WalkRow row, void *arg)
{
	uint32		at = 0;

	if (!source->direct)
	{
		dbp_walk_sql_children(source, probes, n, row, arg);
		return;
	}
	if (source->follow == NULL)
		source->follow = palloc0(sizeof(WalkFollow));
	if (n >= WORTH && RegProcedureIsValid(source->by_parent.from))
		at = merge_children(source, probes, n, row, arg);
	for (; at < n; at++)
	{
		search_children(source, &probes[at], row, arg);
		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(source->scratch);
	}
}

/* ---- parents that many walks come by ---- */

/* Entries, a power of two; a newer one takes the place of an older one. */
#define MEMORY_BITS	12

typedef struct WalkEntry
{
	bool		used;
	bool		has_parent;
	Datum		key;
	Datum		parent;
} WalkEntry;

typedef struct WalkMemory
{
	TransactionId xmin;			/* of the snapshot it is for */
	TransactionId xmax;
	CommandId	curcid;
	WalkEntry	entry[1 << MEMORY_BITS];
} WalkMemory;

/*
 * prepare_memory returns what earlier walks of the query have found; NULL for
 * the first, which may stay the only one.  Keys that are no integers would have
 * to be copied.
 */
static WalkMemory *
prepare_memory(WalkSource *source)
{
	Snapshot	snapshot = GetActiveSnapshot();
	WalkMemory *memory = source->memory;
	bool		first = !source->climbed;

	source->climbed = true;
	if (first || !source->type.integer)
		return NULL;
	if (memory == NULL)
		memory = source->memory = MemoryContextAllocZero(source->cxt, sizeof(WalkMemory));
	else if (memory->xmin != snapshot->xmin || memory->xmax != snapshot->xmax ||
			 memory->curcid != snapshot->curcid)
		memset(memory, 0, sizeof(WalkMemory));
	memory->xmin = snapshot->xmin;
	memory->xmax = snapshot->xmax;
	memory->curcid = snapshot->curcid;
	return memory;
}

/*
 * entry_of returns where a key is remembered, if it is.
 */
static inline WalkEntry *
entry_of(WalkMemory *memory, Datum key)
{
	return &memory->entry[((uint64) key * UINT64CONST(0x9E3779B97F4A7C15)) >> (64 - MEMORY_BITS)];
}

/*
 * climb_remembered takes steps as long as the way is remembered, and leaves next
 * at the node that is to be looked up; false if there is none.
 */
static bool
climb_remembered(WalkMemory *memory, WalkKey *next, WalkStep step, void *arg)
{
	for (;;)
	{
		WalkEntry  *entry = entry_of(memory, *next);
		Datum		key = *next;

		if (!entry->used || entry->key != key)
			return true;
		CHECK_FOR_INTERRUPTS();
		if (!step(arg, &key, entry->has_parent ? &entry->parent : NULL) || !entry->has_parent)
			return false;
		*next = entry->parent;
	}
}

static void
remember(WalkMemory *memory, Datum key, bool has_parent, Datum parent)
{
	WalkEntry  *entry = entry_of(memory, key);

	entry->used = true;
	entry->has_parent = has_parent;
	entry->key = key;
	entry->parent = has_parent ? parent : (Datum) 0;
}

/*
 * find_node finds the row of a key, and returns its slot; NULL if there is none.
 */
static TupleTableSlot *
find_node(WalkLookup *lookup, WalkFollow *follow, WalkKey *key)
{
	if (find_by_following(follow, lookup->source, lookup->use, (int64) *key))
	{
		while (follow->held && follow->at == (int64) *key)
		{
			if (index_fetch_heap(follow->lookup->scan, follow->lookup->slot))
				return follow->lookup->slot;
			read_on(follow);
		}
		return NULL;
	}
	search(lookup, key);
	return index_getnext_slot(lookup->scan, ForwardScanDirection, lookup->slot) ?
		lookup->slot : NULL;
}

/*
 * dbp_walk_climb reads a node, its parent, and so on, until step says stop
 * (true) or a row is not there (false).
 */
bool
dbp_walk_climb(WalkSource *source, WalkKey from, WalkStep step, void *arg)
{
	WalkLookup *lookup;
	WalkFollow	follow = {0};
	int			n = source->type.n;
	MemoryContext oldcxt;
	WalkKey		next = from;
	Datum		above[HIER_MAX_KEY];
	bool		more;
	TupleTableSlot *slot;
	WalkMemory *memory;

	if (!source->direct)
		return dbp_walk_sql_climb(source, from, step, arg);
	memory = prepare_memory(source);
	lookup = open_lookup(source, &source->by_key, BTEqualStrategyNumber);
	do
	{
		Datum		key[HIER_MAX_KEY];
		bool		has_parent;

		CHECK_FOR_INTERRUPTS();
		slot = find_node(lookup, &follow, &next);
		if (slot == NULL)
			break;
		slot_getsomeattrs(slot, source->last);
		(void) columns_of(slot, source->key, n, key);
		has_parent = columns_of(slot, source->parent, n, above);
		/* What is searched for next outlives the row it came from. */
		MemoryContextReset(source->scratch);
		oldcxt = MemoryContextSwitchTo(source->scratch);
		more = step(arg, key, has_parent ? above : NULL) && has_parent;
		if (more)
			next = walk_key(&source->type, above);
		MemoryContextSwitchTo(oldcxt);
		if (memory != NULL)
		{
			/* Where a walk starts others seldom come by. */
			if (key[0] != from)
				remember(memory, key[0], has_parent, above[0]);
			more = more && climb_remembered(memory, &next, step, arg);
		}
	} while (more);
	close_lookup(lookup);
	close_lookup(follow.lookup);
	return slot != NULL;
}

/*-------------------------------------------------------------------------
 *
 * walk.h
 *	  Adjacency lists without storage: what the files of the walk share.
 *
 * walk.c returns rows, walk_nodes.c finds them, walk_source.c finds out what is
 * to be read, walk_read.c and walk_sql.c read it, walk_forest.c holds a whole
 * table in memory.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/walk.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_WALK_H
#define DBP_WALK_H

#include "hierarchy/hierarchy.h"
#include "utils/sortsupport.h"

/* A key in one word: an integer itself, else a pointer to its values. */
typedef Datum WalkKey;

/* No row, no node. */
#define WALK_NONE	PG_UINT32_MAX

static inline const Datum *
walk_values(const HierKeyType *type, const WalkKey *key)
{
	return type->integer ? key : (const Datum *) DatumGetPointer(*key);
}

/* Copies values into CurrentMemoryContext, unless they fit the word. */
static inline WalkKey
walk_key(HierKeyType *type, const Datum *values)
{
	return type->integer ? values[0] : PointerGetDatum(dbp_key_copy(type, values));
}

static inline bool
walk_equal(HierKeyType *type, const WalkKey *a, const WalkKey *b)
{
	return type->integer ? *a == *b :
		dbp_key_equal(type, walk_values(type, a), walk_values(type, b));
}

static inline int
walk_compare(HierKeyType *type, const WalkKey *a, const WalkKey *b)
{
	if (type->integer)
		return (int64) *a < (int64) *b ? -1 : (int64) *a > (int64) *b;
	return dbp_key_compare(type, walk_values(type, a), walk_values(type, b));
}

/* ---- walk_source.c: what is walked ---- */

/* An index that finds rows by a list of columns, in the list's order. */
typedef struct WalkIndex
{
	Oid			indexid;		/* InvalidOid: there is none */
	AttrNumber	column[HIER_MAX_KEY];
	RegProcedure equal[HIER_MAX_KEY];
	RegProcedure from;			/* >= and <=, if it can be read in key order */
	RegProcedure upto;
} WalkIndex;

typedef struct WalkSource
{
	Oid			relid;
	char	   *name;			/* for messages */
	HierKeyType type;
	AttrNumber	key[HIER_MAX_KEY];
	AttrNumber	parent[HIER_MAX_KEY];
	AttrNumber	order;			/* 0: siblings are not ordered */
	AttrNumber	last;			/* greatest of all these */
	int			nused;			/* all these, with their types */
	AttrNumber	used[2 * HIER_MAX_KEY + 1];
	Oid			used_type[2 * HIER_MAX_KEY + 1];
	Oid			order_operator; /* < */
	Oid			order_collation;
	int16		order_typlen;
	bool		order_typbyval;
	bool		direct;			/* read table and indexes, not through SQL */
	bool		probes;			/* children can be looked up */
	double		rows;			/* of the table, about */
	WalkIndex	by_key;
	WalkIndex	by_parent;
	MemoryContext cxt;			/* where this lives */
	MemoryContext scratch;		/* reset now and then while reading */
	char	   *sql_all;		/* made when needed */
	char	   *sql_children;
	char	   *sql_node;
	/* while open */
	Relation	rel;
	struct WalkLookup *merging; /* of children */
	struct WalkLookup *lookup;
	struct WalkFollow *follow;
	/* over all walks of a query */
	bool		climbed;
	struct WalkMemory *memory;
} WalkSource;

extern WalkSource *dbp_walk_source(Oid relid, List *parent, List *key, const char *order_by);
extern void dbp_walk_open(WalkSource *source);
extern void dbp_walk_close(WalkSource *source);

/* ---- walk_read.c, walk_sql.c: reading it, with the active snapshot ---- */

/* A node whose children are looked up. */
typedef struct WalkProbe
{
	WalkKey		key;
	uint32		node;
} WalkProbe;

/*
 * Gets a row.  node: that of the probe.  key, parent: values that are gone
 * with the next row; parent is NULL for a root, and with children.
 */
typedef void (*WalkRow) (void *arg, uint32 node, const Datum *key, const Datum *parent,
						 Datum order, bool order_isnull);

/* Gets a node on the way up; false stops. */
typedef bool (*WalkStep) (void *arg, const Datum *key, const Datum *parent);

extern void dbp_walk_end_lookup(WalkSource *source);
extern void dbp_walk_read_all(WalkSource *source, WalkRow row, void *arg);
extern void dbp_walk_read_children(WalkSource *source, WalkProbe *probes, uint32 n,
								   WalkRow row, void *arg);
extern bool dbp_walk_climb(WalkSource *source, WalkKey from, WalkStep step, void *arg);
extern void dbp_walk_sql_all(WalkSource *source, WalkRow row, void *arg);
extern void dbp_walk_sql_children(WalkSource *source, WalkProbe *probes, uint32 n,
								  WalkRow row, void *arg);
extern bool dbp_walk_sql_climb(WalkSource *source, WalkKey from, WalkStep step, void *arg);

/* ---- walk_forest.c: a whole table in memory ---- */

/* From keys to the places where they are in an array of structs. */
typedef struct WalkMap
{
	HierKeyType *type;
	Size		stride;			/* of the array; the key is first in each */
	uint32		n;
	uint32		mask;
	struct WalkMapSlot *slots;
	uint32	   *dense;			/* instead of slots: by integer */
	int64		least;
	uint64		range;
} WalkMap;

extern void dbp_walk_map_init(WalkMap *map, HierKeyType *type, Size stride);
extern uint32 dbp_walk_map_find(WalkMap *map, const void *array, const WalkKey *key);
extern uint32 dbp_walk_map_add(WalkMap *map, const void *array, uint32 place);

/* What siblings are sorted by. */
typedef struct WalkSortItem
{
	Datum		order;
	bool		isnull;
	WalkKey		key;
	uint32		row;
} WalkSortItem;

typedef struct WalkSorter
{
	HierKeyType *type;
	SortSupportData order;
} WalkSorter;

extern Datum dbp_walk_copy_order(WalkSource *source, Datum order);
extern void dbp_walk_sorter_init(WalkSorter *sorter, WalkSource *source);
extern void dbp_walk_sort(WalkSorter *sorter, WalkSortItem *items, uint32 n);

typedef struct WalkRoot
{
	uint32		row;
	WalkKey		above;			/* what its parent columns hold */
	bool		orphan;			/* or nothing */
} WalkRoot;

/* Rows are numbered in the order they were read. */
typedef struct WalkForest
{
	WalkSource *source;
	MemoryContext cxt;
	uint32		n;
	uint32		allocated;
	WalkKey    *key;
	uint32	   *parent;			/* row, or WALK_NONE */
	WalkMap		map;
	uint32	   *first;			/* children of r: child[first[r] .. first[r +
								 * 1] - 1] */
	uint32	   *child;
	WalkRoot   *root;
	uint32		nroots;
	/* while loading */
	MemoryContext scratch;		/* of what is in above and order */
	WalkKey    *above;
	Datum	   *order;
	bool	   *order_isnull;
	int64		least;
	int64		greatest;
} WalkForest;

extern WalkForest *dbp_walk_load(WalkSource *source, bool children);

/* ---- walk_nodes.c: finding the nodes of a walk ---- */

/* A found node.  The key must be first: maps look for it there. */
typedef struct WalkNode
{
	WalkKey		key;
	uint32		parent;			/* node; of a start, and upwards, place in
								 * above */
	int32		depth;
	uint32		first;			/* child, if any; before that, row of the
								 * forest or WALK_NONE */
	int32		nchildren;		/* or one of these */
} WalkNode;

#define WALK_NOT_EXPANDED	(-1)
#define WALK_CLOSES_CYCLE	(-2)

/* What a start's parent columns hold. */
typedef struct WalkAbove
{
	WalkKey		key;
	bool		isnull;
} WalkAbove;

typedef struct Walk
{
	MemoryContext cxt;			/* of all that follows */
	WalkSource *source;
	WalkForest *forest;			/* the table in memory; NULL: children are
								 * looked up */
	bool		has_start;
	WalkKey		start;
	bool		up;
	bool		breadth;
	bool		path;
	int32		max_depth;
	bool		lazy;			/* rows are taken one by one */

	WalkNode   *node;
	uint32		nnodes;
	uint32		allocated;
	WalkAbove  *above;
	uint32		nabove;
	uint32		above_allocated;

	/* downwards */
	uint32	   *agenda;
	uint32		head;			/* of the queue */
	uint32		tail;			/* of queue or stack */
	uint32		agenda_allocated;
	uint32		emitted;		/* node whose children are next, or WALK_NONE */
	uint32		not_expanded;	/* no node before this one has to be expanded */
	uint32		batch;
	double		looked_up;
	WalkSorter	sorter;
	WalkSortItem *items;		/* of the nodes from items_base on */
	uint32		nitems;
	uint32		items_allocated;
	uint32		items_base;

	/* upwards */
	WalkMap		seen;
	bool		at_end;
	uint32		next;			/* node to be emitted */
	uint32		wanted;

	/* result */
	TupleDesc	desc;
	bool		texts;			/* a key is an array of text */
	Oid			type;			/* of a key, its base type */
	int16		typlen;
	bool		typbyval;
	char		typalign;
	FmgrInfo	out[HIER_MAX_KEY];
} Walk;

extern void dbp_walk_begin(Walk *walk);
extern uint32 dbp_walk_next(Walk *walk);

#endif							/* DBP_WALK_H */

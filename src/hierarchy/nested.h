/*-------------------------------------------------------------------------
 *
 * nested.h
 *	  Nested sets: what the files that keep them share.
 *
 * Each node has an interval (lft, rgt) in the numbering of its tree, which is
 * named by the key of its root.  Intervals of nodes below lie within it, those
 * of other nodes outside; no number is used twice in a tree.  The root's
 * interval is (0, 2^k - 1), so it tells the range of the tree's numbering.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/nested.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_NESTED_H
#define DBP_NESTED_H

#include "hierarchy/hierarchy.h"

/* Numbers of a tree are less than 2 to the power of this. */
#define NESTED_MAX_BITS		62

/* Bounds of option gap: between neighbours of a tree numbered anew. */
#define NESTED_MIN_GAP		INT64CONST(4)
#define NESTED_MAX_GAP		(INT64CONST(1) << 40)
#define NESTED_DEFAULT_GAP	(INT64CONST(1) << 32)

/* Columns of the storage.  Those of the scope are both a node's and a tree's. */
typedef struct NestedColumns
{
	int			n;				/* columns of a key */
	AttrNumber	node[HIER_MAX_KEY];
	AttrNumber	tree[HIER_MAX_KEY];
	AttrNumber	lft;
	AttrNumber	rgt;
	AttrNumber	depth;
} NestedColumns;

/* A row of the storage. */
typedef struct NestedRow
{
	Datum	   *key;
	Datum	   *tree;			/* key of the root */
	int64		lft;
	int64		rgt;
	int			depth;
	ItemPointerData tid;
	bool		ours;			/* written by this transaction */
	bool		changed;		/* gets other numbers */
} NestedRow;

/* A node in memory that is to be placed, with all below it. */
typedef struct NestedNode
{
	HierMapEntry head;			/* MUST BE FIRST */
	NestedRow	row;			/* as stored before, or as it will be */
	struct NestedNode *parent;	/* in memory */
	struct NestedNode *first;	/* children in memory, in their order */
	struct NestedNode *last;
	struct NestedNode *next;

	/* What the flush of a statement knows of it. */
	bool		exists;			/* in the table */
	bool		stored;			/* row is, or was, in the storage */
	bool		loaded;			/* row has been taken out of the storage */
	bool		wants;			/* a place */
	bool		orphan;			/* its parent is not in the table */
	bool		ordered;		/* its children in memory are */
	uint8		mark;			/* of the search for cycles */
	Datum	   *wanted;			/* key of the parent; NULL: a root */
	NestedRow  *upper;			/* the parent's row; NULL: it is not stored */
	struct NestedNode *above;	/* parent when it was stored */
	int64		position;		/* among its siblings, for sorting */
} NestedNode;

/* ---- nested_row.c: rows and columns of the storage ---- */

extern char *dbp_nested_column(Relation rel, AttrNumber attnum);
extern void dbp_nested_find_columns(Relation rel, const HierSpec *spec, NestedColumns *columns);
extern void dbp_nested_fill(TupleTableSlot *slot, const NestedColumns *columns,
							const NestedRow *row);
extern void dbp_nested_read(TupleTableSlot *slot, const NestedColumns *columns,
							HierKeyType *type, NestedRow *row);

/* ---- nested_store.c: reading and writing the storage ---- */

typedef struct NestedStore NestedStore;

extern void dbp_nested_store_init(void);
extern NestedStore *dbp_nested_open(HierState *state, bool repair);
extern bool dbp_nested_lock(NestedStore *store);
extern HierState *dbp_nested_state(NestedStore *store);
extern bool dbp_nested_find(NestedStore *store, const Datum *node, NestedRow *row);
extern bool dbp_nested_before(NestedStore *store, const Datum *tree, int depth, int64 upto,
							  NestedRow *row);
extern bool dbp_nested_after(NestedStore *store, const Datum *tree, int64 from, NestedRow *row);
extern NestedRow *dbp_nested_range(NestedStore *store, const Datum *tree, int64 from, int64 upto,
								   int *n);
extern void dbp_nested_require_gap(NestedStore *store, const Datum *tree, int64 from, int64 upto);
extern void dbp_nested_delete(NestedStore *store, const NestedRow *row);
extern void dbp_nested_insert(NestedStore *store, const NestedRow *row);
extern void dbp_nested_write(NestedStore *store);
extern void dbp_nested_close(NestedStore *store);
extern void dbp_nested_damaged(NestedStore *store, const Datum *tree);

/* ---- nested_label.c: numbers ---- */

/* Spreads ends of intervals over a range of numbers. */
typedef struct NestedSpread
{
	int64		last;			/* the number given last */
	int64		step;			/* left free before an end */
	bool		before;			/* before opening ends, too */
} NestedSpread;

extern int	dbp_nested_bits(int64 n, int64 gap);
extern void dbp_nested_spread(NestedSpread *spread, int64 from, int64 upto, int64 n,
							  int64 closing, bool before, bool room_after);
extern int64 dbp_nested_next(NestedSpread *spread, bool close);
extern void dbp_nested_number_tree(NestedNode *root, int64 gap, bool before);
extern bool dbp_nested_place(NestedStore *store, const NestedRow *parent,
							 const NestedRow *previous, NestedNode *tops, int64 gap,
							 bool before);

/* ---- nested.c: following the table ---- */

typedef struct NestedFlush
{
	HierState  *state;
	HierQueue  *queue;
	NestedStore *store;
	bool		adopts;			/* new nodes may have children already */
	bool		again;			/* begin anew */
	bool		retried;		/* what seemed to be a cycle was none */
	MemoryContext cxt;			/* reset at each attempt */
	HierMap    *nodes;			/* NestedNode: touched and loaded ones */
	HierMap    *parents;		/* of touched ones */
	HierMap    *roots;			/* of trees to be locked */
	List	   *loaded;			/* NestedNode */
} NestedFlush;

extern HierTouched *dbp_nested_touch(NestedFlush *flush, const Datum *key);

/* ---- nested_gather.c, nested_place.c: the last steps of a flush ---- */

extern void dbp_nested_gather(NestedFlush *flush);
extern void dbp_nested_apply(NestedFlush *flush);

/* ---- nested_order.c: the order of siblings ---- */

/* Queries whose plans are kept in a HierState. */
typedef enum NestedQuery
{
	NESTED_VALUE,
	NESTED_PREDECESSOR,
	NESTED_PREDECESSOR_NULL,	/* of a node without a value */
	NESTED_CHILDREN
} NestedQuery;

extern bool dbp_nested_predecessor(HierState *state, const Datum *node, const Datum *parent,
								   Datum **previous);
extern List *dbp_nested_children(HierState *state, const Datum *parent);

/* ---- nested_build.c: all trees of a table ---- */

#define NESTED_NONE		PG_UINT32_MAX

/* Nodes by number, in the order of siblings. */
typedef struct NestedForest
{
	HierForest *forest;
	uint32		n;				/* those on or below a cycle are left out */
	HierNode  **nodes;
	uint32	   *first;			/* child, or NESTED_NONE */
	uint32	   *next;			/* sibling, or NESTED_NONE */
	uint32	   *root;
	uint32	   *preorder;		/* all nodes, tree by tree */
	int64	   *lft;
	int64	   *rgt;
} NestedForest;

extern NestedForest *dbp_nested_load(HierState *state, MemoryContext cxt);
extern void dbp_nested_fill_storage(HierState *state, Oid storageid);
extern void dbp_nested_rewrite(HierState *state, NestedForest *forest, const Datum *tree);

/* ---- nested_check.c ---- */

typedef void (*NestedReport) (const Datum *node, char *problem, void *arg);

extern void dbp_nested_compare(HierState *state, NestedForest *forest, NestedReport report,
							   void *arg);

/* ---- nested_readers.c ---- */

extern void dbp_nested_create_readers(Relation target, const HierSpec *spec);
extern void dbp_nested_drop_readers(Oid targetid, const HierSpec *spec);

#endif							/* DBP_NESTED_H */

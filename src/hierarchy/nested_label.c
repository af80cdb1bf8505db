/*-------------------------------------------------------------------------
 *
 * nested_label.c
 *	  Numbers of nested sets: where a node's interval begins and ends.
 *
 * The ends of all intervals of a tree are a list in order, an opening and a
 * closing end for each node, and keeping numbers on a list that grows anywhere
 * is list labelling.  New ends take numbers from the gap they fall into.  When
 * that is too small, ranges of numbers around it are looked at, each twice as
 * large as the one before and aligned to its size, up to the first that is
 * not too crowded; what is in it is spread evenly.  A range of size 2^i in a
 * tree of size 2^k may hold 2^i / gap^(i/k) ends: small ranges may be dense,
 * so that most repairs stay small, and each one gives room for a number of
 * inserts that pays for it.  Per end inserted, O(log n) are moved in the mean.
 * A tree in which even the largest range is crowded gets a larger one.
 *
 * The method is that of M. Bender, R. Cole, E. Demaine, M. Farach-Colton and
 * J. Zito, "Two simplified algorithms for maintaining order in a list" (ESA
 * 2002), with the density that the whole may have set by the caller.
 *
 * How a gap is shared is a guess at what comes next.  A first child leaves as
 * much room for siblings as it takes for what will be below it.  One that is
 * appended takes a part of what is left at the end of its parent, the smaller
 * the smaller that is: with r of w numbers left, r^2 / 4w.  So the room shrinks
 * as 1 / number of children, and not by a factor each, and a hundred thousand
 * children in a row find their place without moving others.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/nested_label.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "core/names.h"
#include "hierarchy/nested.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"

/* Goes through nodes in memory, from one end of an interval to the next. */
typedef struct Walk
{
	NestedNode *node;
	bool		close;
} Walk;

static bool
walk(Walk *at)
{
	if (!at->close)
	{
		if (at->node->first != NULL)
			at->node = at->node->first;
		else
			at->close = true;
	}
	else if (at->node->next != NULL)
	{
		at->node = at->node->next;
		at->close = false;
	}
	else if (at->node->parent != NULL)
		at->node = at->node->parent;
	else
		return false;
	return true;
}

/*
 * dbp_nested_spread prepares to spread n ends, "closing" of them closing ones,
 * over the numbers from "from" on and before "upto".  before: leave room before
 * opening ends, too; room_after: and after the last one.
 */
void
dbp_nested_spread(NestedSpread *spread, int64 from, int64 upto, int64 n, int64 closing,
				  bool before, bool room_after)
{
	int64		parts = (before ? n : closing) + (room_after ? 1 : 0);

	Assert(upto - from >= n);
	spread->last = from - 1;
	spread->step = (upto - from - n) / Max(parts, 1);
	spread->before = before;
}

/*
 * dbp_nested_next returns the number of the next end.
 */
int64
dbp_nested_next(NestedSpread *spread, bool close)
{
	spread->last += 1 + (close || spread->before ? spread->step : 0);
	return spread->last;
}

static void
give_number(NestedSpread *spread, const Walk *at)
{
	if (at->close)
		at->node->row.rgt = dbp_nested_next(spread, true);
	else
		at->node->row.lft = dbp_nested_next(spread, false);
}

/*
 * settle gives nodes their tree and depth and returns how many there are.
 */
static int64
settle(NestedNode *tops, Datum *tree, int depth)
{
	Walk		at = {tops, false};
	int64		n = 0;

	do
	{
		if (at.close)
			continue;
		if (n++ % 4096 == 0)
			CHECK_FOR_INTERRUPTS();
		at.node->row.key = at.node->head.key;
		at.node->row.tree = tree;
		at.node->row.depth = at.node->parent != NULL ? at.node->parent->row.depth + 1 : depth;
	} while (walk(&at));
	return n;
}

/*
 * dbp_nested_bits returns k for a tree of 2^k numbers that holds n ends, with
 * room for as many more at the given gap.
 */
int
dbp_nested_bits(int64 n, int64 gap)
{
	int			k = (int) ceil(log2((double) n) + log2((double) gap) + 1);

	/* No memory holds so many. */
	if (n > INT64CONST(1) << (NESTED_MAX_BITS - 2))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a tree has too many nodes for nested sets"),
				 errhint("Split the tree.")));
	return Min(k, NESTED_MAX_BITS);
}

/*
 * dbp_nested_number_tree numbers a tree in memory, root and all below it.
 * before: leave room before nodes, not only at the end of their parents.
 */
void
dbp_nested_number_tree(NestedNode *root, int64 gap, bool before)
{
	int64		n = settle(root, root->head.key, 0);
	int64		upto = (INT64CONST(1) << dbp_nested_bits(2 * n, gap)) - 1;
	Walk		at = {root, false};
	NestedSpread spread;

	root->row.lft = 0;
	root->row.rgt = upto;
	dbp_nested_spread(&spread, 1, upto, 2 * (n - 1), n - 1, before, true);
	while (walk(&at))
	{
		if (at.node != root)
			give_number(&spread, &at);
	}
}

/* ---- making room ----------------------------------------------------------- */

/* An end of the interval of a stored row. */
typedef struct End
{
	int64		number;
	NestedRow  *row;
	bool		close;
} End;

/* A range of numbers of a tree, and the rows that have an end in it. */
typedef struct Range
{
	NestedStore *store;
	Datum	   *tree;
	int64		from;			/* including it; numbers 0 and the root's rgt */
	int64		upto;			/* excluding it; are never moved */
	NestedRow  *rows;			/* that begin in it */
	int			nrows;
	int			allocated;
	NestedRow  *open;			/* that begin before it and end in it */
	int			nopen;
	int			open_allocated;
} Range;

static void
append_row(NestedRow **rows, int *n, int *allocated, const NestedRow *row)
{
	if (*n == *allocated)
	{
		*allocated = Max(16, *allocated * 2);
		*rows = *rows == NULL ? palloc(sizeof(NestedRow) * *allocated) :
			repalloc_huge(*rows, sizeof(NestedRow) * *allocated);
	}
	(*rows)[(*n)++] = *row;
}

/*
 * read_open finds the rows that are open where the range begins and end in it:
 * ancestors of the last row before it, or that row.
 */
static void
read_open(Range *range)
{
	NestedRow	last;
	NestedRow	row;

	range->nopen = 0;
	if (!dbp_nested_before(range->store, range->tree, -1, range->from - 1, &last))
		return;
	row = last;
	for (int depth = last.depth;; depth--)
	{
		if (depth < last.depth &&
			!dbp_nested_before(range->store, range->tree, depth, last.lft, &row))
			dbp_nested_damaged(range->store, range->tree);
		if (row.rgt >= range->upto)
			break;
		if (row.rgt >= range->from)
			append_row(&range->open, &range->nopen, &range->open_allocated, &row);
		if (depth == 0)
			break;
	}
}

static void
read_rows(Range *range, int64 from, int64 upto)
{
	int			n;
	NestedRow  *rows = dbp_nested_range(range->store, range->tree, from, upto, &n);

	for (int i = 0; i < n; i++)
		append_row(&range->rows, &range->nrows, &range->allocated, &rows[i]);
	pfree(rows);
}

/*
 * widen makes the range what it is given as; it grows only.
 */
static void
widen(Range *range, int64 from, int64 upto)
{
	bool		first = range->upto == range->from;
	int64		old_from = range->from;
	int64		old_upto = range->upto;

	range->from = from;
	range->upto = upto;
	if (first)
		read_rows(range, from, upto);
	else
	{
		if (from < old_from)
			read_rows(range, from, old_from);
		if (upto > old_upto)
			read_rows(range, old_upto, upto);
	}
	read_open(range);
}

static inline bool
is_in(const Range *range, int64 number)
{
	return number >= range->from && number < range->upto;
}

static int64
count_ends(Range *range)
{
	int64		n = range->nopen;

	for (int i = 0; i < range->nrows; i++)
		n += 1 + (is_in(range, range->rows[i].rgt) ? 1 : 0);
	return n;
}

static int
order_by_number(const void *a, const void *b)
{
	int64		left = ((const End *) a)->number;
	int64		right = ((const End *) b)->number;

	return left < right ? -1 : left > right;
}

static inline void
set_end(End *end, NestedRow *row, bool close)
{
	end->number = close ? row->rgt : row->lft;
	end->row = row;
	end->close = close;
}

/*
 * list_ends returns the ends in the range, in order.
 */
static End *
list_ends(Range *range, int64 n)
{
	End		   *ends = palloc_extended(sizeof(End) * Max(n, 1), MCXT_ALLOC_HUGE);
	int64		i = 0;

	for (int j = 0; j < range->nopen; j++)
		set_end(&ends[i++], &range->open[j], true);
	for (int j = 0; j < range->nrows; j++)
	{
		NestedRow  *row = &range->rows[j];

		set_end(&ends[i++], row, false);
		if (is_in(range, row->rgt))
			set_end(&ends[i++], row, true);
	}
	Assert(i == n);
	qsort(ends, n, sizeof(End), order_by_number);
	return ends;
}

/*
 * find_range looks for the smallest range around a number that can hold
 * nfurther more ends; false if none can, with the whole tree in the range.
 */
static bool
find_range(Range *range, int k, int64 number, int64 nfurther, int64 gap)
{
	double		dense = log2((double) gap) / k;

	for (int i = Min(k, Max(2, pg_leftmost_one_pos64(nfurther))); i <= k; i++)
	{
		int64		size = INT64CONST(1) << i;
		int64		from = number / size * size;
		int64		n;

		CHECK_FOR_INTERRUPTS();
		widen(range, Max(from, 1), Min(from + size, (INT64CONST(1) << k) - 1));
		n = count_ends(range) + nfurther;
		if (n * 2 > range->upto - range->from)
			continue;
		/* The largest there is may be as crowded as it must. */
		if (i == NESTED_MAX_BITS || (double) n <= exp2(i * (1 - dense)))
			return true;
	}
	return false;
}

/*
 * rewrite gives rows of the storage the numbers their ends got; those whose
 * numbers stay are left alone.
 */
static void
rewrite(Range *range, NestedRow *root, int64 root_rgt, End *ends, int64 nends)
{
	NestedRow **changed = palloc_extended(sizeof(NestedRow *) * (nends + 1), MCXT_ALLOC_HUGE);
	int64		n = 0;

	for (int64 i = 0; i < nends; i++)
	{
		NestedRow  *row = ends[i].row;

		if (row->changed || ends[i].number == (ends[i].close ? row->rgt : row->lft))
			continue;
		row->changed = true;
		changed[n++] = row;
	}
	if (root_rgt != root->rgt)
		changed[n++] = root;
	for (int64 i = 0; i < n; i++)
		dbp_nested_delete(range->store, changed[i]);
	root->rgt = root_rgt;
	for (int64 i = 0; i < nends; i++)
	{
		if (ends[i].close)
			ends[i].row->rgt = ends[i].number;
		else
			ends[i].row->lft = ends[i].number;
	}
	for (int64 i = 0; i < n; i++)
		dbp_nested_insert(range->store, changed[i]);
}

/*
 * spread_anew numbers all ends of the range evenly, with those of the new nodes
 * after the number "after".
 */
static void
spread_anew(Range *range, NestedRow *root, int64 root_rgt, int64 after, NestedNode *tops,
			int64 nnew, bool before)
{
	int64		nends = count_ends(range);
	End		   *ends = list_ends(range, nends);
	int64		closing = nnew / 2;
	int64		i = 0;
	Walk		at = {tops, false};
	NestedSpread spread;

	for (int64 j = 0; j < nends; j++)
		closing += ends[j].close;
	dbp_nested_spread(&spread, range->from, root_rgt != root->rgt ? root_rgt : range->upto,
					  nends + nnew, closing, before, true);
	for (; i < nends && ends[i].number <= after; i++)
		ends[i].number = dbp_nested_next(&spread, ends[i].close);
	do
		give_number(&spread, &at);
	while (walk(&at));
	for (; i < nends; i++)
		ends[i].number = dbp_nested_next(&spread, ends[i].close);
	rewrite(range, root, root_rgt, ends, nends);
}

/*
 * read_root reads the root of a tree and returns k of its 2^k numbers.
 */
static int
read_root(NestedStore *store, const Datum *tree, NestedRow *root)
{
	int			k;

	if (!dbp_nested_find(store, tree, root) || root->lft != 0 || root->depth != 0)
		dbp_nested_damaged(store, tree);
	k = pg_leftmost_one_pos64(root->rgt) + 1;
	if (root->rgt != (INT64CONST(1) << k) - 1)
		dbp_nested_damaged(store, tree);
	return k;
}

/*
 * make_room renumbers part of a tree so that the new nodes get numbers after
 * the number "after", and writes all that changes.
 */
static void
make_room(NestedStore *store, Datum *tree, int64 after, NestedNode *tops, int64 nnew,
		  int64 gap, bool before)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext,
											  "dbpatterns nested set range",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext oldcxt = MemoryContextSwitchTo(cxt);
	Range		range = {.store = store,.tree = tree};
	NestedRow	root;
	int64		root_rgt;
	int			k;

	dbp_nested_write(store);
	k = read_root(store, tree, &root);
	root_rgt = root.rgt;
	if (!find_range(&range, k, after, nnew, gap))
	{
		k = Max(k + 1, dbp_nested_bits(count_ends(&range) + nnew + 2, gap));
		root_rgt = (INT64CONST(1) << Min(k, NESTED_MAX_BITS)) - 1;
	}
	spread_anew(&range, &root, root_rgt, after, tops, nnew, before);
	dbp_nested_write(store);
	MemoryContextSwitchTo(oldcxt);
	MemoryContextDelete(cxt);
}

/* ---- placing --------------------------------------------------------------- */

/*
 * take_room numbers new nodes within the gap between two numbers; false if it
 * is too small.
 */
static bool
take_room(const NestedRow *parent, int64 after, int64 upto, NestedNode *tops, int64 n, int64 gap,
		  bool before)
{
	double		whole = parent->rgt - parent->lft;
	int64		room = upto - after - 1;
	int64		lead = 0;
	int64		width;
	Walk		at = {tops, false};
	NestedSpread spread;

	if (room < n)
		return false;
	if (before && upto < parent->rgt)
	{
		lead = room / 4;
		width = room / 2;
	}
	else if (after == parent->lft)
		width = room / 2;
	else
	{
		width = (int64) Min(room / 16, room / whole * room / 4);
		lead = before ? width / 2 : 0;
	}
	/* A large subtree may take what it would get if it was numbered anew. */
	if (n > 2)
		width = Max(width, (int64) Min((double) room / 2, (double) n * gap));
	width = Max(width, n);
	if (lead + width > room)
		lead = 0;
	dbp_nested_spread(&spread, after + 1 + lead, after + 1 + lead + width, n, n / 2, before, false);
	do
		give_number(&spread, &at);
	while (walk(&at));
	return true;
}

/*
 * dbp_nested_place numbers new nodes, a list of siblings with all below them,
 * as children of parent, next to previous (NULL: they come first), and writes
 * them.  before: children have an order, otherwise they are appended.  True if
 * other rows got other numbers, too.
 */
bool
dbp_nested_place(NestedStore *store, const NestedRow *parent, const NestedRow *previous,
				 NestedNode *tops, int64 gap, bool before)
{
	int64		n = 2 * settle(tops, parent->tree, parent->depth + 1);
	int64		after = previous != NULL ? previous->rgt : parent->lft;
	int64		upto = parent->rgt;
	bool		room;
	Walk		at = {tops, false};
	NestedRow	next;

	if (before)
	{
		dbp_nested_write(store);
		if (dbp_nested_after(store, parent->tree, after, &next) && next.lft < upto)
			upto = next.lft;
	}
	if (after < parent->lft || after >= upto)
		dbp_nested_damaged(store, parent->tree);
	dbp_nested_require_gap(store, parent->tree, after, upto);

	room = take_room(parent, after, upto, tops, n, gap, before);
	if (!room)
		make_room(store, parent->tree, after, tops, n, gap, before);
	do
	{
		if (!at.close)
			dbp_nested_insert(store, &at.node->row);
	} while (walk(&at));
	return !room;
}

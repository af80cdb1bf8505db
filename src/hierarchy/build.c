/*-------------------------------------------------------------------------
 *
 * build.c
 *	  A whole hierarchy from the rows of its table.
 *
 * The rows are read once, in any order, into a map of nodes that point to
 * their parents; a parent that comes later, or never, has its entry before its
 * row is read.  Depths follow in linear time and without recursion, so a chain
 * of a million nodes is as good as a bush.  A node costs about 90 bytes with
 * an integer key.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/build.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "core/names.h"
#include "hierarchy/hierarchy.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Depths, while they are not known; the first is as in hierarchy.h. */
#define DEPTH_CYCLIC	(-1)
#define DEPTH_NO_NODE	(-2)
#define DEPTH_UNKNOWN	(-3)
#define DEPTH_ON_PATH	(-4)

/* ---- reading ------------------------------------------------------------- */

typedef struct Loader
{
	HierState  *state;
	HierForest *forest;
	HierNode  **tail;			/* where the next node is put */
	MemoryContext row_cxt;
} Loader;

static void
find_columns(Relation rel, List *names, AttrNumber *attnums)
{
	ListCell   *lc;

	foreach(lc, names)
		attnums[foreach_current_index(lc)] = dbp_column_number(rel, lfirst(lc));
}

/*
 * read_key reads the values of some columns, and tells whether none of them is
 * NULL; those of the scope never are.
 */
static bool
read_key(Loader *loader, TupleTableSlot *slot, const AttrNumber *attnums, Datum *key)
{
	HierKeyType *type = &loader->state->type;

	for (int i = 0; i < type->n; i++)
	{
		bool		isnull;

		key[i] = slot_getattr(slot, attnums[i], &isnull);
		if (isnull)
			return false;
		if (type->col[i].typlen == -1)
			key[i] = PointerGetDatum(PG_DETOAST_DATUM_PACKED(key[i]));
	}
	return true;
}

static void
raise_no_key(Relation rel)
{
	ereport(ERROR,
			(errcode(ERRCODE_NOT_NULL_VIOLATION),
			 errmsg("table %s has a row without a key", dbp_relation_name(rel)),
			 errhint("Set the key columns NOT NULL again.")));
}

static void
raise_double_key(Relation rel, HierKeyType *type, Datum *key)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNIQUE_VIOLATION),
			 errmsg("table %s has two rows with the key %s", dbp_relation_name(rel),
					dbp_key_text(type, key)),
			 errhint("Create a unique index on the key columns again.")));
}

/*
 * add_row makes a node of a row.
 */
static void
add_row(Loader *loader, Relation rel, Datum *key, Datum *parent)
{
	HierForest *forest = loader->forest;
	HierNode   *node;
	bool		found;

	node = dbp_map_enter(forest->map, key, &found);
	if (found && node->depth != DEPTH_NO_NODE)
		raise_double_key(rel, &loader->state->type, key);
	node->depth = DEPTH_UNKNOWN;
	*loader->tail = node;
	loader->tail = &node->next;
	forest->nnodes++;

	if (parent == NULL)
		return;
	node->parent = dbp_map_enter(forest->map, parent, &found);
	if (!found)
		node->parent->depth = DEPTH_NO_NODE;
	node->parent_key = node->parent->head.key;
}

/*
 * read_relation reads the rows of the target or of one of its partitions.
 */
static void
read_relation(Loader *loader, Relation rel, Snapshot snapshot)
{
	AttrNumber	key_columns[HIER_MAX_KEY];
	AttrNumber	parent_columns[HIER_MAX_KEY];
	Datum		key[HIER_MAX_KEY];
	Datum		parent[HIER_MAX_KEY];
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	MemoryContext oldcxt = MemoryContextSwitchTo(loader->row_cxt);

	find_columns(rel, loader->state->spec.key, key_columns);
	find_columns(rel, loader->state->spec.parent, parent_columns);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (!read_key(loader, slot, key_columns, key))
			raise_no_key(rel);
		add_row(loader, rel, key,
				read_key(loader, slot, parent_columns, parent) ? parent : NULL);
		MemoryContextReset(loader->row_cxt);
	}
	MemoryContextSwitchTo(oldcxt);
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
}

static void
read_target(Loader *loader, Snapshot snapshot)
{
	Relation	root = table_open(loader->state->head.rootid, AccessShareLock);
	List	   *relids = root->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ?
		find_all_inheritors(RelationGetRelid(root), AccessShareLock, NULL) :
		list_make1_oid(RelationGetRelid(root));
	ListCell   *lc;

	foreach(lc, relids)
	{
		Relation	rel = table_open(lfirst_oid(lc), NoLock);

		if (rel->rd_rel->relkind == RELKIND_RELATION)
			read_relation(loader, rel, snapshot);
		else if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("partition %s of %s is not an ordinary table",
							dbp_relation_name(rel), dbp_relation_name(root)),
					 errhint("A hierarchy needs all its rows on this server.")));
		table_close(rel, NoLock);
	}
	table_close(root, NoLock);
}

/* ---- depths -------------------------------------------------------------- */

/*
 * set_depth finds the depth of a node, and of all above it that have none yet:
 * up to a node whose depth is known, then the same way again.
 */
static void
set_depth(HierForest *forest, HierNode *node)
{
	HierNode   *top;
	int64		steps = 0;
	int64		depth;

	for (top = node; top != NULL && top->depth == DEPTH_UNKNOWN; top = top->parent)
	{
		top->depth = DEPTH_ON_PATH;
		steps++;
	}
	/* A node of this very path: around a cycle.  Other paths are finished. */
	if (top != NULL && (top->depth == DEPTH_ON_PATH || top->depth == DEPTH_CYCLIC))
	{
		for (; node != NULL && node->depth == DEPTH_ON_PATH; node = node->parent)
		{
			node->depth = DEPTH_CYCLIC;
			forest->ncyclic++;
		}
		return;
	}
	depth = (top == NULL ? -1 : top->depth) + steps;
	for (; steps > 0; steps--, depth--, node = node->parent)
	{
		node->depth = (int) depth;
		forest->max_depth = Max(forest->max_depth, node->depth);
		forest->npairs += depth + 1;
	}
}

static void
set_depths(HierForest *forest)
{
	for (HierNode *node = forest->first; node != NULL; node = node->next)
	{
		if (node->parent != NULL && node->parent->depth == DEPTH_NO_NODE)
		{
			node->parent = NULL;
			forest->norphans++;
		}
	}
	for (HierNode *node = forest->first; node != NULL; node = node->next)
	{
		if (node->depth == DEPTH_UNKNOWN)
		{
			CHECK_FOR_INTERRUPTS();
			set_depth(forest, node);
		}
	}
}

/*
 * dbp_forest_load_snapshot reads the whole hierarchy as a snapshot shows it,
 * row-level security notwithstanding: storage does not depend on who looks.
 * Takes ACCESS SHARE on the target.  Raises 23502 for a key that is NULL and
 * 23505 for one that is there twice, which only a table whose constraints were
 * dropped can hold.
 */
HierForest *
dbp_forest_load_snapshot(HierState *state, Snapshot snapshot, MemoryContext cxt)
{
	HierForest *forest = MemoryContextAllocZero(cxt, sizeof(HierForest));
	Loader		loader = {state, forest, &forest->first, NULL};

	forest->map = dbp_map_create(&state->type, sizeof(HierNode), cxt);
	loader.row_cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns forest row",
										   ALLOCSET_SMALL_SIZES);
	read_target(&loader, snapshot);
	MemoryContextDelete(loader.row_cxt);
	set_depths(forest);
	return forest;
}

/*
 * dbp_forest_load reads what is committed now, and what this transaction did.
 */
HierForest *
dbp_forest_load(HierState *state, MemoryContext cxt)
{
	Snapshot	snapshot;
	HierForest *forest;

	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	forest = dbp_forest_load_snapshot(state, snapshot, cxt);
	UnregisterSnapshot(snapshot);
	return forest;
}

/*
 * dbp_forest_alloc returns room for something of each of n nodes, in
 * CurrentMemoryContext.
 */
void *
dbp_forest_alloc(Size n, Size size)
{
	return MemoryContextAllocHuge(CurrentMemoryContext, Max(n, 1) * size);
}

/* ---- what cannot be ------------------------------------------------------ */

#define CYCLES_SHOWN		20
#define CYCLE_NODES_SHOWN	50

/*
 * print_cycle prints the cycle that a node lies on from its least key on, each
 * node followed by its parent.
 */
static void
print_cycle(HierState *state, StringInfo text, HierNode *node)
{
	HierNode   *least = node;
	int			shown = 0;

	for (HierNode *next = node->parent; next != node; next = next->parent)
	{
		if (dbp_key_compare(&state->type, next->head.key, least->head.key) < 0)
			least = next;
	}
	node = least;
	do
	{
		if (shown++ == CYCLE_NODES_SHOWN)
		{
			appendStringInfoString(text, "... -> ");
			break;
		}
		appendStringInfo(text, "%s -> ", dbp_key_text(&state->type, node->head.key));
		node = node->parent;
	} while (node != least);
	appendStringInfoString(text, dbp_key_text(&state->type, least->head.key));
}

/*
 * dbp_forest_cycles names the cycles of a forest, each node followed by its
 * parent: "1 -> 2 -> 1; 4 -> 4"; NULL if there is none.
 */
char *
dbp_forest_cycles(HierState *state, HierForest *forest)
{
	StringInfoData text;
	uint32		walk = 0;
	int64		cycles = 0;

	if (forest->ncyclic == 0)
		return NULL;
	initStringInfo(&text);
	for (HierNode *node = forest->first; node != NULL; node = node->next)
		node->number = 0;
	for (HierNode *start = forest->first; start != NULL; start = start->next)
	{
		HierNode   *node = start;

		CHECK_FOR_INTERRUPTS();
		if (start->depth != DEPTH_CYCLIC || start->number != 0)
			continue;
		walk++;
		for (; node->number == 0; node = node->parent)
			node->number = walk;
		if (node->number != walk)
			continue;			/* ends in a cycle seen before */
		if (++cycles > CYCLES_SHOWN)
			continue;
		if (cycles > 1)
			appendStringInfoString(&text, "; ");
		print_cycle(state, &text, node);
	}
	if (cycles > CYCLES_SHOWN)
		appendStringInfo(&text, "; and %lld more", (long long) (cycles - CYCLES_SHOWN));
	for (HierNode *node = forest->first; node != NULL; node = node->next)
		node->number = 0;
	return text.data;
}

static void
raise_too_deep(HierState *state, HierForest *forest)
{
	HierNode   *node = forest->first;

	while (node->depth <= state->spec.max_depth)
		node = node->next;
	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("hierarchy of %s is deeper than %d",
					dbp_relation_name_by_oid(state->head.rootid), state->spec.max_depth),
			 errdetail("Node %s lies at depth %d, the deepest one at %d.",
					   dbp_key_text(&state->type, node->head.key), node->depth,
					   forest->max_depth),
			 errhint("Enable it with a greater max_depth, or NULL for no limit."),
			 err_generic_string(PG_DIAG_CONSTRAINT_NAME, state->spec.storage)));
}

static void
raise_orphan(HierState *state, HierForest *forest)
{
	HierNode   *node = forest->first;

	while (node->parent != NULL || node->parent_key == NULL)
		node = node->next;
	ereport(ERROR,
			(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
			 errmsg_plural("%lld row of %s names a parent that does not exist",
						   "%lld rows of %s name parents that do not exist",
						   (unsigned long) forest->norphans,
						   (long long) forest->norphans,
						   dbp_relation_name_by_oid(state->head.rootid)),
			 errdetail("Row %s names %s.", dbp_key_text(&state->type, node->head.key),
					   dbp_key_text(&state->type, node->parent_key)),
			 errhint("Insert the parents or set the columns NULL; or choose on_orphan => 'root'."),
			 err_generic_string(PG_DIAG_CONSTRAINT_NAME, state->spec.storage)));
}

/*
 * dbp_forest_require raises unless the forest can be stored: 23514 for cycles
 * and for nodes too deep, 23503 for orphans where they are refused.
 */
void
dbp_forest_require(HierState *state, HierForest *forest)
{
	if (forest->ncyclic > 0)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("rows of %s form cycles", dbp_relation_name_by_oid(state->head.rootid)),
				 errdetail("From each node to its parent: %s.",
						   dbp_forest_cycles(state, forest)),
				 errhint("Give one row of each cycle another parent; dbpatterns.adjacency_cycles lists them as rows."),
				 err_generic_string(PG_DIAG_CONSTRAINT_NAME, state->spec.storage)));
	if (state->spec.max_depth > 0 && forest->max_depth > state->spec.max_depth)
		raise_too_deep(state, forest);
	if (state->spec.orphan_error && forest->norphans > 0)
		raise_orphan(state, forest);
}

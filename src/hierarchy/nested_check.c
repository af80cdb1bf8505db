/*-------------------------------------------------------------------------
 *
 * nested_check.c
 *	  What nested sets hold against what they should hold.
 *
 * The rows are read once and put in the order of their intervals; one sweep
 * with the intervals that are open finds what crosses, and what lies where it
 * should not.  A node is named once, with the first thing that is wrong.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/nested_check.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "compat/compat.h"
#include "core/append.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/registry.h"
#include "funcapi.h"
#include "hierarchy/nested.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(dbpatterns_nested_set_check);

typedef struct Sweep
{
	HierState  *state;
	NestedForest *forest;
	NestedRow  *rows;
	int64		n;
	int64		allocated;
	bool	   *seen;			/* nodes of the forest, by number */
	NestedReport report;
	void	   *arg;
} Sweep;

/* ---- the rows ------------------------------------------------------------------ */

static void
read_storage(Sweep *sweep)
{
	Relation	rel = table_open(sweep->state->storageid, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	NestedColumns columns;

	dbp_nested_find_columns(rel, &sweep->state->spec, &columns);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (sweep->n == sweep->allocated)
		{
			sweep->allocated = Max(64, sweep->allocated * 2);
			sweep->rows = sweep->rows == NULL ?
				palloc(sizeof(NestedRow) * sweep->allocated) :
				repalloc_huge(sweep->rows, sizeof(NestedRow) * sweep->allocated);
		}
		dbp_nested_read(slot, &columns, &sweep->state->type, &sweep->rows[sweep->n++]);
	}
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
}

static int
order_rows(const void *a, const void *b, void *arg)
{
	const NestedRow *left = a;
	const NestedRow *right = b;
	int			order = dbp_key_compare(arg, left->tree, right->tree);

	if (order != 0)
		return order;
	if (left->lft != right->lft)
		return left->lft < right->lft ? -1 : 1;
	if (left->rgt != right->rgt)
		return left->rgt > right->rgt ? -1 : 1;
	return dbp_key_compare(arg, left->key, right->key);
}

/* ---- what is wrong ---------------------------------------------------------------- */

static char *
interval(const NestedRow *row)
{
	return psprintf("(%lld, %lld)", (long long) row->lft, (long long) row->rgt);
}

/*
 * wrong_interval says what is wrong with the interval of a row itself, and with
 * those of the rows around it; NULL if nothing is.
 */
static char *
wrong_interval(Sweep *sweep, const NestedRow *row, const NestedRow *before,
			   const NestedRow *above)
{
	HierKeyType *type = &sweep->state->type;
	const NestedRow *other = above != NULL ? above : before;

	if (row->lft >= row->rgt)
		return psprintf("interval %s is empty", interval(row));
	if (before != NULL && (before->lft == row->lft || before->rgt == row->rgt ||
						   before->rgt == row->lft))
		other = before;
	if (other == NULL)
		return NULL;
	if (other->lft == row->lft && other->rgt == row->rgt)
		return psprintf("interval %s is also that of node %s", interval(row),
						dbp_key_text(type, other->key));
	if (other->lft == row->lft || other->rgt == row->rgt || other->rgt == row->lft)
		return psprintf("interval %s shares an end with %s of node %s", interval(row),
						interval(other), dbp_key_text(type, other->key));
	if (above != NULL && row->rgt > above->rgt)
		return psprintf("interval %s crosses %s of node %s", interval(row), interval(above),
						dbp_key_text(type, above->key));
	return NULL;
}

/*
 * wrong_place compares where a row lies with where its node belongs.
 */
static char *
wrong_place(Sweep *sweep, const NestedRow *row, const NestedRow *above, HierNode *node)
{
	HierKeyType *type = &sweep->state->type;
	HierNode   *root = sweep->forest->nodes[sweep->forest->root[node->number]];

	if (!dbp_key_equal(type, row->tree, root->head.key))
		return psprintf("is in the tree of node %s instead of that of node %s",
						dbp_key_text(type, row->tree), dbp_key_text(type, root->head.key));
	if (node->parent == NULL)
	{
		if (above != NULL)
			return psprintf("lies below node %s, and is a root", dbp_key_text(type, above->key));
		if (row->lft != 0 || ((row->rgt + 1) & row->rgt) != 0)
			return psprintf("interval %s is not that of a root", interval(row));
	}
	else if (above == NULL)
		return psprintf("lies below no node instead of node %s",
						dbp_key_text(type, node->parent->head.key));
	else if (!dbp_key_equal(type, above->key, node->parent->head.key))
		return psprintf("lies below node %s instead of node %s", dbp_key_text(type, above->key),
						dbp_key_text(type, node->parent->head.key));
	if (row->depth != node->depth)
		return psprintf("depth is %d instead of %d", row->depth, node->depth);
	return NULL;
}

/*
 * wrong_order compares a row with the sibling before it.
 */
static char *
wrong_order(Sweep *sweep, HierNode *node, const NestedRow *before)
{
	HierNode   *other;

	if (sweep->state->spec.order_by == NULL || before == NULL)
		return NULL;
	other = dbp_map_find(sweep->forest->forest->map, before->key);
	if (other == NULL || other->depth < 0 || other->parent != node->parent ||
		other->number < node->number)
		return NULL;
	return psprintf("comes after its sibling %s instead of before",
					dbp_key_text(&sweep->state->type, before->key));
}

/*
 * check_row reports what is wrong with a row: before is the one that begins
 * right before it, above the innermost one that is open, sibling the last one
 * that was closed.
 */
static void
check_row(Sweep *sweep, const NestedRow *row, const NestedRow *before, const NestedRow *above,
		  const NestedRow *sibling)
{
	HierNode   *node = dbp_map_find(sweep->forest->forest->map, row->key);
	char	   *problem = wrong_interval(sweep, row, before, above);

	if (node != NULL && node->depth >= 0)
		sweep->seen[node->number] = true;
	else if (problem == NULL)
		problem = "is not in the table";
	if (problem == NULL)
		problem = wrong_place(sweep, row, above, node);
	if (problem == NULL)
		problem = wrong_order(sweep, node, sibling);
	if (problem != NULL)
		sweep->report(row->key, problem, sweep->arg);
}

static void
check_rows(Sweep *sweep)
{
	HierKeyType *type = &sweep->state->type;
	NestedRow **open = palloc_extended(sizeof(NestedRow *) * (sweep->n + 1), MCXT_ALLOC_HUGE);
	int64		nopen = 0;

	for (int64 i = 0; i < sweep->n; i++)
	{
		NestedRow  *row = &sweep->rows[i];
		NestedRow  *sibling = NULL;
		bool		same_tree = i > 0 && dbp_key_equal(type, row->tree, row[-1].tree);

		CHECK_FOR_INTERRUPTS();
		if (!same_tree)
			nopen = 0;
		while (nopen > 0 && open[nopen - 1]->rgt < row->lft)
			sibling = open[--nopen];
		check_row(sweep, row, same_tree ? row - 1 : NULL, nopen > 0 ? open[nopen - 1] : NULL,
				  sibling);
		open[nopen++] = row;
	}
}

/*
 * dbp_nested_compare reports each node whose row is not as it should be.
 */
void
dbp_nested_compare(HierState *state, NestedForest *forest, NestedReport report, void *arg)
{
	Sweep		sweep = {.state = state,.forest = forest,.report = report,.arg = arg};

	sweep.seen = palloc_extended(forest->n + 1, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	read_storage(&sweep);
	qsort_arg(sweep.rows, sweep.n, sizeof(NestedRow), order_rows, &state->type);
	check_rows(&sweep);
	for (uint32 i = 0; i < forest->n; i++)
	{
		if (!sweep.seen[i])
			report(forest->nodes[i]->head.key, "has no interval", arg);
	}
}

/* ---- nested_set_check ------------------------------------------------------------ */

typedef struct Finding
{
	FunctionCallInfo fcinfo;
	HierState  *state;
	char	   *remedy;
} Finding;

static void
add_finding(const Datum *node, char *problem, void *arg)
{
	Finding    *finding = arg;
	char	   *object = psprintf("%s, node %s",
								  dbp_relation_name_by_oid(finding->state->storageid),
								  dbp_key_text(&finding->state->type, node));

	dbp_finding(finding->fcinfo, DBP_ERROR, object, problem, finding->remedy);
}

/*
 * check_nodes checks all rows of one storage.  As the owner: who may call the
 * function owns the table.
 */
static void
check_nodes(FunctionCallInfo fcinfo, Relation target, const HierSpec *spec)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns nested check",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext oldcxt = MemoryContextSwitchTo(cxt);
	HierState  *state = dbp_hier_target_state(target, spec);
	Finding		finding = {fcinfo, state};
	NestedForest *forest;
	char	   *cycles;
	DbpOwnerScope scope;

	finding.remedy = psprintf("SELECT dbpatterns.nested_set_rebuild(%s, %s)",
							  quote_literal_cstr(dbp_relation_name(target)),
							  quote_literal_cstr(spec->storage));
	dbp_enter_owner(&scope, target->rd_rel->relowner);
	PushActiveSnapshot(GetLatestSnapshot());
	forest = dbp_nested_load(state, cxt);
	cycles = dbp_forest_cycles(state, forest->forest);
	if (cycles != NULL)
		dbp_finding(fcinfo, DBP_ERROR, dbp_relation_name(target),
					psprintf("rows form cycles: %s", cycles),
					"give one row of each cycle another parent");
	if (forest->forest->norphans > 0)
		dbp_finding(fcinfo, spec->orphan_error ? DBP_ERROR : DBP_INFO, dbp_relation_name(target),
					psprintf(forest->forest->norphans == 1 ?
							 "%lld row names a parent that does not exist" :
							 "%lld rows name a parent that does not exist",
							 (long long) forest->forest->norphans),
					spec->orphan_error ?
					"insert the parents, or set the columns NULL" :
					"nothing to do: it counts as a root until its parent arrives");
	dbp_nested_compare(state, forest, add_finding, &finding);
	PopActiveSnapshot();
	dbp_leave_owner(&scope);
	MemoryContextSwitchTo(oldcxt);
	MemoryContextDelete(cxt);
}

static void
check_hierarchy(FunctionCallInfo fcinfo, Relation target, HierSpec *spec)
{
	char	   *name = dbp_hier_storage_name(RelationGetRelid(target), spec);
	char	   *again = psprintf("call dbpatterns.nested_set_enable for %s again",
								 dbp_relation_name(target));

	if (!OidIsValid(dbp_hier_storage_id(RelationGetRelid(target), spec)))
	{
		dbp_finding(fcinfo, DBP_ERROR, name, "the table does not exist, every change is refused",
					again);
		return;
	}
	if (dbp_relation_owner(dbp_hier_storage_id(RelationGetRelid(target), spec)) !=
		target->rd_rel->relowner)
	{
		dbp_finding(fcinfo, DBP_ERROR, name,
					psprintf("it does not belong to the owner of %s, every change is refused",
							 dbp_relation_name(target)),
					psprintf("ALTER TABLE %s OWNER TO %s", name,
							 quote_identifier(GetUserNameFromId(target->rd_rel->relowner, false))));
		return;
	}
	if (!dbp_hier_is_intact(RelationGetRelid(target), spec))
		dbp_finding(fcinfo, DBP_ERROR, dbp_relation_name(target),
					psprintf("triggers for %s are missing or disabled", name), again);
	if (object_ownercheck(RelationRelationId, RelationGetRelid(target), GetUserId()))
		check_nodes(fcinfo, target, spec);
}

/*
 * nested_set_check(target regclass) returns what is wrong with the nested sets
 * of a table, or of all tables when target is NULL: one row per wrong node and
 * per other finding.
 *
 * Rows are compared only for tables of the caller's.  Raises nothing.  Locks
 * ACCESS SHARE on the tables it looks at; what others change meanwhile may show
 * as a finding, so that a second call is worth it.  Reads as the owners.
 */
Datum
dbpatterns_nested_set_check(PG_FUNCTION_ARGS)
{
	dbp_hier_check(fcinfo, HIER_NESTED, check_hierarchy);
	PG_RETURN_NULL();
}

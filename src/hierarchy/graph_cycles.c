/*-------------------------------------------------------------------------
 *
 * graph_cycles.c
 *	  Where a graph has cycles.
 *
 * The nodes that reach one another form a strongly connected component; every
 * cycle lies inside one.  They are found in one walk, in time linear in nodes
 * and edges: R. Tarjan, Depth-first search and linear graph algorithms, SIAM
 * Journal on Computing 1 (1972).  The walk keeps its path in an array instead
 * of recursing.  An edge to a node on that path closes a cycle; without all
 * such edges there is none left.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/graph_cycles.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "core/names.h"
#include "core/target.h"
#include "core/version.h"
#include "funcapi.h"
#include "hierarchy/graph.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(dbpatterns_closure_graph_cycles);

/* A node's part in the walk. */
typedef struct Visit
{
	uint32		index;			/* order of arrival, from 1; 0: not seen */
	uint32		low;			/* least index known to be reached */
	uint32		next;			/* child to look at next */
	int			height;			/* edges of the longest path from it */
	bool		on_path;
	bool		open;			/* its component is not known yet */
} Visit;

typedef struct Walk
{
	Graph	   *graph;
	GraphComponents *result;
	Visit	   *visits;			/* by id */
	GraphNode **path;
	uint32		npath;
	GraphNode **waiting;		/* open nodes */
	uint32		nwaiting;
	uint32		index;
} Walk;

static void
arrive(Walk *walk, GraphNode *node)
{
	Visit	   *visit = &walk->visits[node->id];

	visit->index = visit->low = ++walk->index;
	visit->on_path = visit->open = true;
	walk->path[walk->npath++] = node;
	walk->waiting[walk->nwaiting++] = node;
}

/*
 * leave ends the visit of a node; the first one of a component closes that.
 */
static void
leave(Walk *walk, GraphNode *node)
{
	Visit	   *visit = &walk->visits[node->id];
	bool		alone = walk->waiting[walk->nwaiting - 1] == node &&
		dbp_graph_find_child(node, node) == node->nout;
	GraphNode  *other;

	walk->npath--;
	visit->on_path = false;
	walk->result->longest = Max(walk->result->longest, visit->height);
	if (walk->npath > 0)
	{
		Visit	   *before = &walk->visits[walk->path[walk->npath - 1]->id];

		before->low = Min(before->low, visit->low);
		before->height = Max(before->height, visit->height + 1);
	}
	if (visit->low != visit->index)
		return;
	if (!alone)
		walk->result->n++;
	do
	{
		other = walk->waiting[--walk->nwaiting];
		walk->visits[other->id].open = false;
		walk->result->of_node[other->id] = alone ? 0 : walk->result->n;
	} while (other != node);
}

static void
walk_from(Walk *walk, GraphNode *start)
{
	arrive(walk, start);
	while (walk->npath > 0)
	{
		GraphNode  *node = walk->path[walk->npath - 1];
		Visit	   *visit = &walk->visits[node->id];
		GraphNode  *child;
		Visit	   *other;

		if (visit->next == node->nout)
		{
			leave(walk, node);
			continue;
		}
		child = node->out[visit->next];
		other = &walk->visits[child->id];
		if (other->on_path)
			walk->result->closes[node->out - walk->graph->targets + visit->next] = true;
		visit->next++;
		if (other->index == 0)
			arrive(walk, child);
		else if (other->open)
			visit->low = Min(visit->low, other->index);
		else
			visit->height = Max(visit->height, other->height + 1);
	}
	CHECK_FOR_INTERRUPTS();
}

static void *
zeroed(Graph *graph, Size size)
{
	return MemoryContextAllocExtended(graph->cxt, Max(size, 1),
									  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

/*
 * dbp_graph_components finds the components of a graph whose edges are all
 * loaded.
 */
GraphComponents *
dbp_graph_components(Graph *graph)
{
	Size		n = graph->nnodes;
	Size		nedges = 0;
	Walk		walk = {graph};

	Assert(graph->targets != NULL);
	for (uint32 i = 0; i < graph->nnodes; i++)
		nedges = Max(nedges, (Size) (graph->nodes[i]->out - graph->targets) +
					 graph->nodes[i]->nout);
	walk.result = zeroed(graph, sizeof(GraphComponents));
	walk.result->of_node = zeroed(graph, sizeof(int) * n);
	walk.result->closes = zeroed(graph, nedges);
	walk.visits = zeroed(graph, sizeof(Visit) * n);
	walk.path = zeroed(graph, sizeof(GraphNode *) * n);
	walk.waiting = zeroed(graph, sizeof(GraphNode *) * n);
	for (uint32 i = 0; i < graph->nnodes; i++)
	{
		if (walk.visits[i].index == 0)
			walk_from(&walk, graph->nodes[i]);
	}
	pfree(walk.visits);
	pfree(walk.path);
	pfree(walk.waiting);
	return walk.result;
}

/* ---- telling the caller --------------------------------------------------------- */

typedef struct Listing
{
	GraphComponents *components;
	ReturnSetInfo *rsinfo;
} Listing;

static void
list_edge(Graph *graph, const Datum *edge, Oid tableoid, ItemPointer tid, void *arg)
{
	Listing    *listing = arg;
	GraphNode  *parent = dbp_map_find(graph->map, edge);
	GraphNode  *child = dbp_map_find(graph->map, edge + graph->type->n);
	int			component;
	Datum		values[6];
	bool		nulls[6] = {false};
	uint32		place;

	/* A policy need not show the same rows twice. */
	if (parent == NULL || child == NULL)
		return;
	component = listing->components->of_node[parent->id];
	place = dbp_graph_find_child(parent, child);
	if (component == 0 || component != listing->components->of_node[child->id] ||
		place == parent->nout)
		return;
	place += parent->out - graph->targets;
	values[0] = Int32GetDatum(component);
	values[1] = CStringGetTextDatum(dbp_key_text(graph->type, edge));
	values[2] = CStringGetTextDatum(dbp_key_text(graph->type, edge + graph->type->n));
	values[3] = BoolGetDatum(listing->components->closes[place]);
	values[4] = ObjectIdGetDatum(tableoid);
	values[5] = PointerGetDatum(tid);
	tuplestore_putvalues(listing->rsinfo->setResult, listing->rsinfo->setDesc, values, nulls);
}

/*
 * open_edges opens a table of edges and finds their columns.
 */
static Relation
open_edges(Oid relid, List *parent, List *child, HierKeyType *type)
{
	Relation	rel;
	AttrNumber	attnums[2 * HIER_MAX_KEY];
	HierKeyType children;
	int			n = list_length(parent);

	if (n == 0 || n > HIER_MAX_KEY || list_length(child) != n)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("arguments \"parent\" and \"child\" must name the same number of columns, 1 to %d",
						HIER_MAX_KEY),
				 errhint("Name the columns in the same order.")));
	if (pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK &&
		pg_attribute_aclcheck_all(relid, GetUserId(), ACL_SELECT, ACLMASK_ALL) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table %s", dbp_relation_name_by_oid(relid)),
				 errhint("Ask its owner for SELECT on it.")));
	rel = relation_open(relid, AccessShareLock);
	if (rel->rd_rel->relkind != RELKIND_RELATION &&
		rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is not a table", dbp_relation_name(rel)),
				 errhint("Edges are read from an ordinary or partitioned table.")));
	for (int i = 0; i < n; i++)
	{
		attnums[i] = dbp_column_number(rel, list_nth(parent, i));
		attnums[n + i] = dbp_column_number(rel, list_nth(child, i));
	}
	dbp_key_type(type, rel, attnums, n);
	dbp_key_type(&children, rel, attnums + n, n);
	for (int i = 0; i < n; i++)
	{
		if (type->col[i].type != children.col[i].type ||
			type->col[i].collation != children.col[i].collation)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("columns \"%s\" and \"%s\" of %s differ in type or collation",
							(char *) list_nth(parent, i), (char *) list_nth(child, i),
							dbp_relation_name(rel)),
					 errhint("Parent and child are keys of the same nodes.")));
	}
	return rel;
}

/*
 * closure_graph_cycles(edges regclass, parent name[], child name[]) returns the
 * rows of edges that lie on a cycle: component counts the sets of nodes that
 * reach one another, from 1; parent and child are the keys as text; closes is
 * true for edges without which there is no cycle left; edge_table and edge_tid
 * (tableoid and ctid) are where the row is.  It changes nothing.
 *
 * It takes time linear in the number of edges and keeps them in memory: some
 * 200 bytes for a node and 25 for an edge.
 *
 * Raises 22004 (an argument is NULL), 42P01 (no such table), 55000 (library
 * and SQL versions differ), 22023 or 42701 (bad lists of columns), 42501 (no
 * right to read), 42809 (not a table), 42703 (no such column), 42883 (a type
 * without operators), 42804 (different types).  Locks ACCESS SHARE on edges.
 * Runs as the caller, and sees the rows that the caller sees.
 */
Datum
dbpatterns_closure_graph_cycles(PG_FUNCTION_ARGS)
{
	Listing		listing = {NULL, (ReturnSetInfo *) fcinfo->resultinfo};
	Oid			relid;
	List	   *parent;
	List	   *child;
	HierKeyType type;
	Relation	rel;
	Graph	   *graph;

	dbp_require_argument(fcinfo, 0, "edges", "Name the table of edges.");
	dbp_require_argument(fcinfo, 1, "parent", "Name the columns with the key of the parent.");
	dbp_require_argument(fcinfo, 2, "child", "Name the columns with the key of the child.");
	relid = PG_GETARG_OID(0);
	(void) dbp_relation_name_by_oid(relid); /* raises if there is none */
	dbp_check_version();
	parent = dbp_hier_columns_argument(fcinfo, 1, "parent");
	child = dbp_hier_columns_argument(fcinfo, 2, "child");
	rel = open_edges(relid, parent, child, &type);

	InitMaterializedSRF(fcinfo, 0);
	graph = dbp_graph_create_for(relid, parent, child, &type, CurrentMemoryContext);
	dbp_graph_load(graph, GetActiveSnapshot());
	listing.components = dbp_graph_components(graph);
	if (listing.components->n > 0)
		dbp_graph_scan(graph, GetActiveSnapshot(), list_edge, &listing);
	relation_close(rel, NoLock);
	PG_RETURN_NULL();
}

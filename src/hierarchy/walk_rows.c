/*-------------------------------------------------------------------------
 *
 * walk_rows.c
 *	  How many rows the planner shall expect of a walk.
 *
 * From what ANALYZE found: the rows of the table, and of its parent columns
 * the share that is NULL (roots) and the number of different values (nodes
 * with children).  Their quotient is the average number of children f, which
 * gives the height of an even tree; the average size of the subtree of all
 * nodes is the average depth plus one, and starts are nodes with children.
 * A recursive query is expected to return a fixed multiple of its first step.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/walk_rows.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_statistic.h"
#include "catalog/pg_type.h"
#include "core/names.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "nodes/supportnodes.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(dbpatterns_adjacency_walk_rows);

/* What is known of a tree. */
typedef struct Tree
{
	double		rows;
	double		roots;
	double		inner;			/* nodes with children */
} Tree;

/*
 * constant returns an argument that is known when planning; false if not.
 */
static bool
constant(List *args, int argno, Datum *value, bool *isnull)
{
	Node	   *node = list_nth(args, argno);

	if (!IsA(node, Const))
		return false;
	*value = ((Const *) node)->constvalue;
	*isnull = ((Const *) node)->constisnull;
	return true;
}

/*
 * parent_columns returns the names of the parent columns; NIL if they cannot be
 * made out.
 */
static List *
parent_columns(Const *argument)
{
	Datum	   *values;
	bool	   *nulls;
	int			n;
	List	   *names = NIL;

	if (argument->consttype == NAMEOID)
	{
		char	   *word = pstrdup(NameStr(*DatumGetName(argument->constvalue)));

		if (word[0] != '{')
			return list_make1(word);
		if (word[strlen(word) - 1] != '}' || strpbrk(word, "\"\\ ") != NULL)
			return NIL;
		word[strlen(word) - 1] = '\0';
		for (char *name = strtok(word + 1, ","); name != NULL; name = strtok(NULL, ","))
			names = lappend(names, name);
		return names;
	}
	deconstruct_array(DatumGetArrayTypeP(argument->constvalue), NAMEOID, NAMEDATALEN, false,
					  TYPALIGN_CHAR, &values, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i])
			names = lappend(names, NameStr(*DatumGetName(values[i])));
	}
	return names;
}

/*
 * look_at reads the statistics; false if there are none, or the user could not
 * see them.
 */
static bool
look_at(Oid relid, AttrNumber parent, Tree *tree)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class class;
	bool		inherited;

	if (!HeapTupleIsValid(tuple))
		return false;
	class = (Form_pg_class) GETSTRUCT(tuple);
	tree->rows = class->reltuples;
	inherited = class->relkind == RELKIND_PARTITIONED_TABLE;
	ReleaseSysCache(tuple);
	if (tree->rows < 0 ||
		(pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK &&
		 pg_attribute_aclcheck(relid, parent, GetUserId(), ACL_SELECT) != ACLCHECK_OK))
		return false;

	tuple = SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(relid), Int16GetDatum(parent),
							BoolGetDatum(inherited));
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_statistic stats = (Form_pg_statistic) GETSTRUCT(tuple);

		tree->roots = stats->stanullfrac * tree->rows;
		tree->inner = stats->stadistinct < 0 ? -stats->stadistinct * tree->rows :
			stats->stadistinct;
		ReleaseSysCache(tuple);
	}
	else
	{
		tree->roots = 0;
		tree->inner = tree->rows / 2;
	}
	tree->roots = Min(Max(tree->roots, 1), Max(tree->rows, 1));
	tree->inner = Min(Max(tree->inner, 1), Max(tree->rows - tree->roots, 1));
	return true;
}

/*
 * levels returns the height of an even tree of so many nodes, with f children
 * each.
 */
static double
levels(double nodes, double f)
{
	if (f < 1.001)
		return nodes;
	return Max(log(nodes * (f - 1) + 1) / log(f), 1);
}

/*
 * even_tree returns the nodes down to a depth, below so many tops.
 */
static double
even_tree(double tops, double f, double depth)
{
	double		n = f < 1.001 ? depth + 1 : (pow(f, Min(depth, 60) + 1) - 1) / (f - 1);

	return tops * n;
}

static double
estimate(const Tree *tree, bool all_roots, bool up, double max_depth)
{
	double		f = Max((tree->rows - tree->roots) / tree->inner, 1);
	double		height = levels(tree->rows / tree->roots, f);

	/* An even tree has most nodes at the bottom, a chain on all levels. */
	double		depth = f < 1.001 ? height / 2 : Max(height - 1 / (f - 1), 1);
	double		subtree;

	if (up)
		return all_roots ? 0 : Min(depth, max_depth + 1);
	if (all_roots)
		return Min(tree->rows, even_tree(tree->roots, f, max_depth));

	/* Subtrees of leaves are 1; those of all nodes sum up to rows * depth. */
	subtree = (tree->rows * depth - (tree->rows - tree->inner)) / tree->inner;
	return Min(Min(subtree, tree->rows), even_tree(1, f, max_depth));
}

/*
 * adjacency_walk_rows(internal) is the support function of adjacency_walk: it
 * tells the planner how many rows to expect.  It answers nothing where a table
 * or column is not known yet, was not analyzed, or may not be read.
 */
Datum
dbpatterns_adjacency_walk_rows(PG_FUNCTION_ARGS)
{
	SupportRequestRows *request = (SupportRequestRows *) PG_GETARG_POINTER(0);
	List	   *args;
	Datum		target;
	Datum		parent;
	Datum		value;
	bool		isnull;
	bool		all_roots;
	bool		up;
	double		max_depth = 1e9;
	ListCell   *lc;
	Tree		tree = {0};

	if (!IsA(request, SupportRequestRows) || !IsA(request->node, FuncExpr))
		PG_RETURN_POINTER(NULL);
	args = ((FuncExpr *) request->node)->args;
	if (list_length(args) != 9 ||
		!constant(args, 0, &target, &isnull) || isnull ||
		!constant(args, 1, &parent, &isnull) || isnull)
		PG_RETURN_POINTER(NULL);
	/* Of several columns, that counts which tells most parents apart. */
	foreach(lc, parent_columns(list_nth(args, 1)))
	{
		AttrNumber	column = get_attnum(DatumGetObjectId(target), lfirst(lc));
		Tree		seen;

		if (column == InvalidAttrNumber || !look_at(DatumGetObjectId(target), column, &seen))
			PG_RETURN_POINTER(NULL);
		if (seen.inner > tree.inner)
			tree = seen;
	}
	if (tree.inner == 0)
		PG_RETURN_POINTER(NULL);

	all_roots = constant(args, 2, &value, &isnull) && isnull;
	up = constant(args, 4, &value, &isnull) && !isnull &&
		strcmp(TextDatumGetCString(value), "up") == 0;
	if (constant(args, 5, &value, &isnull) && !isnull)
		max_depth = Max(DatumGetInt32(value), 0);
	request->rows = Max(estimate(&tree, all_roots, up, max_depth), 1);
	PG_RETURN_POINTER(request);
}

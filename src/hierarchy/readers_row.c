/*-------------------------------------------------------------------------
 *
 * readers_row.c
 *	  What SQL has no words for: columns by name, and the walk of a forest.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/readers_row.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "core/names.h"
#include "fmgr.h"
#include "funcapi.h"
#include "hierarchy/hierarchy.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(dbpatterns_closure_column);
PG_FUNCTION_INFO_V1(dbpatterns_closure_columns);
PG_FUNCTION_INFO_V1(dbpatterns_closure_preorder);

/* ---- columns of a row, by name ------------------------------------------ */

/* What is known of the rows of one type, for one choice of columns. */
typedef struct RowCache
{
	MemoryContext cxt;			/* of all that it points to */
	uint64		identifier;		/* of the row type; 0: nothing is known yet */
	TupleDesc	desc;
	Datum		names;			/* the argument */
	bool		names_isnull;
	int			ncolumns;
	int		   *columns;		/* by place, from 0 */
	TupleDesc	result;			/* of closure_columns */
	FmgrInfo	out;			/* of closure_column */
} RowCache;

static int
find_column(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && namestrcmp(&att->attname, name) == 0)
			return i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" does not exist in a row of type %s",
					name, format_type_be(desc->tdtypeid)),
			 errhint("Column names are case-sensitive here and are given without quotes.")));
	return -1;					/* keep the compiler quiet */
}

static bool
same_names(RowCache *cache, Datum names, bool isnull, bool one)
{
	if (isnull || cache->names_isnull)
		return isnull == cache->names_isnull;
	if (one)
		return strncmp(NameStr(*DatumGetName(names)), NameStr(*DatumGetName(cache->names)),
					   NAMEDATALEN) == 0;
	return datumIsEqual(names, cache->names, false, -1);
}

/*
 * choose_columns fills a cache for columns; of all columns, if names is NULL.
 */
static void
choose_columns(RowCache *cache, Datum names, bool isnull, bool one)
{
	TupleDesc	desc = cache->desc;
	List	   *list = NIL;
	ListCell   *lc;

	if (one)
		list = list_make1(pstrdup(NameStr(*DatumGetName(names))));
	else if (!isnull)
		list = dbp_column_list(DatumGetArrayTypeP(names), "columns");
	cache->columns = palloc(sizeof(int) * Max(desc->natts, list_length(list)));
	cache->ncolumns = 0;
	for (int i = 0; isnull && i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped)
			cache->columns[cache->ncolumns++] = i;
	}
	foreach(lc, list)
		cache->columns[cache->ncolumns++] = find_column(desc, lfirst(lc));

	if (one)
	{
		Oid			output;
		bool		varlena;

		getTypeOutputInfo(TupleDescAttr(desc, cache->columns[0])->atttypid, &output, &varlena);
		fmgr_info_cxt(output, &cache->out, cache->cxt);
		return;
	}
	cache->result = CreateTemplateTupleDesc(cache->ncolumns);
	for (int i = 0; i < cache->ncolumns; i++)
		TupleDescCopyEntry(cache->result, i + 1, desc, cache->columns[i] + 1);
	BlessTupleDesc(cache->result);
}

/*
 * row_cache returns what is known of rows like the first argument, for the
 * columns that the second one names; one name, or an array.
 */
static RowCache *
row_cache(FunctionCallInfo fcinfo, HeapTupleHeader row, bool one)
{
	RowCache   *cache = fcinfo->flinfo->fn_extra;
	Oid			type = HeapTupleHeaderGetTypeId(row);
	int32		typmod = HeapTupleHeaderGetTypMod(row);
	uint64		identifier = assign_record_type_identifier(type, typmod);
	Datum		names = PG_ARGISNULL(1) ? (Datum) 0 :
		one ? PG_GETARG_DATUM(1) : PointerGetDatum(PG_GETARG_ARRAYTYPE_P(1));
	MemoryContext oldcxt;
	TupleDesc	desc;

	if (cache == NULL)
	{
		cache = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(RowCache));
		cache->cxt = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "dbpatterns columns of a row",
										   ALLOCSET_SMALL_SIZES);
		fcinfo->flinfo->fn_extra = cache;
	}
	if (cache->identifier == identifier && same_names(cache, names, PG_ARGISNULL(1), one))
		return cache;

	cache->identifier = 0;
	MemoryContextReset(cache->cxt);
	oldcxt = MemoryContextSwitchTo(cache->cxt);
	desc = lookup_rowtype_tupdesc(type, typmod);
	cache->desc = CreateTupleDescCopy(desc);
	ReleaseTupleDesc(desc);
	cache->names_isnull = PG_ARGISNULL(1);
	if (!cache->names_isnull)
		cache->names = datumCopy(names, false, one ? NAMEDATALEN : -1);
	choose_columns(cache, names, PG_ARGISNULL(1), one);
	cache->identifier = identifier;
	MemoryContextSwitchTo(oldcxt);
	return cache;
}

static HeapTupleData
row_tuple(HeapTupleHeader row)
{
	HeapTupleData tuple = {0};

	tuple.t_len = HeapTupleHeaderGetDatumLength(row);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = row;
	return tuple;
}

/*
 * dbpatterns.closure_column("row" record, "column" name) returns text
 *
 * Returns a column of a row as text, NULL for NULL or if an argument is NULL.
 *
 * Raises 42703 if the row has no such column.  Takes no locks, runs as the
 * caller.
 */
Datum
dbpatterns_closure_column(PG_FUNCTION_ARGS)
{
	HeapTupleHeader row = PG_GETARG_HEAPTUPLEHEADER(0);
	RowCache   *cache = row_cache(fcinfo, row, true);
	HeapTupleData tuple = row_tuple(row);
	bool		isnull;
	Datum		value = heap_getattr(&tuple, cache->columns[0] + 1, cache->desc, &isnull);

	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(OutputFunctionCall(&cache->out, value)));
}

/*
 * dbpatterns.closure_columns("row" record, columns name[]) returns record
 *
 * Returns a row of the columns that are named, in that order, or of all columns
 * if columns is NULL; NULL for a row that is NULL.
 *
 * Raises 42703 if the row has no such column, 22004 if a name is NULL, 42701 if
 * one is named twice.  Takes no locks, runs as the caller.
 */
Datum
dbpatterns_closure_columns(PG_FUNCTION_ARGS)
{
	HeapTupleHeader row;
	RowCache   *cache;
	HeapTupleData tuple;
	Datum	   *values;
	bool	   *nulls;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	row = PG_GETARG_HEAPTUPLEHEADER(0);
	cache = row_cache(fcinfo, row, false);
	tuple = row_tuple(row);
	values = palloc(sizeof(Datum) * Max(cache->ncolumns, 1));
	nulls = palloc(sizeof(bool) * Max(cache->ncolumns, 1));
	for (int i = 0; i < cache->ncolumns; i++)
		values[i] = heap_getattr(&tuple, cache->columns[i] + 1, cache->desc, &nulls[i]);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(cache->result, values, nulls)));
}

/* ---- the walk of a forest ------------------------------------------------ */

/* Nodes are numbered from 1; 0 is none, and stands above the roots. */
typedef struct Walk
{
	int			n;
	int		   *parent;			/* -1: of no root, not walked */
	int		   *first;			/* child */
	int		   *next;			/* sibling */
	int			depth;			/* of the node that the walk is at */
	int			place;			/* how many were walked */
	int			allocated;
	Datum	   *path;			/* places among siblings, by depth */
	int		   *length;			/* of the branch for those below, by depth */
	bool		want_path;
	bool		want_branch;
	StringInfoData branch;
} Walk;

static void
link_nodes(Walk *walk, ArrayType *parents)
{
	Datum	   *values;
	bool	   *nulls;

	deconstruct_array(parents, INT4OID, sizeof(int32), true, TYPALIGN_INT,
					  &values, &nulls, &walk->n);
	walk->parent = palloc_extended(sizeof(int) * (walk->n + 1), MCXT_ALLOC_HUGE);
	walk->first = palloc_extended(sizeof(int) * (walk->n + 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	walk->next = palloc_extended(sizeof(int) * (walk->n + 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	walk->parent[0] = -1;
	for (int node = walk->n; node > 0; node--)
	{
		int			parent = nulls[node - 1] ? 0 : DatumGetInt32(values[node - 1]);

		if (parent < 0 || parent > walk->n)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("there is no node %d in an array of %d", parent, walk->n),
					 errhint("Each element is the place of the parent in the array, NULL for a root, or 0 for a node that is left out.")));
		walk->parent[node] = nulls[node - 1] ? 0 : parent == 0 ? -1 : parent;
		if (walk->parent[node] < 0)
			continue;
		walk->next[node] = walk->first[parent];
		walk->first[parent] = node;
	}
	pfree(values);
	pfree(nulls);
}

static void
grow(Walk *walk)
{
	if (walk->depth + 1 < walk->allocated)
		return;
	walk->allocated = Max(64, walk->allocated * 2);
	if (walk->path == NULL)
	{
		walk->path = palloc(sizeof(Datum) * walk->allocated);
		walk->length = palloc(sizeof(int) * walk->allocated);
	}
	else
	{
		walk->path = repalloc_huge(walk->path, sizeof(Datum) * walk->allocated);
		walk->length = repalloc_huge(walk->length, sizeof(int) * walk->allocated);
	}
}

/*
 * node_branch returns what a line of a drawing begins with, and prepares that
 * for lines below it: box characters where the encoding has them.
 */
static Datum
node_branch(Walk *walk, bool is_last)
{
	bool		utf8 = GetDatabaseEncoding() == PG_UTF8;
	text	   *result;

	if (walk->depth == 0)
	{
		walk->branch.len = 0;
		walk->length[0] = 0;
		return CStringGetTextDatum("");
	}
	walk->branch.len = walk->length[walk->depth - 1];
	walk->branch.data[walk->branch.len] = '\0';
	if (utf8)
		appendStringInfoString(&walk->branch, is_last ? "\xe2\x94\x94\xe2\x94\x80\xe2\x94\x80 " :
							   "\xe2\x94\x9c\xe2\x94\x80\xe2\x94\x80 ");
	else
		appendStringInfoString(&walk->branch, is_last ? "`-- " : "|-- ");
	result = cstring_to_text_with_len(walk->branch.data, walk->branch.len);
	walk->branch.len = walk->length[walk->depth - 1];
	appendStringInfoString(&walk->branch, is_last ? "    " :
						   utf8 ? "\xe2\x94\x82   " : "|   ");
	walk->length[walk->depth] = walk->branch.len;
	return PointerGetDatum(result);
}

static void
put_node(Walk *walk, int node, ReturnSetInfo *rsinfo)
{
	bool		is_last = walk->next[node] == 0;
	Datum		values[7];
	bool		nulls[7] = {0};

	values[0] = Int32GetDatum(node);
	values[1] = Int32GetDatum(++walk->place);
	values[2] = Int32GetDatum(walk->depth);
	values[3] = BoolGetDatum(walk->first[node] == 0);
	values[4] = BoolGetDatum(is_last);
	nulls[5] = !walk->want_path;
	if (walk->want_path)
		values[5] = PointerGetDatum(construct_array(walk->path, walk->depth + 1, INT4OID,
													sizeof(int32), true, TYPALIGN_INT));
	nulls[6] = !walk->want_branch;
	if (walk->want_branch)
		values[6] = node_branch(walk, is_last);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * dbpatterns.closure_preorder(parents integer[], paths boolean, branches boolean)
 *	returns table (node, place, depth, is_leaf, is_last, path, branch)
 *
 * Returns the nodes of a forest, each before those below it.  A node is a place
 * in the array, from 1, and siblings are walked in that order; an element is the
 * place of the node's parent, NULL for a root, or 0 for a node that is left out
 * with all below it, as are nodes below a cycle.
 *
 * path holds the places among siblings from the root down, if paths is true;
 * branch is what the line of a drawing begins with, if branches is true.
 *
 * Raises 22023 if a parent is not in the array.  Takes no locks.
 */
Datum
dbpatterns_closure_preorder(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext row_cxt;
	MemoryContext oldcxt;
	Walk		walk = {0};
	int			node;

	InitMaterializedSRF(fcinfo, 0);
	walk.want_path = PG_GETARG_BOOL(1);
	walk.want_branch = PG_GETARG_BOOL(2);
	link_nodes(&walk, PG_GETARG_ARRAYTYPE_P(0));
	initStringInfo(&walk.branch);
	grow(&walk);
	row_cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns walk", ALLOCSET_SMALL_SIZES);

	node = walk.first[0];
	if (node != 0)
		walk.path[0] = Int32GetDatum(1);
	while (node != 0)
	{
		CHECK_FOR_INTERRUPTS();
		oldcxt = MemoryContextSwitchTo(row_cxt);
		put_node(&walk, node, rsinfo);
		MemoryContextSwitchTo(oldcxt);
		MemoryContextReset(row_cxt);

		if (walk.first[node] != 0)
		{
			walk.depth++;
			grow(&walk);
			walk.path[walk.depth] = Int32GetDatum(1);
			node = walk.first[node];
			continue;
		}
		while (node != 0 && walk.next[node] == 0)
		{
			node = walk.parent[node];
			walk.depth--;
		}
		if (node != 0)
		{
			node = walk.next[node];
			walk.path[walk.depth] = Int32GetDatum(DatumGetInt32(walk.path[walk.depth]) + 1);
		}
	}
	return (Datum) 0;
}

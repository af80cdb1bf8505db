/*-------------------------------------------------------------------------
 *
 * walk.c
 *	  Walking an adjacency list that has no storage of ours beside it.
 *
 * Arguments, and rows as the caller wants them: keys in the type of the start,
 * all rows at once where they are all wanted, else one by one.  Between two
 * rows nothing is open, so who stops early leaves nothing behind.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/walk.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "core/target.h"
#include "funcapi.h"
#include "hierarchy/walk.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(dbpatterns_adjacency_walk);

/* ---- rows ---- */

static void
texts_of(Walk *walk, WalkKey *key, Datum *texts)
{
	HierKeyType *type = &walk->source->type;
	const Datum *values = walk_values(type, key);

	for (int i = 0; i < type->n; i++)
		texts[i] = CStringGetTextDatum(OutputFunctionCall(&walk->out[i], values[i]));
}

/*
 * result_key returns a key as the caller wants it.
 */
static inline Datum
result_key(Walk *walk, WalkKey *key)
{
	if (walk->texts)
	{
		Datum		texts[HIER_MAX_KEY];

		texts_of(walk, key, texts);
		return PointerGetDatum(construct_array(texts, walk->source->type.n, TEXTOID, -1, false,
											   TYPALIGN_INT));
	}
	/* Integers of any length are the same in a Datum. */
	return walk_values(&walk->source->type, key)[0];
}

/*
 * result_path returns the keys from the start to a node.
 */
static Datum
result_path(Walk *walk, uint32 n)
{
	int			depth = walk->node[n].depth;
	int			width = walk->texts ? walk->source->type.n : 1;
	Datum	   *values = MemoryContextAllocHuge(CurrentMemoryContext,
												sizeof(Datum) * width * ((Size) depth + 1));
	ArrayType  *array;

	for (int d = depth; d >= 0; d--)
	{
		uint32		at = walk->up ? (uint32) d : n;

		if (walk->texts)
			texts_of(walk, &walk->node[at].key, values + (Size) width * d);
		else
			values[d] = walk_values(&walk->source->type, &walk->node[at].key)[0];
		n = walk->node[n].parent;
	}
	if (walk->texts)
	{
		int			dims[2] = {depth + 1, width};
		int			lbs[2] = {1, 1};

		array = construct_md_array(values, NULL, 2, dims, lbs, TEXTOID, -1, false, TYPALIGN_INT);
	}
	else
		array = construct_array(values, depth + 1, walk->type, walk->typlen, walk->typbyval,
								walk->typalign);
	pfree(values);
	return PointerGetDatum(array);
}

#define RESULT_COLUMNS	5

/*
 * next_row fills the next row of the result, in CurrentMemoryContext.
 */
static bool
next_row(Walk *walk, Datum *values, bool *nulls)
{
	uint32		n = dbp_walk_next(walk);
	WalkNode   *node;

	if (n == WALK_NONE)
		return false;
	node = &walk->node[n];
	values[0] = result_key(walk, &node->key);
	nulls[1] = false;
	if (walk->up || node->depth == 0)
	{
		WalkAbove  *above = &walk->above[node->parent];

		nulls[1] = above->isnull;
		if (!above->isnull)
			values[1] = result_key(walk, &above->key);
	}
	else
		values[1] = result_key(walk, &walk->node[node->parent].key);
	values[2] = Int32GetDatum(node->depth);
	if (walk->path)
		values[3] = result_path(walk, n);
	values[4] = BoolGetDatum(node->nchildren == WALK_CLOSES_CYCLE);
	return true;
}

/* ---- arguments ---- */

static bool
is_integer(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID;
}

/*
 * check_type raises 42804 unless keys can be returned as declared.
 */
static void
check_type(Walk *walk, Oid declared)
{
	HierColumn *column = &walk->source->type.col[0];

	if (walk->texts)
		return;
	if (walk->source->type.n > 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the key of table %s has %d columns",
						walk->source->name, walk->source->type.n),
				 errhint("Give the values of the start as text: ARRAY['1', '5'], or NULL::text[] for all roots.")));

	/* A domain could refuse what is in the table. */
	if (walk->type == declared &&
		(is_integer(column->type) && is_integer(walk->type) ?
		 walk->typlen >= column->typlen : IsBinaryCoercible(column->type, walk->type)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("the key of table %s is of type %s, argument \"start\" of type %s",
					walk->source->name,
					format_type_be(column->type), format_type_be(declared)),
			 TypeCategory(column->type) == TYPCATEGORY_STRING ?
			 errhint("Give it as ARRAY['...'], to get nodes as text[]; NULL::text[] for all roots.") :
			 errhint("Cast the start, to get nodes of this type: start => ...::%s; NULL::%s for all roots.",
					 format_type_be(column->type), format_type_be(column->type))));
}

/*
 * set_result looks up what rows are made of.
 */
static void
set_result(Walk *walk, FunctionCallInfo fcinfo)
{
	HierKeyType *type = &walk->source->type;
	Oid			declared;

	if (get_call_result_type(fcinfo, NULL, &walk->desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	walk->desc = BlessTupleDesc(walk->desc);
	declared = TupleDescAttr(walk->desc, 0)->atttypid;
	walk->texts = declared == TEXTARRAYOID;
	walk->type = getBaseType(declared);
	get_typlenbyvalalign(walk->type, &walk->typlen, &walk->typbyval, &walk->typalign);
	check_type(walk, declared);
	for (int i = 0; walk->texts && i < type->n; i++)
	{
		Oid			out;
		bool		is_varlena;

		getTypeOutputInfo(type->col[i].type, &out, &is_varlena);
		fmgr_info(out, &walk->out[i]);
	}
}

static void
start_from_texts(Walk *walk, ArrayType *array, Datum *values)
{
	HierKeyType *type = &walk->source->type;
	Datum	   *texts;
	bool	   *isnull;
	int			n;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &texts, &isnull, &n);
	if (n != type->n)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("number of values in argument \"start\" is %d, of columns in the key of table %s %d",
						n, walk->source->name, type->n),
				 errhint("Give one value for each column of the key, in their order.")));
	for (int i = 0; i < n; i++)
	{
		if (isnull[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"start\" must not contain NULL"),
					 errhint("Give one value for each column of the key, in their order.")));
		values[i] = dbp_value_from_text(&type->col[i], TextDatumGetCString(texts[i]), -1);
	}
}

/*
 * set_start reads the start; false if no row can have this key.
 */
static bool
set_start(Walk *walk, FunctionCallInfo fcinfo, int argno)
{
	HierKeyType *type = &walk->source->type;
	Datum		values[HIER_MAX_KEY];

	walk->has_start = !PG_ARGISNULL(argno);
	if (!walk->has_start)
		return true;
	values[0] = PG_GETARG_DATUM(argno);
	if (walk->texts)
		start_from_texts(walk, DatumGetArrayTypeP(values[0]), values);
	else if (type->integer && type->col[0].typlen < 8)
	{
		int64		greatest = type->col[0].typlen == 4 ? PG_INT32_MAX : PG_INT16_MAX;
		int64		value = (int64) values[0];

		if (value > greatest || value < -greatest - 1)
			return false;
	}
	walk->start = walk_key(type, values);
	return true;
}

/* ---- what calls of one place in a query share ---- */

/* The arguments that say what is read and how: all the rest may vary. */
static const int fixed_args[] = {0, 1, 3, 7};

typedef struct Prepared
{
	MemoryContext cxt;			/* of all of it, in that of the function */
	Oid			userid;
	Datum		args[lengthof(fixed_args)];
	bool		nulls[lengthof(fixed_args)];
	Walk		walk;			/* source and result only */
} Prepared;

/*
 * arg_typlen returns the length of the type of a fixed argument.
 */
static int16
arg_typlen(FunctionCallInfo fcinfo, int argno)
{
	return argno == 0 ? (int16) sizeof(Oid) :
		get_fn_expr_argtype(fcinfo->flinfo, argno) == NAMEOID ? NAMEDATALEN : -1;
}

/*
 * prepare resolves the arguments that say what is read, in CurrentMemoryContext.
 */
static void
prepare(Walk *walk, FunctionCallInfo fcinfo)
{
	List	   *parent;
	List	   *key;

	dbp_require_argument(fcinfo, 0, "target", "Name the table to walk.");
	dbp_require_argument(fcinfo, 1, "parent", "Name the column that holds the parent's key.");
	parent = dbp_hier_columns_argument(fcinfo, 1, "parent");
	key = dbp_hier_columns_argument(fcinfo, 3, "key");
	walk->source = dbp_walk_source(PG_GETARG_OID(0), parent, key,
								   PG_ARGISNULL(7) ? NULL : NameStr(*PG_GETARG_NAME(7)));
	set_result(walk, fcinfo);
}

/*
 * prepare_once does so once for all calls of a query that agree in these
 * arguments, as those for each row of another table do: looking up columns and
 * indexes takes longer than a short walk.
 */
static void
prepare_once(Walk *walk, FunctionCallInfo fcinfo)
{
	Prepared   *prepared = fcinfo->flinfo->fn_extra;
	bool		same = prepared != NULL && prepared->userid == GetUserId();

	for (int i = 0; same && i < lengthof(fixed_args); i++)
	{
		int			arg = fixed_args[i];
		int16		typlen = arg_typlen(fcinfo, arg);

		same = prepared->nulls[i] == PG_ARGISNULL(arg) &&
			(PG_ARGISNULL(arg) || datumIsEqual(prepared->args[i], PG_GETARG_DATUM(arg),
											   arg == 0, typlen));
	}
	if (!same)
	{
		/* Other arguments in each call must not add up. */
		MemoryContext cxt = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt,
												  "dbpatterns walk arguments",
												  ALLOCSET_SMALL_SIZES);
		MemoryContext oldcxt = MemoryContextSwitchTo(cxt);

		fcinfo->flinfo->fn_extra = NULL;
		if (prepared != NULL)
			MemoryContextDelete(prepared->cxt);
		prepared = palloc0(sizeof(Prepared));
		prepared->cxt = cxt;
		prepared->userid = GetUserId();
		prepare(&prepared->walk, fcinfo);
		for (int i = 0; i < lengthof(fixed_args); i++)
		{
			int			arg = fixed_args[i];

			prepared->nulls[i] = PG_ARGISNULL(arg);
			if (!PG_ARGISNULL(arg))
				prepared->args[i] = datumCopy(PG_GETARG_DATUM(arg), arg == 0,
											  arg_typlen(fcinfo, arg));
		}
		fcinfo->flinfo->fn_extra = prepared;
		MemoryContextSwitchTo(oldcxt);
	}
	*walk = prepared->walk;
}

/*
 * begin_walk reads the arguments that may vary, in walk->cxt.
 */
static void
begin_walk(Walk *walk, FunctionCallInfo fcinfo)
{
	bool		possible;

	walk->up = dbp_choose_argument(fcinfo, 4, "direction", "down", "up");
	walk->max_depth = PG_ARGISNULL(5) ? PG_INT32_MAX : PG_GETARG_INT32(5);
	if (walk->max_depth < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value of argument \"max_depth\": %d", walk->max_depth),
				 errhint("Give 0 for the start alone, or NULL for no limit.")));
	walk->breadth = dbp_choose_argument(fcinfo, 6, "search", "depth", "breadth");
	walk->path = !PG_ARGISNULL(8) && PG_GETARG_BOOL(8);
	possible = set_start(walk, fcinfo, 2);
	if (!possible)
	{
		walk->up = true;
		walk->has_start = false;
	}
	dbp_walk_begin(walk);
}

/*
 * materialize puts all rows into a tuplestore.
 */
static void
materialize(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext per_query = rsinfo->econtext->ecxt_per_query_memory;
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns walk",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext row = AllocSetContextCreate(cxt, "dbpatterns walk row", ALLOCSET_SMALL_SIZES);
	MemoryContext oldcxt = MemoryContextSwitchTo(cxt);
	Walk	   *walk = palloc0(sizeof(Walk));
	Datum		values[RESULT_COLUMNS];
	bool		nulls[RESULT_COLUMNS] = {false, false, false, true, false};

	prepare_once(walk, fcinfo);
	walk->cxt = cxt;
	begin_walk(walk, fcinfo);

	MemoryContextSwitchTo(per_query);
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setDesc = CreateTupleDescCopy(walk->desc);
	rsinfo->setResult = tuplestore_begin_heap((rsinfo->allowedModes & SFRM_Materialize_Random) != 0,
											  false, work_mem);
	MemoryContextSwitchTo(row);
	nulls[3] = !walk->path;
	while (next_row(walk, values, nulls))
	{
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		if (walk->path || walk->texts)
			MemoryContextReset(row);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(oldcxt);
	MemoryContextDelete(cxt);
}

/*
 * one_row returns the next row, for callers that may not want all of them.
 */
static Datum
one_row(FunctionCallInfo fcinfo)
{
	FuncCallContext *context;
	Walk	   *walk;
	Datum		values[RESULT_COLUMNS];
	bool		nulls[RESULT_COLUMNS] = {false, false, false, true, false};

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext oldcxt;

		context = SRF_FIRSTCALL_INIT();
		oldcxt = MemoryContextSwitchTo(context->multi_call_memory_ctx);
		walk = palloc0(sizeof(Walk));
		prepare(walk, fcinfo);
		walk->cxt = CurrentMemoryContext;
		walk->lazy = true;
		begin_walk(walk, fcinfo);
		context->user_fctx = walk;
		MemoryContextSwitchTo(oldcxt);
	}
	context = SRF_PERCALL_SETUP();
	walk = context->user_fctx;
	nulls[3] = !walk->path;
	if (next_row(walk, values, nulls))
		SRF_RETURN_NEXT(context, HeapTupleGetDatum(heap_form_tuple(walk->desc, values, nulls)));
	SRF_RETURN_DONE(context);
}

/*
 * adjacency_walk(target regclass, parent name, start, "key" name[],
 * direction text, max_depth integer, search text, order_by name,
 * path boolean) returns nodes of an adjacency list: node, parent, depth, path
 * and is_cycle.  Nothing is changed.
 *
 * parent: the columns that hold the key of a row's parent.  start: the key to
 * begin at; NULL takes all roots (down), or nothing (up).  Its type is that of
 * node, parent and path: bigint for integers, else that of the key; text[] for
 * the values of a key of several columns.  key: columns that tell rows apart;
 * NULL takes the primary key.  direction: 'down' or 'up'.  max_depth: levels
 * below or above the start; NULL sets no limit.  search: 'depth' (a node
 * before its children before its siblings) or 'breadth'.  order_by: column by
 * which siblings come; NULL leaves it open.  path: fill the column path, the
 * keys from the start on.
 *
 * is_cycle is true in a row whose node is on its own path already; it is not
 * followed.  An orphan, whose parent does not exist, counts as a root.
 *
 * Raises 22004 (target or parent is NULL), 42701 (a column named twice), 22023
 * (bad value), what dbp_walk_source raises, 42804 (start is not of the key's
 * type), 22004, 22023 and 22P02 (start in text), 23505 (a deferred key occurs
 * twice), 54000 (more than 2^30 rows), 55000 (table altered between two rows of
 * a cursor).  Locks ACCESS SHARE on target.  Runs as the caller and sees what a
 * query in its place would.
 */
Datum
dbpatterns_adjacency_walk(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	/* Who prefers it takes all rows in any case; that is faster. */
	if (rsinfo != NULL && IsA(rsinfo, ReturnSetInfo) &&
		(rsinfo->allowedModes & SFRM_Materialize) != 0 &&
		(rsinfo->allowedModes & SFRM_Materialize_Preferred) != 0)
	{
		materialize(fcinfo);
		return (Datum) 0;
	}
	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) ||
		(rsinfo->allowedModes & SFRM_ValuePerCall) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a set of rows cannot be returned here"),
				 errhint("Call the function in the FROM clause.")));
	return one_row(fcinfo);
}

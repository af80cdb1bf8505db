/*-------------------------------------------------------------------------
 *
 * edit_order.c
 *	  Places among siblings.
 *
 * Siblings are ordered by a number in a column of the table, with gaps: a node
 * is put between two others by a number between theirs, so that nothing but
 * its own row is written.  Where numbers of the column's type leave no room,
 * the children of that one parent are renumbered with even gaps.
 *
 * Two edits that put nodes among the same siblings at the same time would
 * choose the same number.  So the children of a parent have a lock of their
 * own (class HIER_LOCK_SIBLINGS, closure table, hash of the parent's key), taken
 * before their numbers are read, and read as they are now, whatever snapshot
 * the transaction has.  Plain SQL that sets the column does not take it.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/edit_order.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "core/names.h"
#include "hierarchy/edit.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

/* Distance of neighbours where there is room. */
#define GAP				1024

/* Digits behind the point that a numeric may get before siblings are renumbered. */
#define MAX_SCALE		32

/* Where nodes are to be put. */
typedef struct Place
{
	Edit	   *edit;
	List	   *nodes;			/* Datum *; those that are there, to be moved */
	int			n;				/* how many are to be put */
	const Datum *parent;		/* NULL: among the roots */
	const Datum *before;		/* NULL: at the end */
	HierRows   *rows;			/* keys of nodes */
	DbpParam	params[HIER_MAX_KEY + 1];
	int			nparams;
	char	   *siblings;		/* condition on t */
	char	   *column;			/* of the order, of t */
} Place;

/* ---- numbers ------------------------------------------------------------- */

/*
 * Each of these fills values with n growing numbers between two bounds, either
 * of which may be missing, and tells whether there was room.
 */

static int64
integer_max(Oid type)
{
	return type == INT2OID ? PG_INT16_MAX : type == INT4OID ? PG_INT32_MAX : PG_INT64_MAX;
}

static int64
integer_of(Oid type, Datum value)
{
	return type == INT2OID ? DatumGetInt16(value) : type == INT4OID ? DatumGetInt32(value) :
		DatumGetInt64(value);
}

static Datum
integer_datum(Oid type, int64 value)
{
	return type == INT2OID ? Int16GetDatum((int16) value) :
		type == INT4OID ? Int32GetDatum((int32) value) : Int64GetDatum(value);
}

static bool
integers_between(Oid type, const Datum *low, const Datum *high, int n, Datum *values)
{
	int64		max = integer_max(type);
	int64		min = -max - 1;
	int64		from = low != NULL ? integer_of(type, *low) : 0;
	uint64		step = GAP;

	if (low != NULL && high != NULL)
		step = ((uint64) integer_of(type, *high) - (uint64) from) / ((uint64) n + 1);
	else if (high == NULL && (uint64) max - (uint64) from < step * n)
		return false;
	else if (high != NULL)
	{
		from = integer_of(type, *high);
		if ((uint64) from - (uint64) min < step * (n + 1))
			return false;
		from -= (int64) step * (n + 1);
	}
	if (step == 0)
		return false;
	for (int i = 0; i < n; i++)
		values[i] = integer_datum(type, from + (int64) step * (i + 1));
	return true;
}

static double
float_of(Oid type, Datum value)
{
	return type == FLOAT4OID ? DatumGetFloat4(value) : DatumGetFloat8(value);
}

static bool
floats_between(Oid type, const Datum *low, const Datum *high, int n, Datum *values)
{
	double		from = low != NULL ? float_of(type, *low) : 0;
	double		step = GAP;
	double		last;

	if (low != NULL && high != NULL)
		step = (float_of(type, *high) - from) / ((double) n + 1);
	else if (high != NULL)
		from = float_of(type, *high) - step * (n + 1);
	last = low != NULL ? from : -get_float8_infinity();
	for (int i = 0; i < n; i++)
	{
		double		value = from + step * (i + 1);

		if (type == FLOAT4OID)
			value = (float4) value;
		if (!(value > last) || isinf(value) ||
			(high != NULL && !(value < float_of(type, *high))))
			return false;
		values[i] = type == FLOAT4OID ? Float4GetDatum((float4) value) : Float8GetDatum(value);
		last = value;
	}
	return true;
}

static Datum
numeric_of(int64 value)
{
	return NumericGetDatum(int64_to_numeric(value));
}

static int
compare_numerics(Datum a, Datum b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, a, b));
}

/*
 * numeric_limit returns the least number that is too large for a column, and
 * sets scale to its digits behind the point; NULL if there is no limit.
 */
static Datum *
numeric_limit(int32 typmod, int *scale)
{
	Datum	   *limit = palloc(sizeof(Datum));
	int			precision;

	*scale = MAX_SCALE;
	if (typmod < (int32) VARHDRSZ)
		return NULL;
	precision = ((typmod - VARHDRSZ) >> 16) & 0xffff;
	*scale = (((typmod - VARHDRSZ) & 0x7ff) ^ 1024) - 1024;
	*limit = DirectFunctionCall3(numeric_in, CStringGetDatum(psprintf("1e%d", precision - *scale)),
								 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	return limit;
}

static bool
numerics_between(int32 typmod, const Datum *low, const Datum *high, int n, Datum *values)
{
	int			scale;
	Datum	   *limit = numeric_limit(typmod, &scale);
	Datum		from = low != NULL ? *low : numeric_of(0);
	Datum		step = numeric_of(GAP);

	if (low != NULL && high != NULL)
		step = DirectFunctionCall2(numeric_div,
								   DirectFunctionCall2(numeric_sub, *high, *low),
								   numeric_of(n + 1));
	else if (high != NULL)
		from = DirectFunctionCall2(numeric_sub, *high,
								   DirectFunctionCall2(numeric_mul, step, numeric_of(n + 1)));
	for (int i = 0; i < n; i++)
	{
		Datum		value = DirectFunctionCall2(numeric_mul, step, numeric_of(i + 1));

		value = DirectFunctionCall2(numeric_add, from, value);
		value = DirectFunctionCall2(numeric_trunc, value, Int32GetDatum(scale));
		value = DirectFunctionCall1(numeric_trim_scale, value);
		if ((i > 0 || low != NULL) && compare_numerics(value, i > 0 ? values[i - 1] : *low) <= 0)
			return false;
		if ((high != NULL && compare_numerics(value, *high) >= 0) ||
			(limit != NULL &&
			 compare_numerics(DirectFunctionCall1(numeric_abs, value), *limit) >= 0))
			return false;
		values[i] = value;
	}
	return true;
}

static bool
numbers_between(Edit *edit, const Datum *low, const Datum *high, int n, Datum *values)
{
	switch (edit->order)
	{
		case EDIT_INTEGER:
			return integers_between(edit->order_type, low, high, n, values);
		case EDIT_FLOAT:
			return floats_between(edit->order_type, low, high, n, values);
		default:
			return numerics_between(edit->order_typmod, low, high, n, values);
	}
}

/*
 * even_numbers returns n numbers at even distances from 0 on, the greatest
 * that the type has room for, up to GAP.
 */
static Datum *
even_numbers(Edit *edit, int n)
{
	Datum	   *values = palloc_extended(sizeof(Datum) * n, MCXT_ALLOC_HUGE);
	int64		room = PG_INT64_MAX;

	if (edit->order == EDIT_INTEGER)
		room = integer_max(edit->order_type);
	else if (edit->order == EDIT_NUMERIC)
	{
		int			scale;
		Datum	   *limit = numeric_limit(edit->order_typmod, &scale);

		/* Whole numbers, which a scale below 0 has not got. */
		if (limit != NULL && scale < 0)
			room = 0;
		else if (limit != NULL && compare_numerics(*limit, numeric_of(PG_INT64_MAX)) < 0)
			room = DatumGetInt64(DirectFunctionCall1(numeric_int8, *limit)) - 1;
	}
	room = Min(GAP, room / n);
	if (room == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("type %s of column \"%s\" has no room for %d siblings",
						format_type_with_typemod(edit->order_type, edit->order_typmod),
						edit->spec->order_by, n),
				 errhint("Give the column a type with more digits.")));
	for (int i = 0; i < n; i++)
	{
		int64		value = room * (i + 1);

		values[i] = edit->order == EDIT_INTEGER ? integer_datum(edit->order_type, value) :
			edit->order == EDIT_NUMERIC ? numeric_of(value) :
			edit->order_type == FLOAT4OID ? Float4GetDatum((float4) value) :
			Float8GetDatum((float8) value);
	}
	return values;
}

/* ---- siblings ------------------------------------------------------------ */

/*
 * dbp_edit_lock_siblings keeps others from putting nodes below a parent.
 */
void
dbp_edit_lock_siblings(Edit *edit, const Datum *scope, const Datum *parent)
{
	HierKeyType type = edit->table.type;
	LOCKTAG		tag;

	if (parent == NULL)
		type.n = edit->table.nscope;
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, edit->storageid,
						 parent != NULL ? dbp_key_hash(&type, parent) :
						 type.n > 0 ? dbp_key_hash(&type, scope) : 0, HIER_LOCK_SIBLINGS);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/*
 * dbp_edit_siblings returns the condition that rows of t are the children of a
 * parent, whose key is in the first parameters, or roots, of the scope there.
 */
char *
dbp_edit_siblings(Edit *edit, const Datum *parent)
{
	HierTable  *table = &edit->table;
	StringInfoData sql;

	if (parent != NULL)
		return dbp_edit_condition(edit, HIER_NAMED("t", table->parent), 0, 1);
	initStringInfo(&sql);
	for (int i = 0; i < table->nscope; i++)
	{
		dbp_sql_put_equal(&sql, table->type.col[i].type,
						  dbp_sql_column(HIER_NAMED("t", table->key), i),
						  psprintf("$%d", i + 1));
		appendStringInfoString(&sql, " AND ");
	}
	for (int i = table->nscope; i < table->n; i++)
		appendStringInfo(&sql, "%s%s IS NULL", i == table->nscope ? "(" : " OR ",
						 dbp_sql_column(HIER_NAMED("t", table->parent), i));
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

/*
 * start_place prepares what the statements on siblings share.
 */
static void
start_place(Place *place, const Datum *scope)
{
	Edit	   *edit = place->edit;
	HierTable  *table = &edit->table;
	StringInfoData sql;
	ListCell   *lc;

	place->nparams = dbp_edit_params(edit, place->params,
									 place->parent != NULL ? place->parent : scope);
	place->column = psprintf("t.%s::%s", quote_identifier(edit->spec->order_by),
							 format_type_be_qualified(edit->order_type));

	initStringInfo(&sql);
	appendStringInfoString(&sql, dbp_edit_siblings(edit, place->parent));
	appendStringInfoString(&sql, " AND NOT EXISTS (SELECT FROM " HIER_ROWS " AS r WHERE ");
	dbp_sql_put_match(&sql, &table->type, HIER_NAMED("t", table->key), HIER_NUMBERED("r", "k"));
	appendStringInfoChar(&sql, ')');
	place->siblings = sql.data;

	place->rows = dbp_rows_create(table->n);
	dbp_rows_key(place->rows, 0, "k", &table->type);
	foreach(lc, place->nodes)
	{
		bool		isnull[HIER_MAX_KEY] = {0};

		dbp_rows_put(place->rows, lfirst(lc), isnull);
	}
}

/*
 * find_before returns the number of the sibling before which nodes are put,
 * NULL if it has none.  It raises P0002 if there is no such row, and 22023 if
 * it is no child of the parent, or a node that is moved itself.
 */
static Datum *
find_before(Place *place)
{
	Edit	   *edit = place->edit;
	HierTable  *table = &edit->table;
	DbpParam	params[HIER_MAX_KEY];
	Datum		parent[HIER_MAX_KEY];
	StringInfoData sql;
	Datum		value;
	Datum	   *number = NULL;
	bool		isnull;
	bool		root = false;
	bool		sibling;
	ListCell   *lc;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	dbp_sql_put_columns(&sql, HIER_NAMED("t", table->parent), 0, table->n);
	appendStringInfo(&sql, ", %s FROM %s AS t WHERE %s", place->column, table->name,
					 dbp_edit_condition(edit, HIER_NAMED("t", table->key), 0, 1));
	if (dbp_sql_query_latest(sql.data, dbp_edit_params(edit, params, place->before), params) == 0)
		dbp_edit_raise_unknown(edit, "before", place->before);
	for (int i = 0; i < table->n; i++)
	{
		parent[i] = dbp_sql_value(0, i, &isnull);
		root |= isnull;
	}
	sibling = root ? place->parent == NULL :
		place->parent != NULL && dbp_key_equal(&table->type, parent, place->parent);
	foreach(lc, place->nodes)
		sibling &= !dbp_key_equal(&table->type, lfirst(lc), place->before);
	if (!sibling)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("node %s of table %s is no sibling to be put before",
						dbp_key_text(&table->type, place->before), dbp_relation_name(table->rel)),
				 errhint("Give argument \"before\" the key of another child of the new parent.")));
	value = dbp_sql_value(0, table->n, &isnull);
	if (!isnull)
	{
		number = palloc(sizeof(Datum));
		*number = edit->order == EDIT_NUMERIC ? PointerGetDatum(PG_DETOAST_DATUM_COPY(value)) :
			value;
	}
	return number;
}

/*
 * find_bounds sets the numbers of the neighbours, NULL if there is none, and
 * tells whether a number between them is a place between them.
 */
static bool
find_bounds(Place *place, Datum **low, Datum **high)
{
	Edit	   *edit = place->edit;
	const char *compared = "IS NULL";
	char	   *filter = "";
	bool		isnull;

	*low = *high = NULL;
	if (place->before != NULL)
	{
		*high = find_before(place);
		if (*high == NULL)
			return false;
		place->params[place->nparams++] = DBP_PARAM(edit->order_type, **high);
		filter = psprintf(" FILTER (WHERE %s OPERATOR(pg_catalog.<) $%d)", place->column,
						  place->nparams);
		compared = psprintf("OPERATOR(pg_catalog.=) $%d", place->nparams);
	}

	/*
	 * Those without a number come last; those with the same are ordered by
	 * key.
	 */
	dbp_rows_query_latest(place->rows,
						  psprintf("SELECT pg_catalog.max(%s)%s, pg_catalog.count(*) FILTER (WHERE %s %s)"
								   " FROM %s AS t WHERE %s", place->column, filter, place->column,
								   compared, edit->table.name, place->siblings),
						  place->nparams, place->params);
	if (DatumGetInt64(dbp_sql_value(0, 1, NULL)) > (place->before != NULL ? 1 : 0))
		return false;
	*low = palloc(sizeof(Datum));
	**low = dbp_sql_value(0, 0, &isnull);
	if (isnull)
		*low = NULL;
	return true;
}

/*
 * renumber gives all siblings new numbers, with the nodes at their place, and
 * returns those of the nodes.
 */
static Datum *
renumber(Place *place)
{
	Edit	   *edit = place->edit;
	HierTable  *table = &edit->table;
	HierRows   *rows = dbp_rows_create(table->n + 1);
	Datum	   *places = palloc(sizeof(Datum) * place->n);
	Datum	   *numbers;
	StringInfoData sql;
	uint64		nsiblings;
	uint64		next = 0;
	bool		placed = false;

	dbp_rows_key(rows, 0, "k", &table->type);
	dbp_rows_column(rows, table->n, "place", edit->order_type, -1, InvalidOid);
	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	dbp_sql_put_columns(&sql, HIER_NAMED("t", table->key), 0, table->n);
	appendStringInfo(&sql, " FROM %s AS t WHERE %s ORDER BY %s, ", table->name, place->siblings,
					 place->column);
	dbp_sql_put_columns(&sql, HIER_NAMED("t", table->key), 0, table->n);
	nsiblings = dbp_rows_query_latest(place->rows, sql.data, place->nparams, place->params);
	if (nsiblings + place->n > PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a node of table %s has too many children to be put in order",
						dbp_relation_name(table->rel)),
				 errhint("Divide them.")));
	numbers = even_numbers(edit, (int) nsiblings + place->n);
	for (uint64 row = 0; row <= nsiblings; row++)
	{
		Datum		values[HIER_MAX_KEY + 1];
		bool		isnull[HIER_MAX_KEY + 1] = {0};

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < table->n && row < nsiblings; i++)
			values[i] = dbp_sql_value(row, i, NULL);
		if (!placed && (row == nsiblings ||
						(place->before != NULL &&
						 dbp_key_equal(&table->type, values, place->before))))
		{
			for (int i = 0; i < place->n; i++)
				places[i] = numbers[next++];
			placed = true;
		}
		if (row == nsiblings)
			break;
		values[table->n] = numbers[next++];
		dbp_rows_put(rows, values, isnull);
	}

	resetStringInfo(&sql);
	appendStringInfo(&sql, "UPDATE %s AS t SET %s = r.place FROM " HIER_ROWS " AS r WHERE ",
					 table->name, quote_identifier(edit->spec->order_by));
	dbp_sql_put_match(&sql, &table->type, HIER_NAMED("t", table->key), HIER_NUMBERED("r", "k"));
	if (dbp_rows_query(rows, sql.data, 0, NULL) < nsiblings && IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent change of siblings in table %s",
						dbp_relation_name(table->rel)),
				 errhint("The transaction might succeed if retried.")));
	dbp_rows_free(rows);
	return places;
}

/*
 * dbp_edit_places returns the numbers by which n nodes come before a child of
 * parent, or after the last one if before is NULL; scope is the key of any node
 * of their scope.  nodes: those that are moved do not count as siblings.
 */
Datum *
dbp_edit_places(Edit *edit, List *nodes, int n, const Datum *scope, const Datum *parent,
				const Datum *before)
{
	Place		place = {.edit = edit,.nodes = nodes,.n = n,.parent = parent,.before = before};
	Datum	   *places = palloc(sizeof(Datum) * n);
	Datum	   *low;
	Datum	   *high;

	dbp_edit_lock_siblings(edit, scope, parent);
	start_place(&place, scope);
	if (!find_bounds(&place, &low, &high) ||
		!numbers_between(edit, low, high, n, places))
		places = renumber(&place);
	dbp_rows_free(place.rows);
	return places;
}

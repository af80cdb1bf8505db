/*-------------------------------------------------------------------------
 *
 * edit.c
 *	  Editing a hierarchy by its nodes: arguments, and moving.
 *
 * An edit is a statement on the table of the nodes that the caller could have
 * written, run with the caller's rights; the closure table follows by its
 * triggers.  So nothing is decided here that a trigger would not decide, too,
 * and what cannot be is refused by whoever refuses it for plain SQL.
 *
 * A key is given as a value of any type that its column can read, since most
 * keys have one column; with several, as a row, or as an array of text.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/edit.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_type.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/target.h"
#include "core/version.h"
#include "hierarchy/edit.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(dbpatterns_closure_move);

/* ---- the hierarchy ------------------------------------------------------- */

/*
 * find_order sets how siblings are ordered.  A column of the key, or one that
 * the server fills, says nothing of a node's place.
 */
static void
find_order(Edit *edit)
{
	Relation	rel = edit->table.rel;
	Form_pg_attribute att;

	if (edit->spec->order_by == NULL || dbp_list_has_name(edit->table.key, edit->spec->order_by) ||
		dbp_list_has_name(edit->table.parent, edit->spec->order_by))
		return;
	att = TupleDescAttr(RelationGetDescr(rel), dbp_column_number(rel, edit->spec->order_by) - 1);
	if (att->attgenerated != '\0' || att->attidentity != '\0')
		return;
	edit->order_typmod = att->atttypmod;
	edit->order_type = getBaseTypeAndTypmod(att->atttypid, &edit->order_typmod);
	switch (edit->order_type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
			edit->order = EDIT_INTEGER;
			break;
		case FLOAT4OID:
		case FLOAT8OID:
			edit->order = EDIT_FLOAT;
			break;
		case NUMERICOID:
			edit->order = EDIT_NUMERIC;
			break;
		default:
			break;
	}
}

/*
 * dbp_edit_open opens the table of an edit (argument 0, target) and connects to
 * SPI.
 */
void
dbp_edit_open(FunctionCallInfo fcinfo, Edit *edit, int closure_argno)
{
	Relation	rel;

	dbp_require_argument(fcinfo, 0, "target", "Name a table with a closure table.");
	dbp_check_version();
	memset(edit, 0, sizeof(*edit));
	dbp_table_open(&edit->table, PG_GETARG_OID(0), AccessShareLock, "edited");
	rel = edit->table.rel;
	edit->spec = dbp_hier_find_spec(rel, HIER_TREE, PG_ARGISNULL(closure_argno) ? NULL :
									NameStr(*PG_GETARG_NAME(closure_argno)));
	dbp_table_set_columns(&edit->table, edit->spec->key, edit->spec->parent);
	edit->storageid = dbp_hier_storage_id(RelationGetRelid(rel), edit->spec);
	edit->storage = dbp_hier_storage_name(RelationGetRelid(rel), edit->spec);
	if (!OidIsValid(edit->storageid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("closure table %s does not exist", edit->storage),
				 errhint("dbpatterns.closure_disable gives up a lost one.")));

	/* Not the owner of the closure table: by its name it may be anybody's. */
	edit->owner = rel->rd_rel->relowner;
	find_order(edit);
	SPI_connect();
}

/*
 * dbp_edit_close ends what dbp_edit_open began; locks stay.
 */
void
dbp_edit_close(Edit *edit)
{
	SPI_finish();
	relation_close(edit->table.rel, NoLock);
}

/* ---- keys as arguments --------------------------------------------------- */

/* Values of an argument, with their types. */
typedef struct Given
{
	int			n;
	Oid			type[HIER_MAX_KEY];
	Datum		value[HIER_MAX_KEY];
	bool		isnull[HIER_MAX_KEY];
} Given;

static void
add_given(Given *given, Oid type, Datum value, bool isnull)
{
	if (given->n < HIER_MAX_KEY)
	{
		given->type[given->n] = type;
		given->value[given->n] = value;
		given->isnull[given->n] = isnull;
	}
	given->n++;
}

static void
take_row(Given *given, Datum row)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(row);
	TupleDesc	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header),
											  HeapTupleHeaderGetTypMod(header));
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(header),.t_data = header};
	Datum	   *values = palloc(sizeof(Datum) * desc->natts);
	bool	   *isnull = palloc(sizeof(bool) * desc->natts);

	heap_deform_tuple(&tuple, desc, values, isnull);
	for (int i = 0; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped)
			add_given(given, TupleDescAttr(desc, i)->atttypid, values[i], isnull[i]);
	}
	ReleaseTupleDesc(desc);
}

static void
take_array(Given *given, Datum array, Oid elemtype)
{
	int16		typlen;
	bool		typbyval;
	char		typalign;
	Datum	   *values;
	bool	   *isnull;
	int			n;

	get_typlenbyvalalign(elemtype, &typlen, &typbyval, &typalign);
	deconstruct_array(DatumGetArrayTypeP(array), elemtype, typlen, typbyval, typalign,
					  &values, &isnull, &n);
	for (int i = 0; i < n; i++)
		add_given(given, elemtype, values[i], isnull[i]);
}

/*
 * take_argument splits what was given for a key of several columns; a literal
 * of no type can be an array's.
 */
static void
take_argument(Given *given, Oid type, Datum value, bool several)
{
	if (several && type_is_rowtype(type))
		take_row(given, value);
	else if (several && OidIsValid(get_element_type(type)))
		take_array(given, value, get_element_type(type));
	else if (several && (type == UNKNOWNOID || type == TEXTOID))
	{
		char	   *literal = type == UNKNOWNOID ? DatumGetCString(value) :
			TextDatumGetCString(value);

		if (literal[0] == '{')
			take_array(given, OidInputFunctionCall(F_ARRAY_IN, literal, TEXTOID, -1), TEXTOID);
		else
			add_given(given, type, value, false);
	}
	else
		add_given(given, type, value, false);
}

/*
 * as_column returns a value as one of a key's column, by its text if it is of
 * another type.
 */
static Datum
as_column(const HierColumn *column, Oid type, Datum value)
{
	if (getBaseType(type) == column->type)
		return value;
	return dbp_value_from_text(column, dbp_value_to_text(type, value), -1);
}

/*
 * dbp_edit_key_argument returns an argument that is a key, NULL for one that is
 * NULL.  If scope is not NULL, the columns of the scope may be left out and are
 * taken from there.
 */
Datum *
dbp_edit_key_argument(FunctionCallInfo fcinfo, int argno, Edit *edit, const char *argument,
					  const Datum *scope)
{
	HierTable  *table = &edit->table;
	Datum	   *key;
	Given		given = {0};
	int			first;

	if (PG_ARGISNULL(argno))
		return NULL;
	take_argument(&given, get_fn_expr_argtype(fcinfo->flinfo, argno), PG_GETARG_DATUM(argno),
				  table->n > 1);
	first = given.n == table->n ? 0 : table->nscope;
	if (given.n != table->n - first || (first > 0 && scope == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" has %d values, the key of table %s has the columns %s",
						argument, given.n, dbp_relation_name(table->rel),
						dbp_hier_print_columns(table->key)),
				 errhint("Give ROW(...) or an array of text with a value for each, in this order.")));

	key = palloc(sizeof(Datum) * table->n);
	for (int i = 0; i < table->n; i++)
	{
		if (i < first)
			key[i] = scope[i];
		else if (given.isnull[i - first])
			return NULL;
		else
			key[i] = as_column(&table->type.col[i], given.type[i - first],
							   given.value[i - first]);
	}
	return dbp_key_copy(&table->type, key);
}

/*
 * dbp_edit_params fills parameters with a key and returns how many these are.
 */
int
dbp_edit_params(Edit *edit, DbpParam *params, const Datum *key)
{
	for (int i = 0; i < edit->table.n; i++)
		params[i] = DBP_PARAM_OR_NULL(edit->table.type.col[i].type,
									  key == NULL ? (Datum) 0 : key[i], key == NULL);
	return edit->table.n;
}

/*
 * dbp_edit_condition returns the condition that columns, from number from on,
 * are the key in parameters from number first_param on.
 */
char *
dbp_edit_condition(Edit *edit, HierColumns columns, int from, int first_param)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = from; i < edit->table.n; i++)
	{
		if (i > from)
			appendStringInfoString(&sql, " AND ");
		dbp_sql_put_equal(&sql, edit->table.type.col[i].type, dbp_sql_column(columns, i),
						  psprintf("$%d", first_param + i));
	}
	return sql.data;
}

/*
 * find looks for the row of a key, as the caller, and tells whether there is
 * one; SPI_tuptable has the columns asked for.
 */
static bool
find(Edit *edit, const Datum *key, const char *columns, bool lock)
{
	DbpParam	params[HIER_MAX_KEY];
	char	   *sql = psprintf("SELECT %s FROM %s AS t WHERE %s%s", columns, edit->table.name,
							   dbp_edit_condition(edit, HIER_NAMED("t", edit->table.key), 0, 1),
							   lock ? " FOR UPDATE" : "");

	return dbp_sql_query(sql, dbp_edit_params(edit, params, key), params) > 0;
}

/*
 * dbp_edit_raise_unknown raises P0002: the caller sees no row of that key.
 */
void
dbp_edit_raise_unknown(Edit *edit, const char *argument, const Datum *key)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("table %s has no node %s", dbp_relation_name(edit->table.rel),
					dbp_key_text(&edit->table.type, key)),
			 errhint("Give argument \"%s\" the key (%s) of a row that you may see.", argument,
					 dbp_hier_print_columns(edit->table.key))));
}

/*
 * dbp_edit_node_argument returns the key of the node that is edited, as in the
 * table, and sets parent to that of its parent; NULL if it is a root.  With
 * lock, it stays so, and if there is a foreign key, no child comes.
 */
Datum *
dbp_edit_node_argument(FunctionCallInfo fcinfo, int argno, Edit *edit, Datum **parent,
					   bool lock)
{
	HierTable  *table = &edit->table;
	Datum	   *node = dbp_edit_key_argument(fcinfo, argno, edit, "node", NULL);
	Datum		values[HIER_MAX_KEY];
	StringInfoData columns;
	bool		root = false;

	if (node == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"node\" must not be NULL"),
				 errhint("Give the key of a row.")));
	initStringInfo(&columns);
	dbp_sql_put_columns(&columns, HIER_NAMED("t", table->key), 0, table->n);
	appendStringInfoString(&columns, ", ");
	dbp_sql_put_columns(&columns, HIER_NAMED("t", table->parent), 0, table->n);
	if (!find(edit, node, columns.data, lock))
		dbp_edit_raise_unknown(edit, "node", node);
	for (int i = 0; i < table->n; i++)
		values[i] = dbp_sql_value(0, i, NULL);
	node = dbp_key_copy(&table->type, values);
	for (int i = 0; i < table->n; i++)
	{
		bool		isnull;

		values[i] = dbp_sql_value(0, table->n + i, &isnull);
		root |= isnull;
	}
	*parent = root ? NULL : dbp_key_copy(&table->type, values);
	return node;
}

/*
 * dbp_edit_parent_argument returns the key of a parent that exists, NULL for
 * NULL.
 */
Datum *
dbp_edit_parent_argument(FunctionCallInfo fcinfo, int argno, Edit *edit, const Datum *node)
{
	Datum	   *parent = dbp_edit_key_argument(fcinfo, argno, edit, "new_parent", node);

	if (parent != NULL && !find(edit, parent, "", false))
		dbp_edit_raise_unknown(edit, "new_parent", parent);
	return parent;
}

/*
 * dbp_edit_require_same_scope raises 23514 if a node cannot be below a parent.
 */
void
dbp_edit_require_same_scope(Edit *edit, const Datum *node, const Datum *parent)
{
	HierTable  *table = &edit->table;
	HierKeyType scope = table->type;

	scope.n = table->nscope;
	if (parent != NULL && scope.n > 0 && !dbp_key_equal(&scope, node, parent))
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("node %s and its new parent %s differ in %s",
						dbp_key_text(&table->type, node), dbp_key_text(&table->type, parent),
						dbp_hier_print_columns(list_copy_head(table->key, table->nscope))),
				 errhint("A node can only be moved within its scope.")));
}

/*
 * dbp_edit_refuse_hidden raises 42501 if row-level security kept a statement
 * from rows that belong to what it did.
 */
void
dbp_edit_refuse_hidden(Edit *edit, uint64 done, uint64 wanted)
{
	Relation	rel = edit->table.rel;

	if (done < wanted && check_enable_rls(RelationGetRelid(rel), InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("row-level security of table %s protects rows of the subtree",
						dbp_relation_name(rel)),
				 errhint("Choose a node whose subtree you may change as a whole.")));
}

/* ---- moving -------------------------------------------------------------- */

/*
 * dbp_edit_attach sets the parent of nodes, in one UPDATE as the caller, and
 * their places, unless those are NULL; returns how many rows it changed.
 */
uint64
dbp_edit_attach(Edit *edit, List *nodes, const Datum *parent, const Datum *places)
{
	HierTable  *table = &edit->table;
	HierRows   *rows = dbp_rows_create(table->n + 1);
	DbpParam	params[HIER_MAX_KEY];
	StringInfoData sql;
	uint64		done;
	ListCell   *lc;

	dbp_rows_key(rows, 0, "k", &table->type);
	dbp_rows_column(rows, table->n, "place", places == NULL ? INT4OID : edit->order_type, -1,
					InvalidOid);
	foreach(lc, nodes)
	{
		Datum		values[HIER_MAX_KEY + 1];
		bool		isnull[HIER_MAX_KEY + 1] = {0};

		memcpy(values, lfirst(lc), sizeof(Datum) * table->n);
		values[table->n] = places == NULL ? (Datum) 0 : places[foreach_current_index(lc)];
		isnull[table->n] = places == NULL;
		dbp_rows_put(rows, values, isnull);
	}

	initStringInfo(&sql);
	appendStringInfo(&sql, "UPDATE %s AS t SET ", table->name);
	for (int i = table->nscope; i < table->n; i++)
		appendStringInfo(&sql, "%s%s = $%d", i > table->nscope ? ", " : "",
						 quote_identifier(list_nth(table->parent, i)), i + 1);
	if (places != NULL)
		appendStringInfo(&sql, ", %s = r.place", quote_identifier(edit->spec->order_by));
	appendStringInfoString(&sql, " FROM " HIER_ROWS " AS r WHERE ");
	dbp_sql_put_match(&sql, &table->type, HIER_NAMED("t", table->key), HIER_NUMBERED("r", "k"));
	done = dbp_rows_query(rows, sql.data, dbp_edit_params(edit, params, parent), params);
	dbp_rows_free(rows);
	return done;
}

/*
 * closure_move(target regclass, node, new_parent, before, closure name) makes a
 * node, with all below it, a child of another one.
 *
 * target: a table with a closure table.  node: key of the node, a value of a
 * type that reads as the key column's; for several columns ROW(...) or an array
 * of text.  new_parent: key of the node above it from now on, NULL to make it a
 * root; columns of the scope may be left out.  before: key of the child of
 * new_parent before which it is put, NULL for the end; the order is that of the
 * column order_by of closure_enable if that is of a numeric type, whose value
 * is set between those of the neighbours: where there is no room left, the
 * siblings get new values at even distances.  closure: which hierarchy of the
 * table, NULL for the only one.
 *
 * Raises 22004 (target or node is NULL), 55000 (versions differ; before, and
 * the order cannot be set), 42P01, 42809, 42704 (no such hierarchy), 42P09
 * (several), 22023 (a key does not fit; before is no child of new_parent),
 * 22P02, P0002 (no such node), 23514 (below itself, another scope, too deep),
 * 22003 (no room for the siblings in their type), and what the UPDATE raises.
 * Locks, with an order, an advisory lock of our own on the children of
 * new_parent, then what the UPDATE locks.  Runs as the caller.  A second call
 * sets the same parent again.
 */
Datum
dbpatterns_closure_move(PG_FUNCTION_ARGS)
{
	Edit		edit;
	Datum	   *node;
	Datum	   *parent;
	Datum	   *before;
	Datum	   *places = NULL;

	dbp_edit_open(fcinfo, &edit, 4);
	node = dbp_edit_node_argument(fcinfo, 1, &edit, &parent, false);
	parent = dbp_edit_parent_argument(fcinfo, 2, &edit, node);
	before = dbp_edit_key_argument(fcinfo, 3, &edit, "before", node);
	dbp_edit_require_same_scope(&edit, node, parent);
	if (before != NULL && edit.order == EDIT_UNORDERED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("siblings in table %s have no order that could be set",
						dbp_relation_name(edit.table.rel)),
				 errhint("Call dbpatterns.closure_enable with a numeric column in argument \"order_by\".")));
	if (edit.order != EDIT_UNORDERED)
		places = dbp_edit_places(&edit, list_make1(node), 1, node, parent, before);
	if (dbp_edit_attach(&edit, list_make1(node), parent, places) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("node %s of table %s was not moved", dbp_key_text(&edit.table.type, node),
						dbp_relation_name(edit.table.rel)),
				 errhint("A trigger, a policy or another transaction kept the row from being updated.")));
	dbp_edit_close(&edit);
	PG_RETURN_VOID();
}

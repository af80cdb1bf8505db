/*-------------------------------------------------------------------------
 *
 * edit_copy.c
 *	  Copying subtrees.
 *
 * The new keys are made first, by the defaults of the key's columns evaluated
 * as the caller, as an INSERT would, or from a mapping; then one INSERT reads
 * the old rows and writes the new ones, parents first.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/edit_copy.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "core/codec.h"
#include "core/names.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "hierarchy/edit.h"
#include "miscadmin.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(dbpatterns_closure_copy_subtree);

/* What a copy is made of. */
typedef struct Copy
{
	Edit		edit;
	Datum	   *node;
	Datum	   *parent;			/* of the copy; NULL: a root */
	Jsonb	   *mapping;		/* old to new keys, or NULL */
	Jsonb	   *overrides;		/* or NULL */
	List	   *overridden;		/* char * */
	HierRows   *old;			/* k1.., depth */
	HierRows   *rows;			/* k1.., n1.., depth */
	EState	   *estate;
	ExprState  *defaults[HIER_MAX_KEY];
} Copy;

/* ---- new keys ------------------------------------------------------------ */

/*
 * prepare_defaults prepares the defaults of the key's columns.
 */
static void
prepare_defaults(Copy *copy)
{
	HierTable  *table = &copy->edit.table;

	copy->estate = CreateExecutorState();
	for (int i = table->nscope; i < table->n; i++)
	{
		Node	   *expr = build_column_default(table->rel, table->key_att[i]);

		if (expr != NULL)
			copy->defaults[i] = ExecPrepareExpr((Expr *) expr, copy->estate);
		else if (copy->mapping == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("key column \"%s\" of table %s has no default to make new keys",
							(char *) list_nth(table->key, i), dbp_relation_name(table->rel)),
					 errhint("Give the column a default, or new keys in argument \"mapping\".")));
	}
	if (copy->mapping != NULL &&
		(table->n - table->nscope > 1 || !JB_ROOT_IS_OBJECT(copy->mapping)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"mapping\" does not give new keys for table %s",
						dbp_relation_name(table->rel)),
				 errhint("Give an object with the new key for each old one; it works for keys of one column beside the scope.")));
}

/*
 * mapped_key returns the text of the new key that the mapping gives for an old
 * one, or NULL.
 */
static char *
mapped_key(Copy *copy, Datum old)
{
	HierTable  *table = &copy->edit.table;
	char	   *words = dbp_value_to_text(table->type.col[table->nscope].type, old);
	JsonbValue	buffer;
	JsonbValue *value;

	value = getKeyJsonValueFromContainer(&copy->mapping->root, words, strlen(words), &buffer);
	if (value == NULL)
		return NULL;
	if (value->type == jbvString)
		return pnstrdup(value->val.string.val, value->val.string.len);
	if (value->type == jbvNumeric)
		return DatumGetCString(DirectFunctionCall1(numeric_out,
												   NumericGetDatum(value->val.numeric)));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("argument \"mapping\" gives no text or number for node %s", words),
			 errhint("Give the new key as a string or a number.")));
	return NULL;				/* keep the compiler quiet */
}

/*
 * new_value returns a new value of a column of the key.
 */
static Datum
new_value(Copy *copy, int column, const Datum *old)
{
	HierTable  *table = &copy->edit.table;
	HierColumn *type = &table->type.col[column];
	char	   *words = copy->mapping != NULL ? mapped_key(copy, old[column]) : NULL;
	Datum		value;
	bool		isnull;

	if (words != NULL)
		return dbp_value_from_text(type, words, type->typmod);
	if (copy->defaults[column] == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"mapping\" has no key for node %s",
						dbp_key_text(&table->type, old)),
				 errhint("Give a new key for each node of the subtree.")));
	value = ExecEvalExpr(copy->defaults[column], GetPerTupleExprContext(copy->estate), &isnull);
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("the default of key column \"%s\" of table %s is NULL",
						(char *) list_nth(table->key, column), dbp_relation_name(table->rel)),
				 errhint("Give the column a default that makes keys.")));
	return value;
}

/*
 * make_keys gives each node of the subtree a new key.
 */
static void
make_keys(Copy *copy)
{
	HierTable  *table = &copy->edit.table;
	int			n = table->n;
	TupleTableSlot *slot = MakeSingleTupleTableSlot(copy->old->desc, &TTSOpsMinimalTuple);

	prepare_defaults(copy);
	copy->rows = dbp_rows_create(2 * n + 1);
	dbp_rows_key(copy->rows, 0, "k", &table->type);
	dbp_rows_key(copy->rows, n, "n", &table->type);
	dbp_rows_column(copy->rows, 2 * n, "depth", INT4OID, -1, InvalidOid);
	dbp_rows_rescan(copy->old);
	while (tuplestore_gettupleslot(copy->old->store, true, false, slot))
	{
		Datum		values[2 * HIER_MAX_KEY + 1];
		bool		isnull[2 * HIER_MAX_KEY + 1] = {0};
		MemoryContext oldcxt;

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		oldcxt = MemoryContextSwitchTo(GetPerTupleMemoryContext(copy->estate));
		memcpy(values, slot->tts_values, sizeof(Datum) * n);
		for (int i = 0; i < n; i++)
			values[n + i] = i < table->nscope ?
				(copy->parent != NULL ? copy->parent[i] : values[i]) : new_value(copy, i, values);
		values[2 * n] = slot->tts_values[n];
		dbp_rows_put(copy->rows, values, isnull);
		MemoryContextSwitchTo(oldcxt);
		ResetPerTupleExprContext(copy->estate);
	}
	ExecDropSingleTupleTableSlot(slot);
	FreeExecutorState(copy->estate);
}

/* ---- new rows ------------------------------------------------------------ */

/*
 * check_overrides sets which columns are overridden.
 */
static void
check_overrides(Copy *copy)
{
	HierTable  *table = &copy->edit.table;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;

	if (copy->overrides == NULL)
		return;
	if (!JB_ROOT_IS_OBJECT(copy->overrides))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"overrides\" is not a JSON object"),
				 errhint("Give an object with a value for each column to be set.")));
	it = JsonbIteratorInit(&copy->overrides->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		char	   *column;
		AttrNumber	attno;

		if (token != WJB_KEY)
			continue;
		column = pnstrdup(value.val.string.val, value.val.string.len);
		attno = dbp_column_number(table->rel, column);
		if (dbp_list_has_name(table->key, column) || dbp_list_has_name(table->parent, column) ||
			TupleDescAttr(RelationGetDescr(table->rel), attno - 1)->attgenerated != '\0')
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("argument \"overrides\" must not set column \"%s\"", column),
					 errhint("Columns of key and parent, and generated ones, are set by the copy itself.")));
		copy->overridden = lappend(copy->overridden, column);
	}
}

static int
position_of(List *names, const char *column)
{
	ListCell   *lc;

	foreach(lc, names)
	{
		if (strcmp(lfirst(lc), column) == 0)
			return foreach_current_index(lc);
	}
	return -1;
}

/*
 * put_value appends what a column of the copy gets: m is the node, p its
 * parent, s its old row.  False: it is left to the server.
 */
static bool
put_value(Copy *copy, StringInfo sql, Form_pg_attribute att, const Datum *place)
{
	HierTable  *table = &copy->edit.table;
	char	   *column = NameStr(att->attname);
	const char *quoted = quote_identifier(column);
	const char *top = "m.depth OPERATOR(pg_catalog.=) 0";
	int			i;

	if ((i = position_of(table->key, column)) >= 0)
		appendStringInfo(sql, "m.n%d", i + 1);
	else if ((i = position_of(table->parent, column)) >= 0)
		appendStringInfo(sql, "CASE WHEN %s THEN $%d ELSE p.n%d END", top, i + 1, i + 1);
	else if ((i = position_of(copy->overridden, column)) >= 0)
		appendStringInfo(sql, "$%d", table->n + 2 + i);
	else if (place != NULL && strcmp(column, copy->edit.spec->order_by) == 0)
		appendStringInfo(sql, "CASE WHEN %s THEN $%d ELSE s.%s END", top, table->n + 1, quoted);
	else if (att->attidentity != '\0')
		return false;
	else
		appendStringInfo(sql, "s.%s", quoted);
	return true;
}

static uint64
insert_rows(Copy *copy, const Datum *place)
{
	HierTable  *table = &copy->edit.table;
	TupleDesc	desc = RelationGetDescr(table->rel);
	int			nover = list_length(copy->overridden);
	DbpParam   *params = palloc0(sizeof(DbpParam) * (table->n + 1 + nover));
	StringInfoData columns;
	StringInfoData values;
	StringInfoData value;
	StringInfoData sql;

	(void) dbp_edit_params(&copy->edit, params, copy->parent);
	params[table->n] = DBP_PARAM_OR_NULL(place != NULL ? copy->edit.order_type : INT4OID,
										 place != NULL ? *place : (Datum) 0, place == NULL);
	if (nover > 0)
	{
		DbpCodec   *codec = dbp_codec_create(desc, NULL, NULL, CurrentMemoryContext);
		Datum	   *datums = palloc(sizeof(Datum) * desc->natts);
		bool	   *isnull = palloc(sizeof(bool) * desc->natts);
		bool	   *present = palloc(sizeof(bool) * desc->natts);

		dbp_codec_decode(codec, InvalidOid, copy->overrides, datums, isnull, present);
		for (int i = 0; i < nover; i++)
		{
			int			att = dbp_column_number(table->rel, list_nth(copy->overridden, i)) - 1;

			params[table->n + 1 + i] =
				DBP_PARAM_OR_NULL(TupleDescAttr(desc, att)->atttypid, datums[att], isnull[att]);
		}
	}

	initStringInfo(&columns);
	initStringInfo(&values);
	initStringInfo(&value);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		resetStringInfo(&value);
		if (att->attisdropped || att->attgenerated != '\0' || !put_value(copy, &value, att, place))
			continue;
		appendStringInfo(&columns, "%s%s", columns.len > 0 ? ", " : "",
						 quote_identifier(NameStr(att->attname)));
		appendStringInfo(&values, "%s%s", values.len > 0 ? ", " : "", value.data);
	}

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM " HIER_ROWS
					 " AS m JOIN %s AS s ON ", dbp_relation_name(table->rel), columns.data,
					 values.data, table->name);
	dbp_sql_put_match(&sql, &table->type, HIER_NAMED("s", table->key), HIER_NUMBERED("m", "k"));
	appendStringInfoString(&sql, " LEFT JOIN " HIER_ROWS " AS p ON ");
	dbp_sql_put_match(&sql, &table->type, HIER_NAMED("s", table->parent), HIER_NUMBERED("p", "k"));
	appendStringInfoString(&sql, " ORDER BY m.depth, ");
	dbp_sql_put_columns(&sql, HIER_NUMBERED("m", "k"), 0, table->n);
	return dbp_rows_query(copy->rows, sql.data, table->n + 1 + nover, params);
}

/*
 * return_keys returns a row for each node.
 */
static void
return_keys(Copy *copy, ReturnSetInfo *result)
{
	HierTable  *table = &copy->edit.table;
	TupleTableSlot *slot = MakeSingleTupleTableSlot(copy->rows->desc, &TTSOpsMinimalTuple);

	dbp_rows_rescan(copy->rows);
	while (tuplestore_gettupleslot(copy->rows->store, true, false, slot))
	{
		Datum		values[2];
		bool		isnull[2] = {false, false};
		char	   *words[2];

		slot_getallattrs(slot);
		for (int i = 0; i < 2; i++)
		{
			words[i] = dbp_key_text(&table->type, slot->tts_values + i * table->n);

			values[i] = CStringGetTextDatum(words[i]);
		}
		tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
		for (int i = 0; i < 2; i++)
		{
			pfree(words[i]);
			pfree(DatumGetPointer(values[i]));
		}
	}
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * closure_copy_subtree(target regclass, node, new_parent, overrides jsonb,
 * mapping jsonb, closure name) copies a node, with all below it, to a child of
 * another node, in one INSERT, and returns a row with the old and the new key
 * of each node.
 *
 * target, node, closure: as for closure_move.  new_parent: key of the parent of
 * the copy, NULL to make it a root; in a scope of its own, if its columns are
 * given.  overrides: values of columns of all new rows, in the form of row
 * images.  mapping: new keys by old ones, both as text; NULL, and what it has
 * not got, comes from the default of the key's columns.  The copy comes last
 * among its siblings if their order can be set.  Other columns are copied as
 * they are; generated ones, and identity columns that are no keys, are left to
 * the server.
 *
 * Raises 22004 (target or node is NULL), 55000 (versions differ; no default; a
 * row was not copied), 42P01, 42809, 42704 (no such hierarchy), 42P09
 * (several), 22023 (a key, overrides or mapping does not fit), 22P02, P0002 (no
 * such node), 42703, 23502, 42501 (row-level security hides a row below the
 * node), and what the INSERT raises.  Locks what the INSERT locks, and with an
 * order what closure_move does.  Runs as the caller.  A second call makes a
 * second copy.
 */
Datum
dbpatterns_closure_copy_subtree(PG_FUNCTION_ARGS)
{
	Copy		copy = {0};
	Datum	   *place = NULL;
	Datum	   *parent;
	uint64		copied;

	InitMaterializedSRF(fcinfo, 0);
	dbp_edit_open(fcinfo, &copy.edit, 5);
	copy.node = dbp_edit_node_argument(fcinfo, 1, &copy.edit, &parent, false);
	copy.parent = dbp_edit_parent_argument(fcinfo, 2, &copy.edit, copy.node);
	copy.overrides = PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3);
	copy.mapping = PG_ARGISNULL(4) ? NULL : PG_GETARG_JSONB_P(4);
	check_overrides(&copy);
	copy.old = dbp_edit_subtree(&copy.edit, copy.node, 0, PG_INT32_MAX);
	make_keys(&copy);
	if (copy.edit.order != EDIT_UNORDERED &&
		!dbp_list_has_name(copy.overridden, copy.edit.spec->order_by))
		place = dbp_edit_places(&copy.edit, NIL, 1, copy.parent != NULL ? copy.parent : copy.node,
								copy.parent, NULL);

	copied = insert_rows(&copy, place);
	dbp_edit_refuse_hidden(&copy.edit, copied, copy.rows->n);
	if (copied < copy.rows->n)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%llu of %lld rows of table %s were not copied",
						(unsigned long long) (copy.rows->n - copied), (long long) copy.rows->n,
						dbp_relation_name(copy.edit.table.rel)),
				 errhint("A trigger, or another transaction that deletes, kept them from being inserted.")));
	return_keys(&copy, (ReturnSetInfo *) fcinfo->resultinfo);
	dbp_rows_free(copy.old);
	dbp_rows_free(copy.rows);
	dbp_edit_close(&copy.edit);
	PG_RETURN_NULL();
}

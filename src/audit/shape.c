/*-------------------------------------------------------------------------
 *
 * shape.c
 *	  Lasting identity of audited tables and their layouts.
 *
 * Log entries outlive names.  An entry points to a shape: the layout its table
 * had when it was written.  All shapes of a table share its relation number,
 * which survives rename, dump and restore.
 *
 * A column is known by a number of ours that a rename does not change.  Within
 * one life of the table attribute numbers tell which column was renamed; a
 * restored table has a new OID and new attribute numbers, and since a restore
 * renames nothing, columns are then matched by name.
 *
 * Two sessions may record the same layout at once.  That is harmless: both
 * shapes say the same.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/shape.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "audit/audit.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "compat/compat.h"
#include "core/append.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/sql.h"
#include "core/trigger.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* The arrays of an audit_shape row, by column. */
typedef struct Layout
{
	int			ncolumns;
	Datum	   *columns;		/* name */
	Datum	   *types;			/* text */
	Datum	   *attnums;		/* int2 */
	Datum	   *numbers;		/* int2 */
	int			nkeys;
	Datum	   *key;			/* name */
} Layout;

/*
 * dbp_audit_key_columns returns the names of the columns that identify a row:
 * those of the options, or the primary key's, or none.
 */
List *
dbp_audit_key_columns(Relation root, const AuditOptions *options)
{
	List	   *key = NIL;
	Oid			indexid;
	Relation	index;

	if (options->key != NIL)
		return options->key;

	indexid = RelationGetPrimaryKeyIndex(root, true);
	if (!OidIsValid(indexid))
		return NIL;
	index = index_open(indexid, AccessShareLock);
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
	{
		AttrNumber	attno = index->rd_index->indkey.values[i];

		key = lappend(key, pstrdup(NameStr(TupleDescAttr(RelationGetDescr(root),
														 attno - 1)->attname)));
	}
	index_close(index, AccessShareLock);
	return key;
}

/*
 * identify tells what audit_relation knows a table by: its OID, or the name of
 * a temporary one.
 */
static void
identify(Relation root, DbpParam params[2])
{
	bool		temporary = (root->rd_rel->relpersistence == RELPERSISTENCE_TEMP);

	params[0] = DBP_PARAM_OR_NULL(REGCLASSOID, ObjectIdGetDatum(RelationGetRelid(root)),
								  temporary);
	params[1] = DBP_PARAM_OR_NULL(NAMEOID, NameGetDatum(&root->rd_rel->relname), !temporary);
}

/*
 * dbp_audit_relation_number returns the lasting number of a table, 0 if it has
 * none.  Caller: SPI connected, log owner entered.
 */
int
dbp_audit_relation_number(Relation root)
{
	DbpParam	params[2];

	identify(root, params);
	if (dbp_sql_query_latest("SELECT relation FROM _dbpatterns.audit_relation"
							 " WHERE target = $1 OR temporary_name = $2", 2, params) == 0)
		return 0;
	return DatumGetInt32(dbp_sql_value(0, 0, NULL));
}

/*
 * register_relation returns it, too, and gives the table one if it has none.
 */
static int
register_relation(Relation root)
{
	int			relation = dbp_audit_relation_number(root);
	DbpParam	params[2];

	if (relation != 0)
		return relation;
	identify(root, params);
	dbp_sql_query_latest("INSERT INTO _dbpatterns.audit_relation (target, temporary_name)"
						 " VALUES ($1, $2) ON CONFLICT DO NOTHING", 2, params);
	relation = dbp_audit_relation_number(root);
	if (relation == 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not register table %s for auditing",
						dbp_relation_name(root)),
				 errhint("Another session registered it at the same time; retry the transaction.")));
	return relation;
}

/*
 * dbp_audit_type_text returns what a shape says of a type; text.
 */
Datum
dbp_audit_type_text(Oid type, int32 typmod)
{
	return CStringGetTextDatum(format_type_extended(type, typmod,
													FORMAT_TYPE_TYPEMOD_GIVEN |
													FORMAT_TYPE_FORCE_QUALIFY));
}

static void
set_key(Layout *layout, List *key)
{
	ListCell   *lc;

	layout->nkeys = 0;
	layout->key = palloc(sizeof(Datum) * Max(list_length(key), 1));
	foreach(lc, key)
	{
		Name		name = palloc(NAMEDATALEN);

		namestrcpy(name, lfirst(lc));
		layout->key[layout->nkeys++] = NameGetDatum(name);
	}
}

static void
current_layout(Relation root, List *key, Layout *layout)
{
	TupleDesc	desc = RelationGetDescr(root);
	int			n = 0;

	layout->columns = palloc(sizeof(Datum) * desc->natts);
	layout->types = palloc(sizeof(Datum) * desc->natts);
	layout->attnums = palloc(sizeof(Datum) * desc->natts);
	layout->numbers = palloc(sizeof(Datum) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		layout->columns[n] = NameGetDatum(&att->attname);
		layout->types[n] = dbp_audit_type_text(att->atttypid, att->atttypmod);
		layout->attnums[n] = Int16GetDatum(att->attnum);
		n++;
	}
	layout->ncolumns = n;
	set_key(layout, key);
}

/*
 * number_columns gives each column its lasting number: that of the same
 * column in the last shape, or the next free one.
 */
static void
number_columns(Layout *layout, const Layout *last, bool same_life, int next)
{
	for (int i = 0; i < layout->ncolumns; i++)
	{
		int			found = -1;

		for (int j = 0; j < last->ncolumns && found < 0; j++)
		{
			if (same_life
				? DatumGetInt16(layout->attnums[i]) == DatumGetInt16(last->attnums[j])
				: strcmp(NameStr(*DatumGetName(layout->columns[i])),
						 NameStr(*DatumGetName(last->columns[j]))) == 0)
				found = j;
		}
		layout->numbers[i] = found >= 0 ? last->numbers[found] : Int16GetDatum(next++);
	}
}

static void
read_array(uint64 row, int column, Oid type, int16 length, bool byval, char align,
		   Datum **values, int *count)
{
	deconstruct_array(DatumGetArrayTypeP(dbp_sql_value(row, column, NULL)),
					  type, length, byval, align, values, NULL, count);
}

/*
 * read_layout reads columns 3 to 7 of the query in dbp_audit_relation_shape.
 */
static void
read_layout(uint64 row, Layout *layout)
{
	int			n;

	read_array(row, 3, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR,
			   &layout->columns, &layout->ncolumns);
	read_array(row, 4, TEXTOID, -1, false, TYPALIGN_INT, &layout->types, &n);
	read_array(row, 5, INT2OID, 2, true, TYPALIGN_SHORT, &layout->attnums, &n);
	read_array(row, 6, INT2OID, 2, true, TYPALIGN_SHORT, &layout->numbers, &n);
	read_array(row, 7, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR,
			   &layout->key, &layout->nkeys);
}

static bool
same_names(int n, const Datum *a, int m, const Datum *b)
{
	if (n != m)
		return false;
	for (int i = 0; i < n; i++)
	{
		if (strcmp(NameStr(*DatumGetName(a[i])), NameStr(*DatumGetName(b[i]))) != 0)
			return false;
	}
	return true;
}

/*
 * same_columns tells whether layouts are the same but for the key.
 */
static bool
same_columns(const Layout *a, const Layout *b)
{
	if (!same_names(a->ncolumns, a->columns, b->ncolumns, b->columns))
		return false;
	for (int i = 0; i < a->ncolumns; i++)
	{
		if (DatumGetInt16(a->attnums[i]) != DatumGetInt16(b->attnums[i]) ||
			strcmp(TextDatumGetCString(a->types[i]), TextDatumGetCString(b->types[i])) != 0)
			return false;
	}
	return true;
}

static Datum
name_array(Datum *names, int count)
{
	return PointerGetDatum(construct_array(names, count, NAMEOID, NAMEDATALEN,
										   false, TYPALIGN_CHAR));
}

static int
insert_shape(Relation root, int relation, const Layout *layout)
{
	Name		nsp = palloc(NAMEDATALEN);
	DbpParam	params[9];

	namestrcpy(nsp, root->rd_rel->relpersistence == RELPERSISTENCE_TEMP
			   ? "pg_temp" : get_namespace_name(RelationGetNamespace(root)));
	params[0] = DBP_PARAM(INT4OID, Int32GetDatum(relation));
	params[1] = DBP_PARAM(NAMEOID, NameGetDatum(nsp));
	params[2] = DBP_PARAM(NAMEOID, NameGetDatum(&root->rd_rel->relname));
	params[3] = DBP_PARAM(INT8OID, Int64GetDatum((int64) RelationGetRelid(root)));
	params[4] = DBP_PARAM(NAMEARRAYOID,
						  name_array(layout->columns, layout->ncolumns));
	params[5] = DBP_PARAM(TEXTARRAYOID,
						  PointerGetDatum(construct_array(layout->types, layout->ncolumns,
														  TEXTOID, -1, false, TYPALIGN_INT)));
	params[6] = DBP_PARAM(INT2ARRAYOID,
						  PointerGetDatum(construct_array(layout->attnums, layout->ncolumns,
														  INT2OID, 2, true, TYPALIGN_SHORT)));
	params[7] = DBP_PARAM(INT2ARRAYOID,
						  PointerGetDatum(construct_array(layout->numbers, layout->ncolumns,
														  INT2OID, 2, true, TYPALIGN_SHORT)));
	params[8] = DBP_PARAM(NAMEARRAYOID,
						  name_array(layout->key, layout->nkeys));
	dbp_sql_query_latest("INSERT INTO _dbpatterns.audit_shape (relation, schema_name, table_name,"
						 " table_oid, columns, types, attnums, numbers, key)"
						 " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING shape",
						 9, params);
	return DatumGetInt32(dbp_sql_value(0, 0, NULL));
}

static bool
same_key(const Layout *a, const Layout *b)
{
	return same_names(a->nkeys, a->key, b->nkeys, b->key);
}

/*
 * is_key_of_trigger tells whether a trigger of the table logs by this key now.
 */
static bool
is_key_of_trigger(Relation root, const Layout *layout)
{
	for (int i = 0; root->trigdesc != NULL && i < root->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = dbp_copy_trigger(&root->trigdesc->triggers[i]);
		AuditOptions options;
		Layout		by;
		char	   *why;

		if (!TRIGGER_FOR_ROW(trigger->tgtype) || !dbp_audit_is_trigger(trigger) ||
			!dbp_audit_try_options(trigger, &options, &why))
			continue;
		set_key(&by, dbp_audit_key_columns(root, &options));
		if (same_key(&by, layout))
			return true;
	}
	return false;
}

/*
 * find_shape looks for the table's present layout among the shapes that a
 * query returned, newest first: it is the last one, or one before it when two
 * triggers log by different keys and take turns.  Returns 0 if it is not
 * there; the last one goes to *last.
 */
static int
find_shape(Relation root, const Layout *now, uint64 nshapes, Layout *last, bool *same_life)
{
	bool		temporary = (root->rd_rel->relpersistence == RELPERSISTENCE_TEMP);
	char	   *name = psprintf("%s.%s", temporary ? "pg_temp" :
								get_namespace_name(RelationGetNamespace(root)),
								RelationGetRelationName(root));

	for (uint64 row = 0; row < nshapes; row++)
	{
		Layout		layout;
		bool		same;

		read_layout(row, &layout);
		same = DatumGetInt64(dbp_sql_value(row, 1, NULL)) == (int64) RelationGetRelid(root);
		if (row == 0)
		{
			*last = layout;
			*same_life = same;
		}
		if (!same || strcmp(name, dbp_sql_text(row, 2)) != 0 || !same_columns(now, &layout))
			break;
		if (same_key(now, &layout))
			return DatumGetInt32(dbp_sql_value(row, 0, NULL));
		if (!is_key_of_trigger(root, &layout))
			break;
	}
	return 0;
}

/*
 * dbp_audit_relation_shape returns the shape of root as it is now, recording it
 * if it is new, and the table's relation number.
 */
int
dbp_audit_relation_shape(Relation root, List *key, int *relation)
{
	DbpOwnerScope scope;
	DbpParam	param;
	Layout		now;
	Layout		last = {0};
	uint64		nshapes;
	bool		same_life = false;
	int			next = 1;
	int			shape;

	SPI_connect();
	dbp_enter_owner(&scope, dbp_audit_log_owner());

	*relation = register_relation(root);
	current_layout(root, key, &now);

	param = DBP_PARAM(INT4OID, Int32GetDatum(*relation));
	nshapes = dbp_sql_query_latest("SELECT shape, table_oid, schema_name || '.' || table_name,"
								   " columns, types, attnums, numbers, key,"
								   " (SELECT coalesce(max(n), 0)::int2 FROM _dbpatterns.audit_shape a,"
								   "  unnest(a.numbers) n WHERE a.relation = $1)"
								   " FROM _dbpatterns.audit_shape WHERE relation = $1"
								   " ORDER BY shape DESC LIMIT 10", 1, &param);
	if (nshapes > 0)
		next = DatumGetInt16(dbp_sql_value(0, 8, NULL)) + 1;
	shape = find_shape(root, &now, nshapes, &last, &same_life);
	if (shape == 0)
	{
		number_columns(&now, &last, same_life, next);
		shape = insert_shape(root, *relation, &now);
		dbp_audit_state_uncommitted();
	}

	dbp_leave_owner(&scope);
	SPI_finish();
	return shape;
}

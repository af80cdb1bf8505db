/*-------------------------------------------------------------------------
 *
 * restore.c
 *	  Undoing one entry: the statement, and whether the row is as it was left.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/restore.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "audit/undo.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_type.h"
#include "core/names.h"
#include "miscadmin.h"
#include "storage/itemptr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* An image in today's layout. */
typedef struct RowValues
{
	Datum	   *values;			/* by attribute */
	bool	   *isnull;
	bool	   *present;		/* the log has the value */
	bool	   *marked;			/* it has a mark in its place */
	JsonbValue *marks;			/* the mark */
} RowValues;

/* A statement under construction, to be run and to be read. */
typedef struct Statement
{
	StringInfoData sql;
	StringInfoData text;
	int			nparams;
	Oid		   *types;
	Datum	   *values;
	char	   *nulls;
} Statement;

/* Where a row of the table is. */
typedef struct RowPlace
{
	ItemPointerData tid;
	Oid			relid;			/* its partition */
} RowPlace;

static Form_pg_attribute
attribute(UndoTable *table, int a)
{
	return TupleDescAttr(RelationGetDescr(table->rel), a);
}

static int
natts(UndoTable *table)
{
	return RelationGetDescr(table->rel)->natts;
}

/*
 * read_values reads an image into today's layout.
 */
static RowValues
read_values(UndoTable *table, AuditShape *shape, Jsonb *image)
{
	int			n = natts(table);
	Jsonb	   *today = dbp_audit_today_image(table->trail, shape, image);
	RowValues	row;

	row.values = palloc0(sizeof(Datum) * n);
	row.isnull = palloc0(sizeof(bool) * n);
	row.present = palloc0(sizeof(bool) * n);
	row.marked = palloc0(sizeof(bool) * n);
	row.marks = palloc0(sizeof(JsonbValue) * n);
	if (today == NULL)
		return row;

	for (int a = 0; a < n; a++)
	{
		Form_pg_attribute att = attribute(table, a);

		if (!att->attisdropped &&
			dbp_audit_image_value(today, NameStr(att->attname), &row.marks[a]))
			row.marked[a] = !dbp_audit_value_known(&row.marks[a]);
	}
	dbp_codec_decode(table->codec, table->rel->rd_rel->relowner, dbp_audit_known_values(today),
					 row.values, row.isnull, row.present);
	return row;
}

static void
begin_statement(Statement *statement, UndoTable *table)
{
	int			room = natts(table) * 2 + 2;

	initStringInfo(&statement->sql);
	initStringInfo(&statement->text);
	statement->nparams = 0;
	statement->types = palloc(sizeof(Oid) * room);
	statement->values = palloc(sizeof(Datum) * room);
	statement->nulls = palloc(room);
}

static void
append_both(Statement *statement, const char *string)
{
	appendStringInfoString(&statement->sql, string);
	appendStringInfoString(&statement->text, string);
}

static int
add_value(Statement *statement, Oid type, Datum value, bool isnull)
{
	int			n = statement->nparams++;

	statement->types[n] = type;
	statement->values[n] = value;
	statement->nulls[n] = isnull ? 'n' : ' ';
	return n + 1;
}

/*
 * append_literal appends a value as one would type it.
 */
static void
append_literal(StringInfo text, Oid type, Datum value, bool isnull)
{
	Oid			output;
	bool		isvarlena;
	char	   *string;

	if (isnull)
	{
		appendStringInfoString(text, "NULL");
		return;
	}
	getTypeOutputInfo(type, &output, &isvarlena);
	string = OidOutputFunctionCall(output, value);
	switch (getBaseType(type))
	{
		case BOOLOID:
			appendStringInfoString(text, DatumGetBool(value) ? "true" : "false");
			break;
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
			if (strspn(string, "0123456789+-.") == strlen(string))
			{
				appendStringInfoString(text, string);
				break;
			}
			/* FALLTHROUGH */
		default:
			appendStringInfoString(text, quote_literal_cstr(string));
	}
}

static void
append_value(Statement *statement, UndoTable *table, RowValues *row, int a)
{
	Oid			type = attribute(table, a)->atttypid;

	appendStringInfo(&statement->sql, "$%d",
					 add_value(statement, type, row->values[a], row->isnull[a]));
	append_literal(&statement->text, type, row->values[a], row->isnull[a]);
}

/*
 * run_statement runs a statement as the caller and returns the number of
 * rows.  AFTER triggers, and with them foreign keys, wait for the end of the
 * undo.
 */
static uint64
run_statement(Statement *statement, UndoPlan *kept)
{
	MemoryContext cxt = CurrentMemoryContext;
	int			rc;

	if (kept->sql == NULL || strcmp(kept->sql, statement->sql.data) != 0)
	{
		if (kept->sql != NULL)
		{
			kept->sql = NULL;	/* lives in the plan's memory */
			SPI_freeplan(kept->plan);
		}
		kept->plan = dbp_sql_prepare(statement->sql.data, statement->nparams,
									 statement->types, 0);
		kept->sql = MemoryContextStrdup(GetMemoryChunkContext(kept->plan), statement->sql.data);
	}
	rc = SPI_execute_snapshot(kept->plan, statement->values, statement->nulls,
							  InvalidSnapshot, InvalidSnapshot, false, false, 0);
	if (rc < 0)
		elog(ERROR, "SPI failed for \"%s\": %s", statement->sql.data,
			 SPI_result_code_string(rc));
	MemoryContextSwitchTo(cxt); /* SPI leaves its own behind */
	return SPI_processed;
}

/*
 * append_match appends the condition that finds a row: by the key it had, or
 * by all its values in the log where it had none.  In the statement that is
 * run the type's own operator compares.
 */
static void
append_match(Statement *statement, UndoTable *table, AuditShape *shape, RowValues *row)
{
	bool	   *by = palloc0(sizeof(bool) * natts(table));
	const char *and = "";

	for (int k = 0; k < shape->nkeys; k++)
		by[table->trail->columns[shape->numbers[shape->keys[k]]].attno - 1] = true;
	for (int a = 0; a < natts(table); a++)
	{
		Form_pg_attribute att = attribute(table, a);
		const char *column;

		if (shape->nkeys > 0 ? !by[a] : !row->present[a])
			continue;
		column = quote_identifier(NameStr(att->attname));
		appendStringInfo(&statement->text, "%s%s %s ", and, column, row->isnull[a] ? "IS" : "=");
		append_literal(&statement->text, att->atttypid, row->values[a], row->isnull[a]);
		and = " AND ";
		if (row->isnull[a])
			appendStringInfo(&statement->sql, " AND %s IS NULL", column);
		else if (dbp_audit_append_equals(&statement->sql, column, att->atttypid,
										 statement->nparams + 1))
			(void) add_value(statement, att->atttypid, row->values[a], false);
	}
}

static void
append_place(Statement *statement, RowPlace *place)
{
	appendStringInfo(&statement->sql,
					 " AND ctid OPERATOR(pg_catalog.=) $%d",
					 add_value(statement, TIDOID, PointerGetDatum(&place->tid), false));
	appendStringInfo(&statement->sql,
					 " AND tableoid OPERATOR(pg_catalog.=) $%d",
					 add_value(statement, OIDOID, ObjectIdGetDatum(place->relid), false));
}

/*
 * changed_column compares a row of the table with what the transaction left
 * in some columns, and returns the name of one that differs, or NULL.
 */
static char *
changed_column(UndoTable *table, RowValues *left, const bool *compare,
			   Datum *values, bool *isnull)
{
	bool	   *pick = palloc0(sizeof(bool) * natts(table));

	for (int a = 0; a < natts(table); a++)
	{
		Form_pg_attribute att = attribute(table, a);
		char	   *name = NameStr(att->attname);
		Jsonb	   *now;
		Jsonb	   *then;
		JsonbValue	value;

		if (!compare[a] || !(left->present[a] || left->marked[a]))
			continue;
		pick[a] = true;
		now = dbp_codec_encode(table->codec, values, isnull, pick);
		if (left->marked[a])
		{
			/* A value that is too large has its checksum in its mark. */
			if (!dbp_audit_image_value(now, name, &value) ||
				!dbp_audit_same_value(&value, &left->marks[a]))
				return name;
		}
		else
		{
			then = dbp_codec_encode(table->codec, left->values, left->isnull, pick);
			if (VARSIZE(now) != VARSIZE(then) || memcmp(now, then, VARSIZE(now)) != 0)
				return name;
		}
		pick[a] = false;
	}
	return NULL;
}

/*
 * find_row locks the row that a change left behind and returns where it is,
 * or the conflict: it is gone, or differs in the columns to compare.
 */
static char *
find_row(UndoTable *table, AuditShape *shape, RowValues *left, const bool *compare,
		 RowPlace *place)
{
	int			n = natts(table);
	Datum	   *values = palloc0(sizeof(Datum) * n);
	bool	   *isnull = palloc(sizeof(bool) * n);
	char	   *changed = NULL;
	int			matches = 0;
	Statement	statement;
	uint64		rows;

	begin_statement(&statement, table);
	appendStringInfo(&statement.sql, "SELECT ctid, tableoid, * FROM %s WHERE true", table->name);
	append_match(&statement, table, shape, left);
	appendStringInfoString(&statement.sql, " FOR UPDATE");
	rows = run_statement(&statement, &table->find);
	for (uint64 i = 0; i < rows; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		int			column = 2;
		bool		unused;
		char	   *differs;

		CHECK_FOR_INTERRUPTS();
		for (int a = 0; a < n; a++)
		{
			isnull[a] = true;
			if (!attribute(table, a)->attisdropped)
				values[a] = heap_getattr(tuple, ++column, desc, &isnull[a]);
		}
		differs = changed_column(table, left, compare, values, isnull);
		if (differs != NULL)
		{
			changed = differs;
			continue;
		}
		matches++;
		place->tid = *(ItemPointer) DatumGetPointer(heap_getattr(tuple, 1, desc, &unused));
		place->relid = DatumGetObjectId(heap_getattr(tuple, 2, desc, &unused));
	}
	SPI_freetuptable(SPI_tuptable);
	if (matches > 1)
		return "more than one row is like the one it left";
	if (matches == 0 && changed != NULL && shape->nkeys > 0)
		return psprintf("column \"%s\" of the row has been changed since", changed);
	if (matches == 0)
		return "the row is gone";
	return NULL;
}

/*
 * key_missing returns the conflict that the key of a shape cannot be searched
 * for, or NULL.
 */
static char *
key_missing(UndoTable *table, AuditShape *shape, RowValues *row)
{
	for (int k = 0; k < shape->nkeys; k++)
	{
		AuditColumn *column = &table->trail->columns[shape->numbers[shape->keys[k]]];

		if (column->attno == 0)
			return psprintf("key column \"%s\" is gone", column->name);
		if (!row->present[column->attno - 1])
			return psprintf("the value of key column \"%s\" is not in the log", column->name);
	}
	return NULL;
}

/*
 * dbp_audit_undo_insert deletes the row that was inserted.
 */
char *
dbp_audit_undo_insert(UndoTable *table, AuditRecord *record, char **sql)
{
	RowValues	left = read_values(table, record->shape, record->new);
	bool	   *compare = palloc(sizeof(bool) * natts(table));
	char	   *conflict = key_missing(table, record->shape, &left);
	Statement	statement;
	RowPlace	place;

	if (conflict != NULL)
		return conflict;
	begin_statement(&statement, table);
	appendStringInfo(&statement.sql, "DELETE FROM %s WHERE true", table->name);
	appendStringInfo(&statement.text, "DELETE FROM %s WHERE ", table->name);
	append_match(&statement, table, record->shape, &left);
	*sql = statement.text.data;

	/* What is redacted cannot be compared. */
	for (int a = 0; a < natts(table); a++)
		compare[a] = attribute(table, a)->attgenerated == '\0' &&
			!(left.marked[a] && dbp_audit_is_redacted(&left.marks[a]));
	conflict = find_row(table, record->shape, &left, compare, &place);
	if (conflict != NULL)
		return conflict;
	append_place(&statement, &place);
	return run_statement(&statement, &table->change) == 1 ? NULL :
		"a trigger or rule kept the row from being deleted";
}

/*
 * columns_to_set finds the columns an update changed, by attribute, or
 * returns why they cannot be set back.
 */
static char *
columns_to_set(UndoTable *table, AuditRecord *record, bool *set)
{
	AuditShape *shape = record->shape;

	for (int i = 0; i < shape->ncolumns; i++)
	{
		AuditColumn *column = &table->trail->columns[shape->numbers[i]];
		JsonbValue	old;
		JsonbValue	new;

		if (!dbp_audit_image_value(record->old, shape->columns[i], &old))
			continue;
		if (record->whole && dbp_audit_image_value(record->new, shape->columns[i], &new) &&
			dbp_audit_same_value(&old, &new) && !dbp_audit_is_redacted(&old))
			continue;
		if (column->attno == 0)
			return psprintf("column \"%s\" is gone", column->name);
		if (attribute(table, column->attno - 1)->attgenerated != '\0')
			continue;
		if (!dbp_audit_value_known(&old))
			return psprintf("the old value of column \"%s\" is not in the log", column->name);
		set[column->attno - 1] = true;
	}
	return NULL;
}

/*
 * dbp_audit_undo_update sets the changed columns back.
 */
char *
dbp_audit_undo_update(UndoTable *table, AuditRecord *record, char **sql)
{
	AuditShape *shape = record->shape;
	bool	   *set = palloc0(sizeof(bool) * natts(table));
	char	   *conflict = columns_to_set(table, record, set);
	const char *comma = "";
	RowValues	left;
	RowValues	old;
	Statement	statement;
	RowPlace	place;

	if (conflict != NULL)
		return conflict;
	left = read_values(table, shape, record->new);
	old = read_values(table, shape, record->old);
	conflict = key_missing(table, shape, &left);
	if (conflict != NULL)
		return conflict;

	begin_statement(&statement, table);
	append_both(&statement, psprintf("UPDATE %s SET ", table->name));
	for (int a = 0; a < natts(table); a++)
	{
		if (!set[a])
			continue;
		append_both(&statement, comma);
		append_both(&statement, quote_identifier(NameStr(attribute(table, a)->attname)));
		append_both(&statement, " = ");
		append_value(&statement, table, &old, a);
		comma = ", ";
	}
	if (comma[0] == '\0')
	{
		*sql = "-- only generated columns changed";
		return NULL;
	}
	appendStringInfoString(&statement.sql, " WHERE true");
	appendStringInfoString(&statement.text, " WHERE ");
	append_match(&statement, table, shape, &left);
	*sql = statement.text.data;

	conflict = find_row(table, shape, &left, set, &place);
	if (conflict != NULL)
		return conflict;
	append_place(&statement, &place);
	return run_statement(&statement, &table->change) == 1 ? NULL :
		"a trigger or rule kept the row from being updated";
}

/*
 * columns_to_insert finds the columns of a deleted row, by attribute, or
 * returns why it cannot be brought back.
 */
static char *
columns_to_insert(UndoTable *table, AuditRecord *record, bool *set)
{
	AuditShape *shape = record->shape;

	for (int i = 0; i < shape->ncolumns; i++)
	{
		AuditColumn *column = &table->trail->columns[shape->numbers[i]];
		JsonbValue	value;
		bool		there = dbp_audit_image_value(record->old, shape->columns[i], &value);

		if (column->attno == 0)
		{
			if (there && value.type != jbvNull)
				return psprintf("column \"%s\" is gone", column->name);
			continue;
		}
		if (attribute(table, column->attno - 1)->attgenerated != '\0')
			continue;
		if (!there || !dbp_audit_value_known(&value))
			return psprintf("the value of column \"%s\" is not in the log", column->name);
		set[column->attno - 1] = true;
	}
	return NULL;
}

/*
 * dbp_audit_undo_delete inserts the row that was deleted.
 */
char *
dbp_audit_undo_delete(UndoTable *table, AuditRecord *record, char **sql)
{
	bool	   *set = palloc0(sizeof(bool) * natts(table));
	char	   *conflict = columns_to_insert(table, record, set);
	const char *name = dbp_relation_name(table->rel);
	const char *comma = "";
	RowValues	old;
	Statement	statement;

	if (conflict != NULL)
		return conflict;
	old = read_values(table, record->shape, record->old);
	begin_statement(&statement, table);
	append_both(&statement, psprintf("INSERT INTO %s", name));
	for (int a = 0; a < natts(table); a++)
	{
		if (!set[a])
			continue;
		append_both(&statement, comma[0] == '\0' ? " (" : comma);
		append_both(&statement, quote_identifier(NameStr(attribute(table, a)->attname)));
		comma = ", ";
	}
	if (comma[0] == '\0')
		append_both(&statement, " DEFAULT VALUES");
	else
	{
		append_both(&statement, ") OVERRIDING SYSTEM VALUE VALUES (");
		comma = "";
		for (int a = 0; a < natts(table); a++)
		{
			if (!set[a])
				continue;
			append_both(&statement, comma);
			append_value(&statement, table, &old, a);
			comma = ", ";
		}
		append_both(&statement, ")");
	}
	*sql = statement.text.data;
	return run_statement(&statement, &table->change) == 1 ? NULL :
		"a trigger or rule kept the row from being inserted";
}

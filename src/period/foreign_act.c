/*-------------------------------------------------------------------------
 *
 * foreign_act.c
 *	  What happens to rows that lose the one they refer to.
 *
 * A child row may lose its parent for a part of its period only.  It is cut into
 * pieces: what is still covered stays as it is, what is not goes (CASCADE), goes
 * on with the parent's new key, or refers to nothing (SET NULL, SET DEFAULT).
 * The row itself becomes the first piece; the others are copies of it, with a
 * key of their own where the primary key is not that of the period.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/period/foreign_act.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_type.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/sql.h"
#include "lib/stringinfo.h"
#include "period/foreign_act.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rangetypes.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/typcache.h"

/* What a piece of a row refers to. */
typedef enum PieceKey
{
	KEY_KEPT,
	KEY_NEW,
	KEY_NULL,
	KEY_DEFAULT
} PieceKey;

typedef struct Piece
{
	Datum		period;
	PieceKey	key;
} Piece;

/* A row that is cut. */
typedef struct Row
{
	Oid			tableoid;
	ItemPointer ctid;
	List	   *pieces;
} Row;

static List *
add_pieces(List *pieces, ArrayType *ranges, Oid rangetype, PieceKey key)
{
	int16		len;
	bool		byval;
	char		align;
	Datum	   *values;
	int			n;

	get_typlenbyvalalign(rangetype, &len, &byval, &align);
	deconstruct_array(ranges, rangetype, len, byval, align, &values, NULL, &n);
	for (int i = 0; i < n; i++)
	{
		Piece	   *piece = palloc(sizeof(Piece));

		piece->period = values[i];
		piece->key = key;
		pieces = lappend(pieces, piece);
	}
	return pieces;
}

/*
 * split_gone divides what a row loses by the parent's new period: within that it goes on
 * with the parent's new key.
 */
static List *
split_gone(ForeignState *state, List *gone, Datum new_period)
{
	TypeCacheEntry *type = lookup_type_cache(state->of_child.rangetype, TYPECACHE_RANGE_INFO);
	List	   *pieces = NIL;
	ListCell   *lc;

	foreach(lc, gone)
	{
		Piece	   *piece = lfirst(lc);
		RangeType  *common = range_intersect_internal(type, DatumGetRangeTypeP(piece->period),
													  DatumGetRangeTypeP(new_period));

		if (RangeIsEmpty(common))
			continue;
		piece->period = RangeTypePGetDatum(common);
		piece->key = KEY_NEW;
		pieces = lappend(pieces, piece);
	}
	return pieces;
}

/*
 * read_losers finds the rows and their pieces.
 */
static List *
read_losers(ForeignState *state, ForeignAction action, const Datum *key, Datum lost,
			bool goes_on, Datum new_period)
{
	uint64		rows = dbp_foreign_run(state, FOREIGN_LOSER, key, lost, false);
	List	   *losers = NIL;

	for (uint64 i = 0; i < rows; i++)
	{
		Row		   *row = palloc(sizeof(Row));
		List	   *gone = add_pieces(NIL, DatumGetArrayTypeP(dbp_sql_value(i, 3, NULL)),
									  state->of_child.rangetype,
									  action == FOREIGN_SET_NULL ? KEY_NULL : KEY_DEFAULT);

		if (gone == NIL)
			continue;
		row->tableoid = DatumGetObjectId(dbp_sql_value(i, 0, NULL));
		row->ctid = palloc(sizeof(ItemPointerData));
		ItemPointerCopy((ItemPointer) DatumGetPointer(dbp_sql_value(i, 1, NULL)), row->ctid);
		row->pieces = add_pieces(NIL, DatumGetArrayTypeP(dbp_sql_value(i, 2, NULL)),
								 state->of_child.rangetype, KEY_KEPT);
		if (action != FOREIGN_CASCADE)
			row->pieces = list_concat(row->pieces, gone);
		else if (goes_on)
			row->pieces = list_concat(row->pieces, split_gone(state, gone, new_period));
		losers = lappend(losers, row);
	}
	return losers;
}

/* ---- writing --------------------------------------------------------------- */

/*
 * Parameters of all commands: table, ctid, period, then the new key.
 */
static uint64
run_on_row(ForeignState *state, const char *sql, const Row *row, const Piece *piece,
		   const Datum *new_key)
{
	DbpParam   *params = palloc(sizeof(DbpParam) * (3 + state->nkeys));
	bool		with_key = piece != NULL && piece->key == KEY_NEW;

	params[0] = DBP_PARAM(OIDOID, ObjectIdGetDatum(row->tableoid));
	params[1] = DBP_PARAM(TIDOID, PointerGetDatum(row->ctid));
	if (piece != NULL)
		params[2] = DBP_PARAM(state->of_child.rangetype, piece->period);
	for (int i = 0; with_key && i < state->nkeys; i++)
		params[3 + i] = DBP_PARAM(state->types[i], new_key[i]);
	return dbp_sql_query(sql, piece == NULL ? 2 : with_key ? 3 + state->nkeys : 3, params);
}

#define THIS_ROW " WHERE c.tableoid OPERATOR(pg_catalog.=) $1 AND c.ctid OPERATOR(pg_catalog.=) $2"

/*
 * assignment returns SQL for the new value of a column in a piece, NULL if it keeps
 * its value.
 */
static char *
assignment(ForeignState *state, const char *column, const Piece *piece)
{
	const PeriodOptions *options = &state->of_child.options;
	ListCell   *lc;

	if (options->period != NULL && strcmp(column, options->period) == 0)
		return "$3";
	if (options->from != NULL && strcmp(column, options->from) == 0)
		return "pg_catalog.lower($3)";
	if (options->upto != NULL && strcmp(column, options->upto) == 0)
		return state->of_child.upto_not_null && (state->of_child.subtype == DATEOID ||
												 state->of_child.subtype == TIMESTAMPTZOID) ?
			"COALESCE(pg_catalog.upper($3), 'infinity')" : "pg_catalog.upper($3)";
	foreach(lc, state->key.columns)
	{
		if (strcmp(column, lfirst(lc)) != 0)
			continue;
		switch (piece->key)
		{
			case KEY_KEPT:
				return NULL;
			case KEY_NEW:
				return psprintf("$%d", 4 + foreach_current_index(lc));
			case KEY_NULL:
				return "NULL";
			case KEY_DEFAULT:
				return "DEFAULT";
		}
	}
	return NULL;
}

/*
 * is_copied tells whether a copy of a row has a column's value: not where the column
 * identifies the row and gives itself a value.
 */
static bool
is_copied(ForeignState *state, Relation child, Form_pg_attribute att, Bitmapset *primary)
{
	if (att->attisdropped || att->attgenerated != '\0' || att->attidentity != '\0')
		return false;
	return !att->atthasdef ||
		!bms_is_member(att->attnum - FirstLowInvalidHeapAttributeNumber, primary) ||
		dbp_list_has_name(state->of_child.options.key, NameStr(att->attname));
}

static char *
update_command(ForeignState *state, Relation child, const Piece *piece)
{
	TupleDesc	desc = RelationGetDescr(child);
	StringInfoData sql;
	bool		first = true;

	initStringInfo(&sql);
	appendStringInfo(&sql, "UPDATE %s c SET ", state->key.child);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		char	   *value;

		if (att->attisdropped)
			continue;
		value = assignment(state, NameStr(att->attname), piece);
		if (value == NULL)
			continue;
		appendStringInfo(&sql, "%s%s = %s", first ? "" : ", ",
						 quote_identifier(NameStr(att->attname)), value);
		first = false;
	}
	appendStringInfoString(&sql, THIS_ROW " RETURNING c.tableoid, c.ctid");
	return sql.data;
}

static char *
insert_command(ForeignState *state, Relation child, const Piece *piece)
{
	TupleDesc	desc = RelationGetDescr(child);
	Bitmapset  *primary = RelationGetIndexAttrBitmap(child, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	StringInfoData columns;
	StringInfoData values;

	initStringInfo(&columns);
	initStringInfo(&values);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		char	   *value;

		if (!is_copied(state, child, att, primary))
			continue;
		value = assignment(state, NameStr(att->attname), piece);
		if (value != NULL && strcmp(value, "DEFAULT") == 0)
			continue;			/* not listed: it gets its default */
		appendStringInfo(&columns, "%s%s", columns.len > 0 ? ", " : "",
						 quote_identifier(NameStr(att->attname)));
		appendStringInfo(&values, "%s%s", values.len > 0 ? ", " : "",
						 value != NULL ? value :
						 psprintf("c.%s", quote_identifier(NameStr(att->attname))));
	}
	return psprintf("INSERT INTO %s (%s) SELECT %s FROM %s c" THIS_ROW, state->key.child,
					columns.data, values.data, state->key.child);
}

static void
require_done(ForeignState *state, uint64 rows)
{
	if (rows != 1)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("a row of table %s could not follow its foreign key \"%s\"",
						state->key.child, state->key.constraint),
				 errdetail("A trigger or rule has cancelled the change."),
				 errhint("It would refer to what is not there.")));
}

/*
 * cut_row makes of a row its pieces.
 */
static void
cut_row(ForeignState *state, Relation child, Row *row, const Datum *new_key)
{
	ListCell   *lc;

	if (row->pieces == NIL)
	{
		require_done(state, run_on_row(state, psprintf("DELETE FROM %s c" THIS_ROW,
													   state->key.child), row, NULL, NULL));
		return;
	}
	foreach(lc, row->pieces)
	{
		Piece	   *piece = lfirst(lc);
		bool		first = foreach_current_index(lc) == 0;

		require_done(state, run_on_row(state, first ? update_command(state, child, piece) :
									   insert_command(state, child, piece), row, piece, new_key));
		if (first)
		{
			row->tableoid = DatumGetObjectId(dbp_sql_value(0, 0, NULL));
			ItemPointerCopy((ItemPointer) DatumGetPointer(dbp_sql_value(0, 1, NULL)), row->ctid);
		}
	}
}

/*
 * dbp_foreign_act does to the children with a key what the action says, within the periods that
 * were lost.  new_key: the parent's new one, or NULL; new_period: the parent's new period.  The
 * caller is connected to SPI.
 */
void
dbp_foreign_act(ForeignState *state, ForeignAction action, const Datum *key, Datum lost,
				const Datum *new_key, Datum new_period)
{
	DbpOwnerScope scope;
	Relation	child = table_open(dbp_foreign_table(state->key.child), RowExclusiveLock);
	ListCell   *lc;

	dbp_enter_owner(&scope, state->child_owner);
	foreach(lc, read_losers(state, action, key, lost, new_key != NULL, new_period))
		cut_row(state, child, lfirst(lc), new_key);
	dbp_leave_owner(&scope);
	table_close(child, NoLock);
}

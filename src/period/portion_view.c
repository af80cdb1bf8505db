/*-------------------------------------------------------------------------
 *
 * portion_view.c
 *	  The view <table>__portion, through which plain SQL edits portions.
 *
 * UPDATE of the view changes the portion that it sets the period to, or the whole
 * row if it does not set it.  What a DELETE is to remove cannot be read from its
 * WHERE by a trigger, and to guess whole rows would remove too much; so it is
 * told by the setting dbpatterns.portion, and refused without.
 *
 * The view shows the rows of the table and nothing else, and checks the rights
 * of who uses it on the table; so everybody may use it.  It is made on request
 * only: the server lets no column be dropped that a view shows.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/period/portion_view.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "compat/compat.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/target.h"
#include "core/trigger.h"
#include "core/version.h"
#include "parser/parsetree.h"
#include "period/portion.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(dbpatterns_portion_trigger);
PG_FUNCTION_INFO_V1(dbpatterns_portion_view_enable);
PG_FUNCTION_INFO_V1(dbpatterns_portion_view_disable);

#define VIEW_TRIGGER	"dbpatterns_30_portion"

/* dbpatterns.portion: what to edit where a statement does not say it. */
static char *portion_setting = NULL;

/* A row of the view that is edited. */
typedef struct ViewRow
{
	Relation	view;
	Oid			baseid;
	AttrNumber *base;			/* column of the table, by that of the view -
								 * 1 */
	PortionEdit edit;
	Datum	   *old;			/* by column of the table */
	bool	   *old_null;
	Datum	   *new;
	bool	   *new_null;
} ViewRow;

/* ---- the view -------------------------------------------------------------- */

/*
 * read_view finds the table of a view of ours, and which columns it shows.
 */
static bool
read_view(Relation view, Oid *baseid, AttrNumber **columns)
{
	Query	   *query = get_view_query(view);
	Index		varno = 0;
	ListCell   *lc;

	*columns = palloc0(sizeof(AttrNumber) * RelationGetDescr(view)->natts);
	foreach(lc, query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, lc);
		Var		   *var = (Var *) entry->expr;

		if (entry->resjunk)
			continue;
		if (!IsA(var, Var) || var->varattno <= 0 || (varno != 0 && var->varno != varno))
			return false;
		varno = var->varno;
		(*columns)[entry->resno - 1] = var->varattno;
	}
	if (varno == 0 || rt_fetch(varno, query->rtable)->rtekind != RTE_RELATION)
		return false;
	*baseid = rt_fetch(varno, query->rtable)->relid;
	return true;
}

static ViewRow *
open_row(TriggerData *data)
{
	ViewRow    *row = palloc0(sizeof(ViewRow));

	row->view = data->tg_relation;
	if (row->view->rd_rel->relkind != RELKIND_VIEW ||
		!read_view(row->view, &row->baseid, &row->base))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("view %s does not show the columns of one table",
						dbp_relation_name(row->view)),
				 errhint("Call dbpatterns.portion_view_enable for the table.")));
	return row;
}

static void
deform(ViewRow *row, HeapTuple tuple, Datum **values, bool **isnull)
{
	TupleDesc	desc = RelationGetDescr(row->view);
	int			natts = row->edit.table->desc->natts;

	*values = palloc0(sizeof(Datum) * natts);
	*isnull = palloc(sizeof(bool) * natts);
	memset(*isnull, true, sizeof(bool) * natts);
	for (int i = 0; i < desc->natts; i++)
	{
		if (row->base[i] > 0)
			(*values)[row->base[i] - 1] = heap_getattr(tuple, i + 1, desc,
													   &(*isnull)[row->base[i] - 1]);
	}
}

/* A row of the view with the values of a row of the table. */
static HeapTuple
form(ViewRow *row, const Datum *values, const bool *isnull)
{
	TupleDesc	desc = RelationGetDescr(row->view);
	Datum	   *shown = palloc0(sizeof(Datum) * desc->natts);
	bool	   *null = palloc0(sizeof(bool) * desc->natts);

	for (int i = 0; i < desc->natts; i++)
	{
		null[i] = row->base[i] <= 0 || isnull[row->base[i] - 1];
		shown[i] = null[i] ? (Datum) 0 : values[row->base[i] - 1];
	}
	return heap_form_tuple(desc, shown, null);
}

/* ---- editing a row --------------------------------------------------------- */

static bool
is_period(PortionTable *table, int att)
{
	return att + 1 == table->period || att + 1 == table->from || att + 1 == table->upto;
}

/*
 * period_of returns the period in the columns of a row.
 */
static Datum
period_of(PortionTable *table, const Datum *values, const bool *isnull)
{
	if (table->period == 0)
		return dbp_portion_make(table, values[table->from - 1], isnull[table->from - 1],
								values[table->upto - 1], isnull[table->upto - 1]);
	if (isnull[table->period - 1])
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the period of table %s is set to NULL", table->name),
				 errhint("Set it to the portion that is to be changed.")));
	return dbp_portion_read(table, values[table->period - 1], table->range);
}

/*
 * set_portion sets the portion that the row's edit is about; false: nothing of the row.
 */
static bool
set_portion(ViewRow *row, bool period_is_set)
{
	PortionTable *table = row->edit.table;
	Datum		own = period_of(table, row->old, row->old_null);
	Datum		wanted = own;

	if (period_is_set)
		wanted = period_of(table, row->new, row->new_null);
	else if (portion_setting[0] != '\0')
		wanted = dbp_portion_read(table, CStringGetTextDatum(portion_setting), TEXTOID);
	else if (row->edit.verb == PORTION_DELETE)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no portion is set for DELETE from view %s",
						dbp_relation_name(row->view)),
				 errdetail("Its WHERE chooses rows; it does not say which part of them is to go."),
				 errhint("Set dbpatterns.portion to the time, '(,)' for all of it, or call dbpatterns.portion_delete.")));
	if (!dbp_portion_overlaps(table, own, wanted))
		return false;
	row->edit.portion = dbp_portion_common(table, own, wanted);
	return true;
}

/*
 * set_key lets the edit find the row.
 */
static void
set_key(ViewRow *row)
{
	PortionTable *table = row->edit.table;

	for (int i = 0; i < table->nkey; i++)
	{
		int			att = table->key[i] - 1;

		row->edit.by[att] = true;
		row->edit.key_values[att] = row->old[att];
	}
}

/*
 * set_changes lets the edit set what an UPDATE changed, and tells whether that is
 * anything; and whether it set the period.
 */
static bool
set_changes(ViewRow *row, bool *period_is_set)
{
	PortionTable *table = row->edit.table;
	bool		any = false;

	for (int i = 0; i < table->desc->natts; i++)
	{
		if (TupleDescAttr(table->desc, i)->attisdropped ||
			TupleDescAttr(table->desc, i)->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL ||
			!dbp_codec_changed(table->codec, i, row->old[i], row->old_null[i],
							   row->new[i], row->new_null[i]))
			continue;
		if (is_period(table, i))
		{
			*period_is_set = true;
			continue;
		}
		row->edit.set[i] = any = true;
		row->edit.values[i] = row->new[i];
		row->edit.isnull[i] = row->new_null[i];
	}
	return any;
}

/* What became of it, read from the first row that was changed. */
static HeapTuple
updated_row(ViewRow *row)
{
	TupleDesc	desc = row->edit.table->desc;
	Datum	   *values = palloc0(sizeof(Datum) * desc->natts);
	bool	   *isnull = palloc0(sizeof(bool) * desc->natts);
	HeapTupleHeader header = DatumGetHeapTupleHeader(dbp_sql_value(0, 0, NULL));
	HeapTupleData tuple;

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, desc, values, isnull);
	return form(row, values, isnull);
}

/*
 * edit_row edits the table and returns the row that the statement is to have changed, in
 * the caller's memory, or NULL.  The server shows a deleted row as it was.
 */
static HeapTuple
edit_row(ViewRow *row, HeapTuple old)
{
	MemoryContext cxt = CurrentMemoryContext;
	HeapTuple	result = NULL;

	SPI_connect();
	if (dbp_portion_run(&row->edit) > 0)
	{
		MemoryContext oldcxt = MemoryContextSwitchTo(cxt);

		result = row->edit.returning ? updated_row(row) : old;
		MemoryContextSwitchTo(oldcxt);
	}
	SPI_finish();
	return result;
}

/*
 * portion_trigger() edits the table instead of its view <table>__portion.  INSTEAD OF UPDATE
 * OR DELETE, FOR EACH ROW; portion_view_enable makes it.
 *
 * UPDATE: of the row that the statement saw, the part that lies in the new value of the
 * period is changed as by portion_update; in dbpatterns.portion if the period is not
 * set, and all of it if that is not set either.  A row whose other columns do not change
 * stays as it is, and counts.  DELETE: what lies in dbpatterns.portion is removed as by
 * portion_delete.  A row with no part in the portion does not count.
 *
 * Raises 39P01 when called otherwise, 55000 (no period; DELETE without a portion), 22004
 * (the period is set to NULL), and what portion_update and portion_delete raise.
 * Locks as those do.  Runs as the caller.
 */
Datum
dbpatterns_portion_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *data = dbp_trigger_data(fcinfo, "portion_trigger");
	bool		update = TRIGGER_FIRED_BY_UPDATE(data->tg_event);
	bool		period_is_set = false;
	bool		changes = true;
	ViewRow    *row;
	Relation	base;

	if (!TRIGGER_FIRED_FOR_ROW(data->tg_event) || !TRIGGER_FIRED_INSTEAD(data->tg_event) ||
		TRIGGER_FIRED_BY_INSERT(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("portion trigger \"%s\" must be fired INSTEAD OF UPDATE OR DELETE, FOR EACH ROW",
						data->tg_trigger->tgname),
				 errhint("Drop it, and call dbpatterns.portion_view_enable.")));
	row = open_row(data);
	base = table_open(row->baseid, AccessShareLock);
	dbp_portion_open(&row->edit, base, update ? PORTION_UPDATE : PORTION_DELETE);
	table_close(base, NoLock);
	row->edit.returning = update;
	deform(row, data->tg_trigtuple, &row->old, &row->old_null);
	set_key(row);
	if (update)
	{
		deform(row, data->tg_newtuple, &row->new, &row->new_null);
		changes = set_changes(row, &period_is_set);
	}
	if (!set_portion(row, period_is_set))
		PG_RETURN_POINTER(NULL);
	PG_RETURN_POINTER(changes ? edit_row(row, data->tg_trigtuple) : data->tg_trigtuple);
}

/* ---- on and off ------------------------------------------------------------ */

static Oid
find_view(Oid relid, const char *table)
{
	return get_relname_relid(dbp_reader_name(table, "portion"), get_rel_namespace(relid));
}

/*
 * is_ours tells whether a relation is the view of a table.
 */
static bool
is_ours(Oid viewid, Oid relid)
{
	Relation	view;
	AttrNumber *columns;
	Oid			baseid;
	bool		ours;

	if (!OidIsValid(viewid) || get_rel_relkind(viewid) != RELKIND_VIEW)
		return false;
	view = table_open(viewid, AccessShareLock);
	ours = dbp_find_trigger(view, VIEW_TRIGGER) != NULL && read_view(view, &baseid, &columns) &&
		baseid == relid;
	table_close(view, NoLock);
	return ours;
}

static char *
view_query(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped)
			appendStringInfo(&sql, "%s b.%s", sql.len > 0 ? "," : "SELECT",
							 quote_identifier(NameStr(TupleDescAttr(desc, i)->attname)));
	}
	appendStringInfo(&sql, " FROM %s b", dbp_relation_name(rel));
	return sql.data;
}

/*
 * shows_all tells whether a view of ours has the columns of the table, in its order and by
 * their names.
 */
static bool
shows_all(Oid viewid, Relation rel)
{
	Relation	view = table_open(viewid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	TupleDesc	shown = RelationGetDescr(view);
	AttrNumber *columns;
	Oid			baseid;
	int			n = 0;
	bool		same = read_view(view, &baseid, &columns);

	for (int i = 0; same && i < desc->natts; i++)
	{
		if (TupleDescAttr(desc, i)->attisdropped)
			continue;
		same = n < shown->natts && columns[n] == i + 1 &&
			strcmp(NameStr(TupleDescAttr(shown, n)->attname),
				   NameStr(TupleDescAttr(desc, i)->attname)) == 0;
		n++;
	}
	same &= n == shown->natts;
	table_close(view, NoLock);
	return same;
}

static void
make_view(Relation rel, Oid old)
{
	const char *name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
												  dbp_reader_name(RelationGetRelationName(rel),
																  "portion"));
	DbpOwnerScope scope;

	dbp_enter_owner(&scope, rel->rd_rel->relowner);
	if (OidIsValid(old))
		dbp_sql_silently(&dbp_period_silent, "DROP VIEW %s", name);
	dbp_sql_silently(&dbp_period_silent, "CREATE VIEW %s WITH (security_invoker = true) AS %s",
					 name, view_query(rel));
	dbp_sql_silently(&dbp_period_silent,
					 "CREATE TRIGGER " VIEW_TRIGGER " INSTEAD OF UPDATE OR DELETE ON %s"
					 " FOR EACH ROW EXECUTE FUNCTION dbpatterns.portion_trigger()", name);
	dbp_sql_silently(&dbp_period_silent,
					 "GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO PUBLIC", name);
	dbp_sql_silently(&dbp_period_silent, "COMMENT ON VIEW %s IS %s", name,
					 quote_literal_cstr("rows of a table; its UPDATE and DELETE edit portions of time"));
	dbp_leave_owner(&scope);
}

/*
 * portion_view_enable(target regclass) makes the view <table>__portion, whose UPDATE and
 * DELETE edit portions of time.
 *
 * target: a table with a period.  The view lives in its schema and belongs to its owner.  A
 * name that is too long is cut.  While the view is there, no column of the table can be
 * dropped or get another type.
 *
 * Raises 22004 (target is NULL), 42P01, 55000 (versions differ; no period), 42501 (not the
 * owner), 42P07 (another relation has the name), 2BP01 (other views need the one that is
 * to be made anew).  Locks SHARE UPDATE EXCLUSIVE on target.  Runs as the owner.  A second
 * call brings the view in line with the columns of the table, or says that it is.
 */
Datum
dbpatterns_portion_view_enable(PG_FUNCTION_ARGS)
{
	Relation	rel;
	Oid			relid;
	Oid			viewid;
	bool		ours;

	dbp_require_argument(fcinfo, 0, "target", "Name a table with a period.");
	relid = PG_GETARG_OID(0);
	dbp_require_owner(relid);
	dbp_check_version();
	rel = table_open(relid, ShareUpdateExclusiveLock);
	(void) dbp_period_get(rel);
	viewid = find_view(relid, RelationGetRelationName(rel));
	ours = is_ours(viewid, relid);
	if (OidIsValid(viewid) && !ours)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("relation %s already exists", dbp_relation_name_by_oid(viewid)),
				 errhint("The view is named after the table: rename that relation.")));
	if (ours && shows_all(viewid, rel))
		ereport(NOTICE,
				(errmsg("view %s is there already", dbp_relation_name_by_oid(viewid))));
	else
	{
		SPI_connect();
		make_view(rel, viewid);
		SPI_finish();
	}
	table_close(rel, NoLock);
	PG_RETURN_VOID();
}

/*
 * dbp_portion_drop_view drops the view of a table, if it is there, and tells that.  The caller
 * is connected to SPI.
 */
bool
dbp_portion_drop_view(Oid relid)
{
	Oid			viewid = find_view(relid, get_rel_name(relid));
	DbpOwnerScope scope;

	if (!is_ours(viewid, relid))
		return false;
	dbp_enter_owner(&scope, dbp_relation_owner(viewid));
	dbp_sql_silently(&dbp_period_silent, "DROP VIEW %s", dbp_relation_name_by_oid(viewid));
	dbp_leave_owner(&scope);
	return true;
}

/*
 * dbp_portion_rename_view names the view after the table's new name.  The caller is
 * connected to SPI.
 */
void
dbp_portion_rename_view(Oid relid, const char *old_name, const char *new_name)
{
	Oid			viewid = find_view(relid, old_name);
	DbpOwnerScope scope;

	if (!is_ours(viewid, relid))
		return;
	dbp_enter_owner(&scope, dbp_relation_owner(viewid));
	dbp_sql_silently(&dbp_period_silent, "ALTER VIEW %s RENAME TO %s",
					 dbp_relation_name_by_oid(viewid),
					 quote_identifier(dbp_reader_name(new_name, "portion")));
	dbp_leave_owner(&scope);
}

/*
 * portion_view_disable(target regclass) drops the view <table>__portion.
 *
 * Raises 22004 (target is NULL), 42P01, 55000 (versions differ), 42501 (not the owner), 2BP01
 * (other views need it).  Locks ACCESS EXCLUSIVE on the view.  Runs as the owner.  A second
 * call changes nothing and says so.
 */
Datum
dbpatterns_portion_view_disable(PG_FUNCTION_ARGS)
{
	Oid			relid;

	dbp_require_argument(fcinfo, 0, "target", "Name a table with a view for portions.");
	relid = PG_GETARG_OID(0);
	dbp_require_owner(relid);
	dbp_check_version();
	SPI_connect();
	if (!dbp_portion_drop_view(relid))
		ereport(NOTICE,
				(errmsg("table %s has no view for portions", dbp_relation_name_by_oid(relid))));
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * dbp_portion_init defines the setting.
 */
void
dbp_portion_init(void)
{
	DefineCustomStringVariable("dbpatterns.portion",
							   "Portion of time that UPDATE and DELETE of a view for portions edit.",
							   "A range as text; empty for none.",
							   &portion_setting, "", PGC_USERSET, 0, NULL, NULL, NULL);
}

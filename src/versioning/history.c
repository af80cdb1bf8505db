/*-------------------------------------------------------------------------
 *
 * history.c
 *	  The history of a versioned table, and how it follows the table.
 *
 * A history has the columns of the table, by name, without any of their
 * constraints: what the table held is archived whatever its rules are today.
 * It never loses a column.  One that is dropped from the table stays; if
 * another one takes its name with another type, the old one steps aside.  A
 * type that changes is followed if every value survives the change and the
 * way back; otherwise the ALTER TABLE of the table is refused.
 *
 * What is done to a history is done as its owner, who owns the table, too.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/history.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "compat/compat.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/sql.h"
#include "core/target.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/ruleutils.h"
#include "versioning/versioning.h"

/*
 * dbp_versioning_has_history tells whether a column of the table has one in the
 * history.  Virtual columns are computed by whoever reads.
 */
bool
dbp_versioning_has_history(Form_pg_attribute att, const VersioningOptions *options)
{
	return !att->attisdropped && att->attgenerated != ATTRIBUTE_GENERATED_VIRTUAL &&
		!dbp_list_has_name(options->exclude, NameStr(att->attname));
}

/* The type of a column in the history: without the rules of a domain. */
static Oid
plain_type(Form_pg_attribute att, int32 *typmod)
{
	*typmod = att->atttypmod;
	return getBaseTypeAndTypmod(att->atttypid, typmod);
}

static char *
type_text(Form_pg_attribute att)
{
	int32		typmod;
	Oid			type = plain_type(att, &typmod);
	char	   *text_ = format_type_extended(type, typmod,
											 FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);

	if (OidIsValid(att->attcollation) && att->attcollation != get_typcollation(type))
		return psprintf("%s COLLATE %s", text_, generate_collation_name(att->attcollation));
	return text_;
}

/*
 * dbp_versioning_key returns the names of the columns of the primary key.
 */
List *
dbp_versioning_key(Relation base)
{
	Oid			indexid;
	Relation	index;
	List	   *key = NIL;

	(void) RelationGetIndexList(base);
	indexid = base->rd_pkindex;
	if (!OidIsValid(indexid))
		return NIL;
	index = index_open(indexid, AccessShareLock);
	for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(index); i++)
		key = lappend(key, get_attname(RelationGetRelid(base),
									   index->rd_index->indkey.values[i], false));
	index_close(index, AccessShareLock);
	return key;
}

/*
 * make_index makes the index by which a row's versions are found: those that
 * ended last come last.
 */
static void
make_index(Relation base, const char *history, const VersioningOptions *options)
{
	StringInfoData sql;
	ListCell   *lc;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE INDEX ON %s (", history);
	foreach(lc, dbp_versioning_key(base))
		appendStringInfo(&sql, "%s, ", quote_identifier(lfirst(lc)));
	appendStringInfo(&sql, "pg_catalog.upper(%s))", quote_identifier(options->period));
	dbp_versioning_command(sql.data);
}

/*
 * dbp_versioning_make_history creates the history of a table and returns its OID.
 * by_time: it will be partitioned by the end of the period.
 */
Oid
dbp_versioning_make_history(Oid baseid, const VersioningOptions *options, bool by_time)
{
	Relation	base = table_open(baseid, NoLock);
	TupleDesc	desc = RelationGetDescr(base);
	DbpOwnerScope scope;
	StringInfoData sql;
	bool		first = true;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE %sTABLE %s (",
					 base->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED ? "UNLOGGED " : "",
					 options->history);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!dbp_versioning_has_history(att, options))
			continue;
		appendStringInfo(&sql, "%s%s %s%s", first ? "" : ", ",
						 quote_identifier(NameStr(att->attname)), type_text(att),
						 strcmp(NameStr(att->attname), options->period) == 0 ? " NOT NULL" : "");
		first = false;
	}
	appendStringInfoChar(&sql, ')');
	if (by_time)
		appendStringInfo(&sql, " PARTITION BY RANGE (pg_catalog.upper(%s))",
						 quote_identifier(options->period));

	dbp_enter_owner(&scope, base->rd_rel->relowner);
	dbp_versioning_command(sql.data);
	make_index(base, options->history, options);
	dbp_leave_owner(&scope);
	table_close(base, NoLock);
	return dbp_versioning_history(options);
}

/*
 * dbp_versioning_give_index gives a history that was taken over an index if it has none.
 */
void
dbp_versioning_give_index(Oid baseid, Oid historyid, const VersioningOptions *options)
{
	Relation	base = table_open(baseid, AccessShareLock);
	Relation	history = table_open(historyid, AccessShareLock);
	bool		has_index = history->rd_rel->relhasindex;
	DbpOwnerScope scope;

	table_close(history, NoLock);
	if (!has_index)
	{
		dbp_enter_owner(&scope, base->rd_rel->relowner);
		make_index(base, options->history, options);
		dbp_leave_owner(&scope);
	}
	table_close(base, NoLock);
}

static void
refuse_history(Relation history, const char *why, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("%s %s and cannot be a history", dbp_relation_name(history), why),
			 errhint("%s", hint)));
}

/*
 * dbp_versioning_check_history raises unless an existing table can be the history of
 * base.  Inheritance would show old versions among the rows of the table, or the
 * reverse.
 */
void
dbp_versioning_check_history(Relation base, Relation history, const VersioningOptions *options)
{
	AttrNumber	period = get_attnum(RelationGetRelid(history), options->period);
	VersionedTable other;

	dbp_require_target(history, "a history");
	if (RelationGetRelid(history) == RelationGetRelid(base))
		refuse_history(history, "is the table itself", "Name another table.");
	if (history->rd_rel->relowner != base->rd_rel->relowner)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("history %s belongs to another role than table %s",
						dbp_relation_name(history), dbp_relation_name(base)),
				 errhint("Give both to the same owner.")));
	if (history->rd_rel->relkind == RELKIND_RELATION &&
		(has_subclass(RelationGetRelid(history)) || has_superclass(RelationGetRelid(history))))
		refuse_history(history, "inherits or is inherited",
					   "Reading one table would show rows of the other: use a table of its own.");
	if (dbp_versioning_trigger(history) != NULL)
		refuse_history(history, "is a versioned table", "Name another table.");
	if (dbp_versioning_find(RelationGetRelid(history), &other) &&
		other.baseid != RelationGetRelid(base))
		refuse_history(history,
					   psprintf("is the history of table %s",
								dbp_relation_name_by_oid(other.baseid)),
					   "Each table has a history of its own.");
	if (period == InvalidAttrNumber ||
		get_atttype(RelationGetRelid(history), period) != TSTZRANGEOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("table %s has no column \"%s\" of type tstzrange",
						dbp_relation_name(history), options->period),
				 errhint("A history has the period of the versioned table.")));
}

/*
 * dbp_versioning_check_types raises for a column of a table to be taken over as the history
 * that is of another type than the column of base.
 */
void
dbp_versioning_check_types(Relation base, Relation history, const VersioningOptions *options)
{
	TupleDesc	desc = RelationGetDescr(base);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		AttrNumber	attno;

		if (!dbp_versioning_has_history(att, options))
			continue;
		attno = get_attnum(RelationGetRelid(history), NameStr(att->attname));
		if (attno != InvalidAttrNumber &&
			getBaseType(get_atttype(RelationGetRelid(history), attno)) !=
			getBaseType(att->atttypid))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of history %s has another type than in table %s",
							NameStr(att->attname), dbp_relation_name(history),
							dbp_relation_name(base)),
					 errdetail("It is of type %s there, and of type %s here.",
							   format_type_be(get_atttype(RelationGetRelid(history), attno)),
							   format_type_be(att->atttypid)),
					 errhint("Alter the column of the history, or name another table.")));
	}
}

/* ---- following ------------------------------------------------------------- */

/* A table and its history, which is closed: ALTER TABLE wants that. */
typedef struct Pair
{
	Oid			historyid;
	const char *base;			/* names */
	const char *history;
	TupleDesc	stored;			/* columns of the history */
} Pair;

/* A change of a column's type, to be tried. */
typedef struct Retyping
{
	const char *history;
	const char *column;			/* quoted */
	const char *type_name;		/* the new one */
	const char *old_type;
} Retyping;

static void
read_columns(Pair *pair)
{
	Relation	history = table_open(pair->historyid, AccessShareLock);

	pair->stored = CreateTupleDescCopyConstr(RelationGetDescr(history));
	table_close(history, NoLock);
}

static void
retype(void *arg)
{
	Retyping   *change = arg;

	if (dbp_sql_query(psprintf("SELECT FROM %s WHERE (%s::%s::%s)::pg_catalog.text"
							   " IS DISTINCT FROM %s::pg_catalog.text LIMIT 1",
							   change->history, change->column, change->type_name,
							   change->old_type, change->column), 0, NULL) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("some of them would come out changed")));
	dbp_versioning_command(psprintf("ALTER TABLE %s ALTER COLUMN %s TYPE %s USING %s::%s",
									change->history, change->column, change->type_name,
									change->column, change->type_name));
}

/*
 * follow_type gives a column of the history the type it has in the table.
 */
static void
follow_type(Pair *pair, Form_pg_attribute att, Form_pg_attribute stored)
{
	Retyping	change = {
		pair->history, quote_identifier(NameStr(att->attname)), type_text(att), type_text(stored)
	};
	ErrorData  *error = dbp_attempt(retype, &change, true);

	if (error == NULL)
		return;
	if (!dbp_error_lasts(error->sqlerrcode))
		ReThrowError(error);
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("column \"%s\" of table %s cannot become %s: history %s cannot follow",
					NameStr(att->attname), pair->base, change.type_name, pair->history),
			 errdetail("Old versions hold values of type %s: %s.", change.old_type,
					   error->message),
			 errhint("Add a column of the new type and drop this one, which the history keeps; or alter the column of the history first.")));
}

/*
 * set_aside renames a column of the history whose name another one takes.
 */
static void
set_aside(Pair *pair, const char *column)
{
	char	   *other;
	int			n = 1;

	do
		other = makeObjectName(column, NULL, psprintf("%d", n++));
	while (get_attnum(pair->historyid, other) != InvalidAttrNumber);
	dbp_versioning_command(psprintf("ALTER TABLE %s RENAME COLUMN %s TO %s", pair->history,
									quote_identifier(column), quote_identifier(other)));
}

static void
add_column(Pair *pair, Form_pg_attribute att)
{
	dbp_versioning_command(psprintf("ALTER TABLE %s ADD COLUMN %s %s", pair->history,
									quote_identifier(NameStr(att->attname)), type_text(att)));
}

/*
 * follow_column brings a column of the history in line with the table's.  One with
 * another type was either altered, or its name now belongs to another column.
 */
static void
follow_column(Pair *pair, Form_pg_attribute att, bool is_new)
{
	AttrNumber	attno = get_attnum(pair->historyid, NameStr(att->attname));
	Form_pg_attribute stored;
	int32		typmod;
	int32		stored_typmod;

	if (attno <= 0)
	{
		add_column(pair, att);
		return;
	}
	stored = TupleDescAttr(pair->stored, attno - 1);
	if (plain_type(att, &typmod) == plain_type(stored, &stored_typmod) &&
		typmod == stored_typmod && att->attcollation == stored->attcollation)
		return;
	if (is_new)
	{
		set_aside(pair, NameStr(att->attname));
		add_column(pair, att);
	}
	else
		follow_type(pair, att, stored);
}

/*
 * relax drops NOT NULL from the columns of the history: the table may lose a column,
 * or its own NOT NULL.
 */
static void
relax(Pair *pair, const char *period)
{
	for (int i = 0; i < pair->stored->natts; i++)
	{
		Form_pg_attribute stored = TupleDescAttr(pair->stored, i);

		if (stored->attnotnull && !stored->attisdropped &&
			strcmp(NameStr(stored->attname), period) != 0)
			dbp_versioning_command(psprintf("ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL",
											pair->history,
											quote_identifier(NameStr(stored->attname))));
	}
}

/*
 * dbp_versioning_sync_history brings the columns of a history in line with its table.
 * known: what it returned when that was done last: how many columns the table has,
 * dropped ones too; -1 if that is not known.  Tables are locked; the caller is
 * connected to SPI.
 */
int
dbp_versioning_sync_history(Oid baseid, Oid historyid, const VersioningOptions *options,
							int known)
{
	Relation	base = table_open(baseid, AccessShareLock);
	TupleDesc	desc = CreateTupleDescCopyConstr(RelationGetDescr(base));
	Pair		pair = {historyid, dbp_relation_name(base), dbp_relation_name_by_oid(historyid)};
	DbpOwnerScope scope;

	table_close(base, NoLock);
	dbp_enter_owner(&scope, dbp_relation_owner(historyid));
	read_columns(&pair);
	relax(&pair, options->period);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!dbp_versioning_has_history(att, options))
			continue;
		read_columns(&pair);
		follow_column(&pair, att, known >= 0 && att->attnum > known);
	}
	dbp_leave_owner(&scope);
	return desc->natts;
}

/*
 * dbp_versioning_rename_column renames a column of the history with the table's.
 */
void
dbp_versioning_rename_column(Oid historyid, const char *old_name, const char *new_name)
{
	Pair		pair = {historyid, NULL, dbp_relation_name_by_oid(historyid)};
	DbpOwnerScope scope;

	if (get_attnum(historyid, old_name) == InvalidAttrNumber)
		return;
	dbp_enter_owner(&scope, dbp_relation_owner(historyid));
	if (get_attnum(historyid, new_name) != InvalidAttrNumber)
	{
		set_aside(&pair, new_name);
		CommandCounterIncrement();
	}
	dbp_versioning_command(psprintf("ALTER TABLE %s RENAME COLUMN %s TO %s", pair.history,
									quote_identifier(old_name), quote_identifier(new_name)));
	dbp_leave_owner(&scope);
}

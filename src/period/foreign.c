/*-------------------------------------------------------------------------
 *
 * foreign.c
 *	  Making and dropping foreign keys between tables with periods.
 *
 * A row of the child refers to what the parent says during its own period: that
 * must be covered by the periods of parent rows with its key, one or several.
 * Triggers keep that (foreign_check.c); a table lists them by OID, so that
 * renames are followed.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/period/foreign.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "compat/compat.h"
#include "core/append.h"
#include "core/argument.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/sql.h"
#include "core/target.h"
#include "core/version.h"
#include "lib/stringinfo.h"
#include "period/foreign.h"
#include "period/period.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(dbpatterns_period_foreign_key);
PG_FUNCTION_INFO_V1(dbpatterns_period_foreign_key_drop);

static const char *const actions[] = {
	"no action", "restrict", "cascade", "set null", "set default"
};

/* ---- the argument ---------------------------------------------------------- */

static bool
set_action(ForeignAction *action, const char *word)
{
	for (int i = 0; i < lengthof(actions); i++)
	{
		if (pg_strcasecmp(word, actions[i]) == 0)
		{
			*action = i;
			return true;
		}
	}
	return false;
}

static bool
set_option(const DbpArgument *argument, const char *name, JsonbValue *value, void *arg)
{
	ForeignKey *key = arg;
	char	   *word;

	if (strcmp(name, "columns") == 0)
		key->columns = dbp_argument_names(argument, value);
	else if (strcmp(name, "parent_columns") == 0)
		key->parent_columns = dbp_argument_names(argument, value);
	if (value->type != jbvString)
		return strcmp(name, "columns") == 0 || strcmp(name, "parent_columns") == 0;
	word = pnstrdup(value->val.string.val, value->val.string.len);
	if (strcmp(name, "constraint") == 0)
		key->constraint = word;
	else if (strcmp(name, "child") == 0)
		key->child = word;
	else if (strcmp(name, "parent") == 0)
		key->parent = word;
	else if (strcmp(name, "on_delete") == 0)
		return set_action(&key->on_delete, word);
	else if (strcmp(name, "on_update") == 0)
		return set_action(&key->on_update, word);
	else
		return false;
	return true;
}

/*
 * dbp_foreign_parse reads a trigger's argument.
 */
void
dbp_foreign_parse(const char *argument, ForeignKey *key)
{
	DbpArgument source = {
		argument != NULL ? argument : "", "period foreign key",
		"Create the triggers with dbpatterns.period_foreign_key."
	};

	memset(key, 0, sizeof(*key));
	dbp_argument_read(&source, set_option, key);
	if (key->constraint == NULL || key->child == NULL || key->parent == NULL ||
		key->columns == NIL || list_length(key->columns) != list_length(key->parent_columns))
		dbp_argument_refuse(&source, "It must name the constraint, both tables and their columns.");
}

static void
print_string(StringInfo out, const char *option, const char *value)
{
	appendStringInfo(out, "%s\"%s\": ", out->len > 1 ? ", " : "", option);
	escape_json(out, value);
}

static char *
print_key(const ForeignKey *key)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	print_string(&out, "constraint", key->constraint);
	print_string(&out, "child", key->child);
	dbp_argument_print_names(&out, "columns", key->columns);
	print_string(&out, "parent", key->parent);
	dbp_argument_print_names(&out, "parent_columns", key->parent_columns);
	if (key->on_delete != FOREIGN_NO_ACTION)
		print_string(&out, "on_delete", actions[key->on_delete]);
	if (key->on_update != FOREIGN_NO_ACTION)
		print_string(&out, "on_update", actions[key->on_update]);
	appendStringInfoChar(&out, '}');
	return out.data;
}

/*
 * dbp_foreign_table returns the OID of a table that an argument names, or raises 42P01.
 */
Oid
dbp_foreign_table(const char *name)
{
	return RangeVarGetRelid(makeRangeVarFromNameList(stringToQualifiedNameList(name, NULL)),
							NoLock, false);
}

/* ---- triggers -------------------------------------------------------------- */

/* Names: number, and the constraint, which is one of the child's. */
static char *
trigger_name(const char *number, const char *constraint)
{
	return makeObjectName(psprintf("dbpatterns_%s_period", number), constraint, NULL);
}

static void
create_trigger(const char *number, const char *events, const char *table, bool deferrable,
			   const char *level, const ForeignKey *key)
{
	dbp_sql_silently(&dbp_period_silent,
					 "CREATE %sTRIGGER %s %s ON %s %sFOR EACH %s"
					 " EXECUTE FUNCTION dbpatterns.period_foreign_trigger(%s)",
					 deferrable ? "CONSTRAINT " : "",
					 quote_identifier(trigger_name(number, key->constraint)), events, table,
					 deferrable ? "DEFERRABLE INITIALLY IMMEDIATE " : "", level,
					 quote_literal_cstr(print_key(key)));
}

/*
 * create_triggers makes the triggers of a foreign key.  What raises can wait for the end of
 * the transaction, what acts cannot.
 */
static void
create_triggers(const ForeignKey *key)
{
	create_trigger("31", "AFTER INSERT OR UPDATE", key->child, true, "ROW", key);
	create_trigger("32", "AFTER UPDATE", key->parent, key->on_update == FOREIGN_NO_ACTION,
				   "ROW", key);
	create_trigger("33", "AFTER DELETE", key->parent, key->on_delete == FOREIGN_NO_ACTION,
				   "ROW", key);
	create_trigger("34", "AFTER TRUNCATE", key->parent, false, "STATEMENT", key);
}

static void
drop_trigger(const char *number, const char *table, const char *constraint)
{
	dbp_sql_silently(&dbp_period_silent, "DROP TRIGGER IF EXISTS %s ON %s",
					 quote_identifier(trigger_name(number, constraint)), table);
}

static void
drop_triggers(const char *child, const char *parent, const char *constraint)
{
	drop_trigger("31", child, constraint);
	drop_trigger("32", parent, constraint);
	drop_trigger("33", parent, constraint);
	drop_trigger("34", parent, constraint);
}

/* ---- the list -------------------------------------------------------------- */

static uint64
query_list(const char *sql, int nparams, const DbpParam *params)
{
	DbpOwnerScope scope;
	uint64		rows;

	dbp_enter_owner(&scope, dbp_relation_owner(dbp_own_relation("period_foreign_key")));
	rows = dbp_sql_query(sql, nparams, params);
	dbp_leave_owner(&scope);
	return rows;
}

static void
save_key(const ForeignKey *key, Oid childid, Oid parentid)
{
	DbpParam	params[4];

	params[0] = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(childid));
	params[1] = DBP_PARAM(NAMEOID, CStringGetDatum(key->constraint));
	params[2] = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(parentid));
	params[3] = DBP_PARAM(TEXTOID, CStringGetTextDatum(print_key(key)));
	query_list("INSERT INTO _dbpatterns.period_foreign_key (child, constraint_name, parent, argument)"
			   " VALUES ($1, $2, $3, $4) ON CONFLICT (child, constraint_name) DO UPDATE"
			   " SET parent = excluded.parent, argument = excluded.argument", 4, params);
}

/*
 * dbp_period_require_unreferenced raises 2BP01 for a table that foreign keys between periods use.
 */
void
dbp_period_require_unreferenced(Oid relid)
{
	DbpParam	param = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(relid));

	if (query_list("SELECT constraint_name, child FROM _dbpatterns.period_foreign_key"
				   " WHERE child OPERATOR(pg_catalog.=) $1 OR parent OPERATOR(pg_catalog.=) $1"
				   " ORDER BY 1 LIMIT 1", 1, &param) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("foreign key \"%s\" needs the period of table %s", dbp_sql_text(0, 0),
						dbp_relation_name_by_oid(relid)),
				 errhint("Call dbpatterns.period_foreign_key_drop first.")));
}

static Oid
oid_at(SPITupleTable *list, uint64 row, int column)
{
	bool		isnull;

	return DatumGetObjectId(SPI_getbinval(list->vals[row], list->tupdesc, column, &isnull));
}

/*
 * dbp_foreign_follow brings the foreign keys of a table in line: with its name, and with
 * that of a column that was renamed, unless old_name is NULL.
 */
void
dbp_foreign_follow(Oid relid, const char *old_name, const char *new_name)
{
	DbpParam	param = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(relid));
	uint64		rows = query_list("SELECT child::pg_catalog.oid, parent::pg_catalog.oid, argument"
								  " FROM _dbpatterns.period_foreign_key"
								  " WHERE child OPERATOR(pg_catalog.=) $1"
								  " OR parent OPERATOR(pg_catalog.=) $1"
								  " ORDER BY child, constraint_name", 1, &param);
	SPITupleTable *list = SPI_tuptable;

	for (uint64 i = 0; i < rows; i++)
	{
		Oid			childid = oid_at(list, i, 1);
		Oid			parentid = oid_at(list, i, 2);
		char	   *before = SPI_getvalue(list->vals[i], list->tupdesc, 3);
		ForeignKey	key;
		ListCell   *lc;

		if (get_rel_name(childid) == NULL || get_rel_name(parentid) == NULL)
			continue;
		dbp_foreign_parse(before, &key);
		key.child = dbp_relation_name_by_oid(childid);
		key.parent = dbp_relation_name_by_oid(parentid);
		foreach(lc, old_name != NULL && relid == childid ? key.columns : NIL)
			lfirst(lc) = strcmp(lfirst(lc), old_name) == 0 ? pstrdup(new_name) : lfirst(lc);
		foreach(lc, old_name != NULL && relid == parentid ? key.parent_columns : NIL)
			lfirst(lc) = strcmp(lfirst(lc), old_name) == 0 ? pstrdup(new_name) : lfirst(lc);
		if (strcmp(before, print_key(&key)) == 0)
			continue;
		drop_triggers(key.child, key.parent, key.constraint);
		create_triggers(&key);
		save_key(&key, childid, parentid);
	}
}

/*
 * dbp_foreign_forget drops what is left of the foreign keys of a table that is gone.
 */
void
dbp_foreign_forget(Oid relid)
{
	DbpParam	param = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(relid));
	uint64		rows = query_list("DELETE FROM _dbpatterns.period_foreign_key"
								  " WHERE child OPERATOR(pg_catalog.=) $1"
								  " OR parent OPERATOR(pg_catalog.=) $1"
								  " RETURNING child::pg_catalog.oid, parent::pg_catalog.oid,"
								  " constraint_name", 1, &param);
	SPITupleTable *list = SPI_tuptable;

	for (uint64 i = 0; i < rows; i++)
	{
		Oid			childid = oid_at(list, i, 1);
		Oid			parentid = oid_at(list, i, 2);
		char	   *constraint = SPI_getvalue(list->vals[i], list->tupdesc, 3);

		if (get_rel_name(childid) != NULL)
			drop_trigger("31", dbp_relation_name_by_oid(childid), constraint);
		if (get_rel_name(parentid) != NULL)
		{
			drop_trigger("32", dbp_relation_name_by_oid(parentid), constraint);
			drop_trigger("33", dbp_relation_name_by_oid(parentid), constraint);
			drop_trigger("34", dbp_relation_name_by_oid(parentid), constraint);
		}
	}
}

/* ---- making ---------------------------------------------------------------- */

static ForeignAction
read_action(FunctionCallInfo fcinfo, int argno, const char *argument)
{
	char	   *word = PG_ARGISNULL(argno) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(argno));
	ForeignAction action;

	if (!set_action(&action, word))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value of argument \"%s\": \"%s\"", argument, word),
				 errhint("Give 'no action', 'restrict', 'cascade', 'set null' or 'set default'.")));
	return action;
}

/*
 * check_columns raises unless the columns of both tables go together.
 */
static void
check_columns(Relation child, Relation parent, const ForeignKey *key)
{
	DbpPeriod  *of_child = dbp_period_get(child);
	DbpPeriod  *of_parent = dbp_period_get(parent);
	ListCell   *lc;
	ListCell   *lp;

	if (list_length(key->columns) != list_length(key->parent_columns) ||
		list_length(key->parent_columns) != of_parent->nkeys)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FOREIGN_KEY),
				 errmsg("foreign key \"%s\" must name all %d columns of the key of table %s",
						key->constraint, of_parent->nkeys, key->parent),
				 errhint("A key that is not whole says nothing about one row.")));
	if (of_child->rangetype != of_parent->rangetype)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("periods of tables %s and %s are of different types", key->child,
						key->parent),
				 errdetail("One is a %s, the other a %s.", format_type_be(of_child->rangetype),
						   format_type_be(of_parent->rangetype)),
				 errhint("Give both tables periods of one type.")));
	forboth(lc, key->columns, lp, key->parent_columns)
	{
		AttrNumber	a = dbp_column_number(child, lfirst(lc));
		AttrNumber	b = dbp_column_number(parent, lfirst(lp));

		if (!dbp_list_has_name(of_parent->options.key, lfirst(lp)))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_FOREIGN_KEY),
					 errmsg("column \"%s\" of table %s is not in the key of its period",
							(char *) lfirst(lp), key->parent),
					 errhint("Refer to the columns that period_enable was given.")));
		if (getBaseType(TupleDescAttr(RelationGetDescr(child), a - 1)->atttypid) !=
			getBaseType(TupleDescAttr(RelationGetDescr(parent), b - 1)->atttypid))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("columns \"%s\" of table %s and \"%s\" of table %s are of different types",
							(char *) lfirst(lc), key->child, (char *) lfirst(lp), key->parent),
					 errhint("Give both columns one type.")));
	}
}

/*
 * period_foreign_key(child regclass, columns name[], parent regclass, parent_columns name[],
 * on_delete text, on_update text, constraint_name name): rows of child refer to rows of parent, all
 * the time that they hold.  Returns the name of the foreign key.
 *
 * columns: of child; a row with a NULL among them refers to nothing.  parent_columns: those that
 * they must equal, NULL for the key of parent's period.  on_delete, on_update: 'no action' (may
 * be deferred), 'restrict', 'cascade' (child rows lose the part of their period that is no
 * longer covered, or go; a new key goes on), 'set null', 'set default' (for that part of
 * their period).  constraint_name: NULL for one made of the names of table and columns.
 *
 * Raises 22004 (child, columns or parent is NULL), 42P01, 55000 (library and SQL versions
 * differ, no period), 22023 (bad value), 42501 (not the owner of both), 42703, 42830 (not the
 * key of parent), 42804 (types), 42710 (the name exists), 23503 (a row refers to nothing).
 * Locks SHARE ROW EXCLUSIVE on both tables, parent first.  Runs as the caller; the triggers
 * act as the owner of the table they read or change.
 */
Datum
dbpatterns_period_foreign_key(PG_FUNCTION_ARGS)
{
	ForeignKey	key = {0};
	Relation	child;
	Relation	parent;
	Oid			childid;
	Oid			parentid;
	DbpParam	params[2];

	dbp_require_argument(fcinfo, 0, "child", "Name the table that refers.");
	dbp_require_argument(fcinfo, 1, "columns", "Name the columns that refer.");
	dbp_require_argument(fcinfo, 2, "parent", "Name the table that is referred to.");
	childid = PG_GETARG_OID(0);
	parentid = PG_GETARG_OID(2);
	key.child = dbp_relation_name_by_oid(childid);
	key.parent = dbp_relation_name_by_oid(parentid);
	dbp_check_version();
	key.columns = dbp_column_list(PG_GETARG_ARRAYTYPE_P(1), "columns");
	key.on_delete = read_action(fcinfo, 4, "on_delete");
	key.on_update = read_action(fcinfo, 5, "on_update");

	SPI_connect();
	(void) dbp_lock_tree(parentid, ShareRowExclusiveLock);
	(void) dbp_lock_tree(childid, ShareRowExclusiveLock);
	child = table_open(childid, NoLock);
	parent = table_open(parentid, NoLock);
	key.parent_columns = PG_ARGISNULL(3) ? list_copy(dbp_period_get(parent)->options.key) :
		dbp_column_list(PG_GETARG_ARRAYTYPE_P(3), "parent_columns");
	key.constraint = !PG_ARGISNULL(6) ? NameStr(*PG_GETARG_NAME(6)) :
		makeObjectName(RelationGetRelationName(child),
					   key.columns != NIL ? linitial(key.columns) : "", "period_fkey");
	check_columns(child, parent, &key);
	table_close(child, NoLock);
	table_close(parent, NoLock);

	params[0] = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(childid));
	params[1] = DBP_PARAM(NAMEOID, CStringGetDatum(key.constraint));
	if (query_list("SELECT FROM _dbpatterns.period_foreign_key"
				   " WHERE child OPERATOR(pg_catalog.=) $1"
				   " AND constraint_name OPERATOR(pg_catalog.=) $2", 2, params) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("foreign key \"%s\" of table %s already exists", key.constraint, key.child),
				 errhint("Give another name, or call dbpatterns.period_foreign_key_drop first.")));
	dbp_foreign_require_covered(&key, childid, parentid);
	create_triggers(&key);
	save_key(&key, childid, parentid);
	SPI_finish();
	PG_RETURN_DATUM(DirectFunctionCall1(namein, CStringGetDatum(key.constraint)));
}

/*
 * period_foreign_key_drop(child regclass, constraint_name name) drops a foreign key between tables
 * with periods.
 *
 * Raises 22004, 42P01, 55000 (library and SQL versions differ), 42501 (not the owner of child),
 * 42704 (there is none of that name).  Locks ACCESS EXCLUSIVE on both tables.  Runs as the caller.
 */
Datum
dbpatterns_period_foreign_key_drop(PG_FUNCTION_ARGS)
{
	Oid			childid;
	char	   *constraint;
	DbpParam	params[2];
	Oid			parentid;

	dbp_require_argument(fcinfo, 0, "child", "Name the table that refers.");
	dbp_require_argument(fcinfo, 1, "constraint_name", "Name the foreign key.");
	childid = PG_GETARG_OID(0);
	constraint = NameStr(*PG_GETARG_NAME(1));
	(void) dbp_relation_name_by_oid(childid);
	dbp_check_version();

	SPI_connect();
	dbp_require_owner(childid);
	params[0] = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(childid));
	params[1] = DBP_PARAM(NAMEOID, CStringGetDatum(constraint));
	if (query_list("DELETE FROM _dbpatterns.period_foreign_key"
				   " WHERE child OPERATOR(pg_catalog.=) $1"
				   " AND constraint_name OPERATOR(pg_catalog.=) $2"
				   " RETURNING parent::pg_catalog.oid", 2, params) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("foreign key \"%s\" of table %s does not exist", constraint,
						dbp_relation_name_by_oid(childid)),
				 errhint("Table _dbpatterns.period_foreign_key lists them.")));
	parentid = DatumGetObjectId(dbp_sql_value(0, 0, NULL));
	if (get_rel_name(parentid) != NULL)
		drop_triggers(dbp_relation_name_by_oid(childid), dbp_relation_name_by_oid(parentid),
					  constraint);
	SPI_finish();
	PG_RETURN_VOID();
}

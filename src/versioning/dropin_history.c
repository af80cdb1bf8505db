/*-------------------------------------------------------------------------
 *
 * dropin_history.c
 *	  The history table that a versioning trigger names.
 *
 * A trigger has the history's name as text.  temporal_tables looks it up through the
 * caller's search_path for every row, so that whoever chooses that path chooses
 * where the rows go.  Here a name without schema is one of the table's own
 * schema; only if there is none, search_path is asked, and then just a relation
 * of the table's owner counts.  The name is looked up once, and again after a
 * change of either table.
 *
 * Whoever may change the table needs no rights on the history: they are asked
 * of the table's owner.  Where he has none, those of the caller count, as they do
 * in temporal_tables.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/dropin_history.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/sysattr.h"
#include "catalog/namespace.h"
#include "commands/dbcommands.h"
#include "compat/compat.h"
#include "core/names.h"
#include "core/owner.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/regproc.h"
#include "versioning/dropin.h"

static DbpRelStateCache *histories = NULL;

/* ---- finding it ------------------------------------------------------- */

static void
raise_missing(const RangeVar *name, bool foreign)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 name->schemaname != NULL ?
			 errmsg("relation \"%s.%s\" does not exist", name->schemaname, name->relname) :
			 errmsg("relation \"%s\" does not exist", name->relname),
			 foreign ? errdetail("The relation of this name in search_path belongs to another "
								 "owner than the versioned table.") : 0,
			 foreign ? errhint("Name the history with its schema in the trigger.") : 0));
}

/*
 * lookup_schema finds the schema that a name gives.  pg_temp is good for a
 * temporary table only: for any other it would be the caller's.
 */
static Oid
lookup_schema(const RangeVar *name, Relation rel)
{
	if (name->catalogname != NULL &&
		strcmp(name->catalogname, get_database_name(MyDatabaseId)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cross-database references are not implemented: \"%s.%s.%s\"",
						name->catalogname, name->schemaname, name->relname)));
	if (strcmp(name->schemaname, "pg_temp") == 0)
	{
		if (!isTempNamespace(RelationGetNamespace(rel)))
			raise_missing(name, false);
		return RelationGetNamespace(rel);
	}
	return get_namespace_oid(name->schemaname, false);
}

static Oid
lookup_history(const char *text, Relation rel)
{
	RangeVar   *name = makeRangeVarFromNameList(stringToQualifiedNameList(text, NULL));
	Oid			relid;

	if (name->schemaname != NULL)
	{
		relid = get_relname_relid(name->relname, lookup_schema(name, rel));
		if (!OidIsValid(relid))
			raise_missing(name, false);
		return relid;
	}

	relid = get_relname_relid(name->relname, RelationGetNamespace(rel));
	if (OidIsValid(relid))
		return relid;
	relid = RelnameGetRelid(name->relname);
	if (!OidIsValid(relid))
		raise_missing(name, false);
	if (dbp_relation_owner(relid) != rel->rd_rel->relowner)
		raise_missing(name, true);
	return relid;
}

static Relation
open_history(const char *text, Relation rel)
{
	Relation	history = try_relation_open(lookup_history(text, rel), RowExclusiveLock);

	if (history == NULL)
		raise_missing(makeRangeVarFromNameList(stringToQualifiedNameList(text, NULL)), false);
	if (RELATION_IS_OTHER_TEMP(history))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("history relation %s is a temporary table of another session",
						dbp_relation_name(history)),
				 errhint("Name a table that this session can write.")));
	switch (history->rd_rel->relkind)
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
		case RELKIND_FOREIGN_TABLE:
		case RELKIND_VIEW:
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("history relation %s is not a table", dbp_relation_name(history)),
					 errhint("Name a table, or a view that rows can be inserted into.")));
	}
	return history;
}

/* ---- its columns ------------------------------------------------------ */

static Form_pg_attribute
find_column(Relation rel, const char *name)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && namestrcmp(&att->attname, name) == 0)
			return att;
	}
	return NULL;
}

static void
require_column(Relation rel, const char *name, const char *kind)
{
	if (find_column(rel, name) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("history relation \"%s\" does not contain %s column \"%s\"",
						RelationGetRelationName(rel), kind, name),
				 errhint("history relation must contain %s column with the same name and "
						 "data type as the versioned one", kind)));
}

/*
 * require_same_type compares no dimensions: the server does not enforce those
 * of arrays, and not every way to make a table sets them.
 */
static void
require_same_type(Relation rel, Form_pg_attribute att, Relation history,
				  Form_pg_attribute there)
{
	if (att->atttypid == there->atttypid && att->atttypmod == there->atttypmod)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" of relation \"%s\" is of type %s but column \"%s\" of "
					"history relation \"%s\" is of type %s",
					NameStr(att->attname), RelationGetRelationName(rel),
					format_type_with_typemod(att->atttypid, att->atttypmod),
					NameStr(there->attname), RelationGetRelationName(history),
					format_type_with_typemod(there->atttypid, there->atttypmod))));
}

static void
match_columns(DropinHistory *state, DropinTable *table, Relation rel, Relation history)
{
	TupleDesc	desc = RelationGetDescr(rel);
	int			natts = desc->natts;

	state->from = palloc(sizeof(AttrNumber) * natts);
	state->to = palloc(sizeof(AttrNumber) * natts);
	state->types = palloc(sizeof(Oid) * natts);
	state->needed = palloc0(sizeof(bool) * natts);
	state->computed = palloc0(sizeof(bool) * natts);
	state->watched = palloc0(sizeof(bool) * natts);
	for (int i = 0; i < natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Form_pg_attribute there;
		int			n = state->ncolumns;

		if (att->attisdropped)
			continue;
		there = find_column(history, NameStr(att->attname));
		if (there == NULL)
			continue;
		require_same_type(rel, att, history, there);

		/*
		 * What is computed here has no value, what is computed there takes
		 * none.
		 */
		if (att->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL || there->attgenerated != '\0')
			continue;
		state->from[n] = att->attnum;
		state->to[n] = there->attnum;
		state->types[n] = there->atttypid;
		state->needed[n] = there->attnotnull;
		state->computed[n] = (att->attgenerated != '\0');
		state->watched[n] = !state->computed[n] &&
			att->attnum != table->period_no && att->attnum != table->version_no;
		state->overriding |= (there->attidentity == ATTRIBUTE_IDENTITY_ALWAYS);
		state->ncolumns++;
	}
}

/*
 * match_key finds the columns of the primary key, if the history has them all.
 */
static void
match_key(DropinHistory *state, Relation rel)
{
	Bitmapset  *key;
	int			x = -1;

	key = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	state->key = palloc(sizeof(int) * (state->ncolumns + 1));
	while ((x = bms_next_member(key, x)) >= 0)
	{
		int			i = 0;

		while (i < state->ncolumns &&
			   state->from[i] != x + FirstLowInvalidHeapAttributeNumber)
			i++;
		if (i == state->ncolumns ||
			!OidIsValid(lookup_type_cache(state->types[i], TYPECACHE_EQ_OPR)->eq_opr))
		{
			state->nkey = 0;
			return;
		}
		state->key[state->nkey++] = i;
	}
}

/* ---- how it is written ------------------------------------------------ */

static bool
is_filled(DropinHistory *state, AttrNumber column)
{
	for (int i = 0; i < state->ncolumns; i++)
	{
		if (state->to[i] == column)
			return true;
	}
	return false;
}

/*
 * is_direct tells whether rows may go straight to the history: nothing of it
 * computes or refuses what an INSERT would.
 */
static bool
is_direct(DropinHistory *state, Relation history)
{
	TupleDesc	desc = RelationGetDescr(history);

	if (!dbp_append_is_plain(history) || history->rd_rel->relispartition ||
		check_enable_rls(state->relid, state->owner, true) == RLS_ENABLED)
		return false;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || is_filled(state, att->attnum))
			continue;
		if (att->attnotnull || get_typtype(att->atttypid) == TYPTYPE_DOMAIN ||
			build_column_default(history, att->attnum) != NULL)
			return false;
	}
	return true;
}

static void
free_plans(void *arg)
{
	DropinHistory *state = arg;

	if (state->insert != NULL)
		SPI_freeplan(state->insert);
	if (state->close != NULL)
		SPI_freeplan(state->close);
}

static void
build_history(DbpRelState *head, Relation rel, void *arg)
{
	DropinHistory *state = (DropinHistory *) head;
	DropinTable *table = arg;
	MemoryContextCallback *callback = palloc0(sizeof(*callback));
	Relation	history = open_history(table->history, rel);

	callback->func = free_plans;
	callback->arg = state;
	MemoryContextRegisterResetCallback(head->cxt, callback);

	require_column(history, table->period, "system period");
	if (table->version != NULL)
		require_column(history, table->version, "version");
	head->rootid = RelationGetRelid(history);
	state->relid = RelationGetRelid(history);
	state->name = dbp_relation_name(history);
	state->temporary = (history->rd_rel->relpersistence == RELPERSISTENCE_TEMP);
	state->owner = table->owner;
	match_columns(state, table, rel, history);
	if (table->include_current)
		match_key(state, rel);
	state->as_owner = pg_class_aclcheck(state->relid, state->owner,
										table->include_current ?
										ACL_INSERT | ACL_SELECT | ACL_UPDATE :
										ACL_INSERT) == ACLCHECK_OK;
	if (is_direct(state, history))
		state->target = dbp_append_relation(state->relid);

	/* The lock stays, as any writer's. */
	relation_close(history, NoLock);
}

/*
 * dbp_dropin_history returns how the history of rel is written, which raises
 * when it cannot be.  The history is locked then: what was known of it before may no
 * longer be true when the wait for an ALTER of it is over.
 */
DropinHistory *
dbp_dropin_history(Relation rel, Trigger *trigger, DropinTable *table)
{
	DropinHistory *history = NULL;
	DbpRelState *state;

	while ((state = dbp_relstate_get(histories, rel, trigger->tgoid, table)) !=
		   (DbpRelState *) history)
	{
		history = (DropinHistory *) state;
		LockRelationOid(history->relid, RowExclusiveLock);
	}
	return history;
}

/*
 * dbp_dropin_history_init prepares this backend.
 */
void
dbp_dropin_history_init(void)
{
	histories = dbp_relstate_cache("dbpatterns versioning histories", sizeof(DropinHistory),
								   build_history);
}

/*-------------------------------------------------------------------------
 *
 * target.c
 *	  The table that a pattern is switched on for.
 *
 * What every pattern asks of its target and of its arguments, so that it is
 * asked in the same order and refused in the same words.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/target.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/target.h"
#include "storage/lmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

/*
 * dbp_lock_tree locks a table and everything below it, and returns all of them.
 * Rights come first, so that nobody waits for, and thereby blocks, a table of
 * somebody else; and once more after the wait.  Partitions are locked with
 * their root whoever owns them, as the server does.
 */
List *
dbp_lock_tree(Oid relid, LOCKMODE mode)
{
	ListCell   *lc;

	dbp_require_owner(relid);
	LockRelationOid(relid, mode);
	dbp_require_owner(relid);
	foreach(lc, find_all_inheritors(relid, NoLock, NULL))
	{
		/* One that is gone by now needs no check. */
		if (get_rel_name(lfirst_oid(lc)) != NULL &&
			!get_rel_relispartition(lfirst_oid(lc)))
			dbp_require_owner(lfirst_oid(lc));
	}
	return find_all_inheritors(relid, mode, NULL);
}

/*
 * dbp_partition_root returns the topmost partitioned ancestor of a partition,
 * and any other relation itself.
 */
Oid
dbp_partition_root(Oid relid)
{
	List	   *ancestors = get_rel_relispartition(relid) ? get_partition_ancestors(relid) : NIL;

	return ancestors == NIL ? relid : llast_oid(ancestors);
}

static const char *
hint_or(const char *hint, const char *general)
{
	return hint != NULL ? hint : general;
}

static char *
partition_hint(Relation rel)
{
	Oid			rootid = dbp_partition_root(RelationGetRelid(rel));

	return psprintf("Name the partitioned table %s; that covers its partitions.",
					dbp_relation_name_by_oid(rootid));
}

/*
 * dbp_require_target_or_hint raises 42809 unless rel is an ordinary or
 * partitioned table of the user's, and 0A000 for a temporary table of another
 * session.  what: what it cannot be then, a participle.
 */
void
dbp_require_target_or_hint(Relation rel, const char *what, const DbpTargetHints *hints)
{
	char		kind = rel->rd_rel->relkind;
	Oid			nsp = RelationGetNamespace(rel);
	const char *why = NULL;
	const char *hint = NULL;

	if (kind == RELKIND_FOREIGN_TABLE)
	{
		why = "is a foreign table";
		hint = hint_or(hints->foreign_table, "Do it on the server that holds the table.");
	}
	else if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
	{
		why = "is not a table";
		hint = hint_or(hints->no_table, "Name an ordinary or partitioned table.");
	}
	else if (IsSystemRelation(rel) || IsCatalogNamespace(nsp) ||
			 nsp == get_namespace_oid("information_schema", true))
	{
		why = "is a system table";
		hint = "The server's catalogs cannot have triggers.";
	}
	else if (nsp == get_namespace_oid("_dbpatterns", true) ||
			 nsp == get_namespace_oid("dbpatterns", true))
	{
		why = "belongs to dbpatterns";
		hint = hint_or(hints->ours, "Name a table of your own.");
	}
	else if (rel->rd_rel->relispartition)
	{
		why = "is a partition";
		hint = hint_or(hints->partition, partition_hint(rel));
	}

	if (why != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s %s and cannot be %s", dbp_relation_name(rel), why, what),
				 errhint("%s", hint)));
	if (RELATION_IS_OTHER_TEMP(rel))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("temporary table %s belongs to another session",
						dbp_relation_name(rel)),
				 errhint("%s", hint_or(hints->temporary,
									   "Do this in the session that created it."))));
}

/*
 * dbp_require_target does so with general hints.
 */
void
dbp_require_target(Relation rel, const char *what)
{
	DbpTargetHints none = {0};

	dbp_require_target_or_hint(rel, what, &none);
}

/*
 * dbp_require_argument raises 22004 when an argument is NULL.
 */
void
dbp_require_argument(FunctionCallInfo fcinfo, int argno, const char *argument, const char *hint)
{
	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be NULL", argument),
				 errhint("%s", hint)));
}

/*
 * dbp_require_words raises 22004 when a text is NULL, 22023 when it is empty or blank.
 */
void
dbp_require_words(FunctionCallInfo fcinfo, int argno, const char *argument, const char *hint)
{
	char	   *value;

	dbp_require_argument(fcinfo, argno, argument, hint);
	value = text_to_cstring(PG_GETARG_TEXT_PP(argno));
	if (strspn(value, " \t\r\n") == strlen(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must not be empty", argument),
				 errhint("%s", hint)));
}

/*
 * dbp_require_key raises 22023 unless a JSONB argument is an object with a value for each
 * of the columns and nothing else.
 */
void
dbp_require_key(FunctionCallInfo fcinfo, int argno, const char *argument, const char *table,
				List *columns)
{
	Jsonb	   *key = PG_GETARG_JSONB_P(argno);
	StringInfoData names;
	bool		fits = JB_ROOT_IS_OBJECT(key) && JB_ROOT_COUNT(key) == list_length(columns);
	ListCell   *lc;

	initStringInfo(&names);
	foreach(lc, columns)
	{
		char	   *name = lfirst(lc);
		JsonbValue	value;

		appendStringInfo(&names, "%s\"%s\"", names.len > 0 ? ", " : "", name);
		if (fits)
			fits = getKeyJsonValueFromContainer(&key->root, name, strlen(name), &value) != NULL &&
				value.type != jbvNull;
	}
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" does not name one row of table %s", argument, table),
				 errhint("Give a JSON object with a value for each of %s.", names.data)));
}

/*
 * dbp_choose_argument tells which of two words an argument holds: true for the
 * second.  It raises 22023 for any other.
 */
bool
dbp_choose_argument(FunctionCallInfo fcinfo, int argno, const char *argument,
					const char *first, const char *second)
{
	char	   *value = PG_ARGISNULL(argno) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(argno));

	if (strcmp(value, first) != 0 && strcmp(value, second) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value of argument \"%s\": \"%s\"", argument, value),
				 errhint("Give '%s' or '%s'.", first, second)));
	return strcmp(value, second) == 0;
}

/*
 * dbp_require_own_transaction raises 25001 for a procedure that was not called on its own, and
 * so cannot commit.
 */
void
dbp_require_own_transaction(FunctionCallInfo fcinfo, const char *procedure)
{
	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s cannot run inside a transaction block", procedure),
				 errhint("It commits as it goes, so that it can go on where it stopped.")));
}

/*-------------------------------------------------------------------------
 *
 * read.c
 *	  What the readers of the log share: rights, streams of entries, names.
 *
 * Whoever owns a table may read its log, and so may who can SELECT from
 * dbpatterns.audit_entries.  The log is read as its owner and the table as the
 * caller; keys and values are read as the owners of their types and of the
 * table, because types may run code of theirs.
 *
 * All that one call reads it reads with one snapshot, so that table and log
 * speak of the same moment.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/read.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "audit/audit.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_operator.h"
#include "compat/compat.h"
#include "core/names.h"
#include "core/target.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

/*
 * dbp_audit_require_reader raises 42501 unless the current user may read the log
 * of a table.
 */
void
dbp_audit_require_reader(Relation root)
{
	Oid			view = get_relname_relid("audit_entries",
										 get_namespace_oid("dbpatterns", false));
	Oid			relid = RelationGetRelid(root);

	if (OidIsValid(view) && pg_class_aclcheck(view, GetUserId(), ACL_SELECT) == ACLCHECK_OK)
		return;
	if (!object_ownercheck(RelationRelationId, relid, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for the audit log of table %s",
						dbp_relation_name(root)),
				 errhint("Be its owner, or have SELECT on dbpatterns.audit_entries.")));
	if (check_enable_rls(relid, InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("row-level security of table %s hides some of its rows from you, but not in the audit log",
						dbp_relation_name(root)),
				 errhint("Only roles with SELECT on dbpatterns.audit_entries may read the log of this table.")));
}

/*
 * dbp_audit_read_flush writes what waits to be written and makes it visible.
 */
void
dbp_audit_read_flush(void)
{
	dbp_audit_batch_flush();
	CommandCounterIncrement();
}

/*
 * dbp_audit_read_open begins to read the log of a table: checks the caller's
 * rights, writes what waits to be written, and fixes the snapshot.  A
 * partition stands for its root.
 */
void
dbp_audit_read_open(AuditReading *reading, Oid target)
{
	Relation	rel;

	dbp_audit_read_flush();
	PushActiveSnapshot(GetTransactionSnapshot());

	rel = relation_open(target, AccessShareLock);
	if (rel->rd_rel->relkind != RELKIND_RELATION &&
		rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is not a table", dbp_relation_name(rel)),
				 errhint("Only tables are audited; changes through a view are logged on the tables below it.")));
	if (rel->rd_rel->relispartition)
	{
		Oid			root = dbp_partition_root(RelationGetRelid(rel));

		relation_close(rel, NoLock);
		rel = table_open(root, AccessShareLock);
	}
	reading->root = rel;
	dbp_audit_require_reader(rel);

	reading->trail = dbp_audit_trail(rel);
	if (reading->trail->nshapes == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s has never been audited", dbp_relation_name(rel)),
				 errhint("Call dbpatterns.audit_enable to log its changes from then on.")));
	SPI_connect();
}

/*
 * dbp_audit_read_close ends it.
 */
void
dbp_audit_read_close(AuditReading *reading)
{
	SPI_finish();
	table_close(reading->root, NoLock);
	PopActiveSnapshot();
}

/*
 * is_whole tells whether an update's old image has all columns: a difference
 * lacks the key, which did not change then.
 */
static bool
is_whole(AuditRecord *record)
{
	AuditShape *shape = record->shape;
	JsonbValue	unused;

	return shape->nkeys == 0 ||
		dbp_audit_image_value(record->old, shape->columns[shape->keys[0]], &unused);
}

/*
 * dbp_audit_read_record fills a record from the columns of audit_log.
 */
void
dbp_audit_read_record(AuditTrail *trail, Datum *values, bool *isnull, AuditRecord *record)
{
	record->at = DatumGetTimestampTz(values[0]);
	record->id = DatumGetInt64(values[1]);
	record->txn = DatumGetInt64(values[2]);
	record->statement_at = isnull[3] ? record->at : DatumGetTimestampTz(values[3]);
	record->row_key = isnull[4] ? 0 : (uint64) DatumGetInt64(values[4]);
	record->key_changed = !isnull[5];
	record->old_row_key = isnull[5] ? 0 : (uint64) DatumGetInt64(values[5]);
	record->shape = dbp_audit_shape_by_number(trail, DatumGetInt32(values[6]));
	record->op = DatumGetChar(values[7]);
	record->old = isnull[8] ? NULL : DatumGetJsonbP(values[8]);
	record->new = isnull[9] ? NULL : DatumGetJsonbP(values[9]);
	record->values = values;
	record->isnull = isnull;
	record->whole = record->shape != NULL && record->old != NULL && is_whole(record);
}

/*
 * dbp_audit_today_name returns the name under which a column of a shape is shown.
 */
char *
dbp_audit_today_name(AuditTrail *trail, AuditShape *shape, int column)
{
	return trail->columns[shape->numbers[column]].name;
}

/*
 * dbp_audit_image_value looks up a column in an image, by its name there; false
 * if it is not there.
 */
bool
dbp_audit_image_value(Jsonb *image, const char *name, JsonbValue *value)
{
	return image != NULL &&
		getKeyJsonValueFromContainer(&image->root, name, strlen(name), value) != NULL;
}

/*
 * dbp_audit_push_member adds a member to an object that is being built.
 */
void
dbp_audit_push_member(JsonbParseState **state, const char *name, JsonbValue *value)
{
	JsonbValue	key;

	key.type = jbvString;
	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	pushJsonbValue(state, WJB_KEY, &key);
	pushJsonbValue(state, WJB_VALUE, value);
}

/*
 * dbp_audit_today_image returns an image of a shape under today's names; NULL for
 * NULL.
 */
Jsonb *
dbp_audit_today_image(AuditTrail *trail, AuditShape *shape, Jsonb *image)
{
	JsonbParseState *state = NULL;
	JsonbValue	value;

	if (image == NULL || !shape->renamed)
		return image;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < shape->ncolumns; i++)
	{
		if (dbp_audit_image_value(image, shape->columns[i], &value))
			dbp_audit_push_member(&state, dbp_audit_today_name(trail, shape, i), &value);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * dbp_audit_record_key returns the key of the row an entry speaks of, as it was
 * after the change, under today's names; NULL if it has none.
 */
Jsonb *
dbp_audit_record_key(AuditTrail *trail, AuditRecord *record)
{
	AuditShape *shape = record->shape;
	Jsonb	   *image = record->new != NULL ? record->new : record->old;
	JsonbParseState *state = NULL;
	JsonbValue	value;

	if (image == NULL || shape->nkeys == 0 ||
		record->op == AUDIT_TRUNCATE || record->op == AUDIT_MARKER)
		return NULL;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int k = 0; k < shape->nkeys; k++)
	{
		int			column = shape->keys[k];

		if (dbp_audit_image_value(image, shape->columns[column], &value))
			dbp_audit_push_member(&state, dbp_audit_today_name(trail, shape, column), &value);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * dbp_audit_mark_of returns the kind of mark that stands in place of a value, or
 * NULL for a value.
 */
char *
dbp_audit_mark_of(JsonbValue *value)
{
	JsonbValue	kind;

	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data) ||
		getKeyJsonValueFromContainer(value->val.binary.data, "$dbp", 4, &kind) == NULL ||
		kind.type != jbvString)
		return NULL;
	return pnstrdup(kind.val.string.val, kind.val.string.len);
}

/*
 * dbp_audit_value_known tells whether the log holds a value itself, and not a
 * mark in its place: redacted, omitted, erased.
 */
bool
dbp_audit_value_known(JsonbValue *value)
{
	char	   *mark = dbp_audit_mark_of(value);

	return mark == NULL || strcmp(mark, "jsonb") == 0 || strcmp(mark, "bytes") == 0;
}

/*
 * dbp_audit_is_redacted tells whether a value was kept from the log.
 */
bool
dbp_audit_is_redacted(JsonbValue *value)
{
	char	   *mark = dbp_audit_mark_of(value);

	return mark != NULL && strcmp(mark, "redacted") == 0;
}

/*
 * dbp_audit_known_values returns an image without the columns whose values are
 * not known.
 */
Jsonb *
dbp_audit_known_values(Jsonb *image)
{
	JsonbIterator *it = JsonbIteratorInit(&image->root);
	JsonbParseState *state = NULL;
	JsonbIteratorToken token;
	JsonbValue	name;
	JsonbValue	value;
	bool		all = true;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while ((token = JsonbIteratorNext(&it, &name, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&it, &value, true);
		if (!dbp_audit_value_known(&value))
		{
			all = false;
			continue;
		}
		pushJsonbValue(&state, WJB_KEY, &name);
		pushJsonbValue(&state, WJB_VALUE, &value);
	}
	return all ? image : JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * dbp_audit_append_equals appends a condition that a column of a type equals a
 * parameter, by the type's own operator whatever the search_path; false if
 * the type has none.
 */
bool
dbp_audit_append_equals(StringInfo sql, const char *column, Oid type, int param)
{
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_EQ_OPR);
	HeapTuple	tuple;
	Form_pg_operator operator;

	if (!OidIsValid(entry->eq_opr))
		return false;
	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(entry->eq_opr));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", entry->eq_opr);
	operator = (Form_pg_operator) GETSTRUCT(tuple);
	appendStringInfo(sql, " AND %s OPERATOR(%s.%s) $%d", column,
					 quote_identifier(get_namespace_name(operator->oprnamespace)),
					 NameStr(operator->oprname), param);
	ReleaseSysCache(tuple);
	return true;
}

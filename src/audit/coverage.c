/*-------------------------------------------------------------------------
 *
 * coverage.c
 *	  What is logged of a table: kept beside it, and told in the log.
 *
 * A past state can be told only if everything was logged since.  So whatever
 * may have changed what the triggers of a table log, whichever trigger it was
 * and by whichever command, what they log now is compared with what is known
 * of the table (audit_relation.coverage), and a difference makes a marker with
 * both.  A reader then needs the present triggers and the markers since.
 *
 * A dump is restored trigger by trigger; a table that has no shape in this
 * database yet is therefore looked at only when none is missing.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/coverage.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "audit/audit.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/sql.h"
#include "core/target.h"
#include "core/trigger.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/rel.h"

/*
 * dbp_audit_add_marker adds an event that is no row change to what will be
 * logged.  detail and before are JSON objects in text or NULL.  Its time is
 * now: the statement may have begun long ago, and then waited for a lock.
 */
AuditEntry *
dbp_audit_add_marker(int shape, const char *event, const char *detail, const char *before)
{
	StringInfoData text;
	AuditEntry *entry;
	Datum		image;

	initStringInfo(&text);
	appendStringInfo(&text, "{\"event\": \"%s\"", event);
	if (detail != NULL)
		appendStringInfo(&text, ", \"detail\": %s", detail);
	if (before != NULL)
		appendStringInfo(&text, ", \"before\": %s", before);
	appendStringInfoChar(&text, '}');
	image = DirectFunctionCall1(jsonb_in, CStringGetDatum(text.data));

	entry = dbp_audit_batch_add(AUDIT_MARKER, shape, GetCurrentCommandId(false));
	entry->statement_time = GetCurrentTimestamp();
	dbp_audit_batch_image(&entry->new, DatumGetJsonbP(image));
	return entry;
}

/*
 * dbp_audit_log_marker logs an event that is no row change; detail is a JSON
 * object in text or NULL.
 */
void
dbp_audit_log_marker(int shape, const char *event, const char *detail)
{
	(void) dbp_audit_add_marker(shape, event, detail, NULL);
	dbp_audit_batch_flush();
}

static bool
is_temporary(Relation rel)
{
	return rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP;
}

/*
 * dbp_audit_last_shape returns the last shape recorded of a table, 0 if there
 * is none, and whether that was in this database.  Shapes beyond their
 * sequence come from a restore that is still at work, when triggers may be
 * disabled and entry numbers are not yet set: they count for nothing.
 * Caller: SPI connected.
 */
int
dbp_audit_last_shape(Relation root, bool *this_life)
{
	DbpParam	params[2];
	DbpOwnerScope scope;
	int			shape = 0;

	*this_life = false;
	params[0] = DBP_PARAM(INT8OID, Int64GetDatum((int64) RelationGetRelid(root)));
	params[1] = DBP_PARAM_OR_NULL(REGCLASSOID, ObjectIdGetDatum(RelationGetRelid(root)),
								  is_temporary(root));
	dbp_enter_owner(&scope, dbp_audit_log_owner());
	if (dbp_sql_query_latest(is_temporary(root) ?
							 "SELECT shape, true FROM _dbpatterns.audit_shape"
							 " WHERE table_oid = $1 AND $2 IS NULL ORDER BY shape DESC LIMIT 1" :
							 "SELECT s.shape, s.table_oid = $1"
							 " FROM _dbpatterns.audit_relation r"
							 " JOIN _dbpatterns.audit_shape s USING (relation)"
							 " WHERE r.target = $2 AND s.shape <="
							 " pg_sequence_last_value('_dbpatterns.audit_shape_shape_seq')"
							 " ORDER BY s.shape DESC LIMIT 1", 2, params) > 0)
	{
		shape = DatumGetInt32(dbp_sql_value(0, 0, NULL));
		*this_life = DatumGetBool(dbp_sql_value(0, 1, NULL));
	}
	dbp_leave_owner(&scope);
	return shape;
}

/*
 * cover adds an operation to what is logged.
 */
static void
cover(AuditCoverage *coverage, const AuditOptions *options, char operation)
{
	static const char all[] = AUDIT_ALL_OPERATIONS;
	int			i = strchr(all, operation) - all;

	if (options->operations != NULL && strchr(options->operations, operation) == NULL)
		return;
	coverage->twice |= coverage->by[i];
	coverage->by[i] = true;
}

/*
 * dbp_audit_coverage finds out what the triggers of a table log.
 */
void
dbp_audit_coverage(Relation rel, AuditCoverage *coverage)
{
	memset(coverage, 0, sizeof(*coverage));
	coverage->missing = dbp_audit_own_trigger(rel, TRIGGER_TYPE_ROW) == NULL ||
		dbp_audit_own_trigger(rel, TRIGGER_TYPE_TRUNCATE) == NULL;
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = dbp_copy_trigger(&rel->trigdesc->triggers[i]);
		AuditOptions options;
		char	   *why;

		if (!dbp_audit_fires(trigger) || !dbp_audit_is_trigger(trigger))
			continue;
		/* With bad options every change is refused. */
		if (!dbp_audit_try_options(trigger, &options, &why))
			memset(&options, 0, sizeof(options));
		if (TRIGGER_FOR_TRUNCATE(trigger->tgtype))
			cover(coverage, &options, AUDIT_TRUNCATE);
		if (!TRIGGER_FOR_ROW(trigger->tgtype))
			continue;
		if (TRIGGER_FOR_INSERT(trigger->tgtype))
			cover(coverage, &options, AUDIT_INSERT);
		if (TRIGGER_FOR_UPDATE(trigger->tgtype))
			cover(coverage, &options, AUDIT_UPDATE);
		if (TRIGGER_FOR_DELETE(trigger->tgtype))
			cover(coverage, &options, AUDIT_DELETE);
		coverage->exclude = list_concat(coverage->exclude, options.exclude);
		coverage->redact = list_concat(coverage->redact, options.redact);
	}
	/* The server has none on foreign tables. */
	if (rel->rd_rel->relkind == RELKIND_FOREIGN_TABLE)
		coverage->by[lengthof(coverage->by) - 1] = true;

	for (int i = 0, n = 0; i < lengthof(coverage->by); i++)
	{
		if (coverage->by[i])
			coverage->operations[n++] = AUDIT_ALL_OPERATIONS[i];
	}
}

/*
 * dbp_audit_logs_all tells whether every change is logged, and once.
 */
bool
dbp_audit_logs_all(const AuditCoverage *coverage)
{
	return strcmp(coverage->operations, AUDIT_ALL_OPERATIONS) == 0 && !coverage->twice;
}

/*
 * print_coverage makes a JSON object of it, with the name of the partition
 * unless it is NULL.
 */
static char *
print_coverage(AuditCoverage *coverage, const char *partition)
{
	AuditOptions listed = {0};
	char	   *text;

	/* A partition has the options of its root. */
	listed.exclude = partition == NULL ? coverage->exclude : NIL;
	listed.redact = partition == NULL ? coverage->redact : NIL;
	listed.operations = coverage->operations;
	text = dbp_audit_print_options(&listed);

	if (coverage->twice)
		text = psprintf("%.*s, \"twice\": true}", (int) strlen(text) - 1, text);
	return text;
}

/*
 * known_coverage returns what is known of a table or a partition (by name,
 * else ""), in text, and whether it is the same as now; NULL if nothing is.
 */
static char *
known_coverage(Relation root, const char *partition, const char *now, bool *same)
{
	DbpParam	params[3];
	DbpOwnerScope scope;
	char	   *known = NULL;

	*same = false;
	if (is_temporary(root))
		return NULL;			/* another session's may have the same name */
	params[0] = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(RelationGetRelid(root)));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(partition));
	params[2] = DBP_PARAM(TEXTOID, CStringGetTextDatum(now));
	dbp_enter_owner(&scope, dbp_audit_log_owner());
	if (dbp_sql_query_latest("SELECT coverage ->> $2, coverage -> $2 = $3::jsonb"
							 " FROM _dbpatterns.audit_relation"
							 " WHERE target = $1 AND coverage -> $2 IS NOT NULL", 3, params) > 0)
	{
		known = dbp_sql_text(0, 0);
		*same = DatumGetBool(dbp_sql_value(0, 1, NULL));
	}
	dbp_leave_owner(&scope);
	return known;
}

static void
keep_coverage(Relation root, const char *partition, const char *now)
{
	DbpParam	params[3];
	DbpOwnerScope scope;

	if (is_temporary(root))
		return;
	params[0] = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(RelationGetRelid(root)));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(partition));
	params[2] = DBP_PARAM(TEXTOID, CStringGetTextDatum(now));
	dbp_enter_owner(&scope, dbp_audit_log_owner());
	(void) dbp_sql_query_latest("UPDATE _dbpatterns.audit_relation SET coverage ="
								" coalesce(coverage, '{}') || jsonb_build_object($2, $3::jsonb)"
								" WHERE target = $1", 3, params);
	dbp_leave_owner(&scope);
}

/*
 * dbp_audit_log_coverage logs an event that sets what is logged of a table,
 * which need not be a change.  Caller: SPI connected.
 */
void
dbp_audit_log_coverage(Relation root, int shape, const char *event, const char *detail)
{
	AuditCoverage coverage;
	char	   *now;
	char	   *before;
	bool		same;

	dbp_audit_coverage(root, &coverage);
	now = print_coverage(&coverage, NULL);
	before = known_coverage(root, "", now, &same);
	if (!same)
		keep_coverage(root, "", now);
	(void) dbp_audit_add_marker(shape, event, detail, before);
	dbp_audit_batch_flush();
}

/*
 * follow_table adds a marker if something else is logged of a table or a
 * partition than is known.
 */
static bool
follow_table(Relation root, Relation rel, AuditCoverage *coverage, AuditCoverage *of_root,
			 bool dropped)
{
	char	   *partition = rel == root ? NULL : dbp_relation_name(rel);
	char	   *now = print_coverage(coverage, partition);
	bool		this_life;
	int			shape = dbp_audit_last_shape(root, &this_life);
	char	   *before;
	bool		same;

	if (shape == 0 ||
		(!this_life && (coverage->missing || of_root->missing) && !dropped))
		return false;
	before = known_coverage(root, partition == NULL ? "" : partition, now, &same);
	if (before == NULL && partition != NULL)
		same = strcmp(now, print_coverage(of_root, partition)) == 0;
	if (same)
		return false;
	keep_coverage(root, partition == NULL ? "" : partition, now);
	if (partition != NULL)
	{
		StringInfoData detail;

		initStringInfo(&detail);
		appendStringInfoString(&detail, "{\"partition\": ");
		escape_json(&detail, partition);
		appendStringInfo(&detail, ", %s", now + 1);
		now = detail.data;
	}
	(void) dbp_audit_add_marker(shape, "triggers changed", now, before);
	return true;
}

/*
 * dbp_audit_follow_coverage looks at what is logged of a table or a partition,
 * and of partitions below it that are not logged like their root, and tells
 * whether it added markers.  dropped: triggers that are missing are known to
 * be gone.  Caller: SPI connected.
 */
bool
dbp_audit_follow_coverage(Oid relid, bool dropped)
{
	Relation	rel = table_open(relid, AccessShareLock);
	Oid			rootid = dbp_partition_root(RelationGetRelid(rel));
	Relation	root = table_open(rootid, AccessShareLock);
	AuditCoverage of_root;
	bool		any = false;
	ListCell   *lc;

	dbp_audit_coverage(root, &of_root);
	foreach(lc, rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ?
			find_all_inheritors(relid, AccessShareLock, NULL) : list_make1_oid(relid))
	{
		Relation	part = lfirst_oid(lc) == rootid ? root : table_open(lfirst_oid(lc), NoLock);
		AuditCoverage coverage;

		dbp_audit_coverage(part, &coverage);
		if (lfirst_oid(lc) == relid || coverage.twice != of_root.twice ||
			strcmp(coverage.operations, of_root.operations) != 0)
			any |= follow_table(root, part, &coverage, &of_root, dropped);
		if (part != root)
			table_close(part, NoLock);
	}
	table_close(root, NoLock);
	table_close(rel, NoLock);
	return any;
}

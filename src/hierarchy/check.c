/*-------------------------------------------------------------------------
 *
 * check.c
 *	  What stands between a table and an exact closure table.
 *
 * Table and closure table are read under one snapshot, so that nothing that is
 * committed meanwhile looks like a difference, and without a lock that a
 * writer would notice.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/check.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "compat/compat.h"
#include "core/append.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/registry.h"
#include "core/sql.h"
#include "core/target.h"
#include "funcapi.h"
#include "hierarchy/hierarchy.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(dbpatterns_closure_check);

/* What a check of one hierarchy needs. */
typedef struct Check
{
	FunctionCallInfo fcinfo;
	Relation	target;
	HierSpec   *spec;
	HierState  *state;			/* NULL: not found yet */
	char	   *object;			/* name of the target */
	char	   *storage;		/* name of the closure table */
} Check;

#define ENABLE_AGAIN "call dbpatterns.closure_enable again, then dbpatterns.closure_sync"

/* ---- triggers ------------------------------------------------------------ */

/*
 * check_fire compares when the triggers fire with what was asked for: ALTER
 * TABLE ... ENABLE TRIGGER ALL, as in a restore, makes all of them ordinary.
 */
static void
check_fire(Check *check, Relation target)
{
	DbpOwnerScope scope;
	DbpParam	params[3];

	params[0] = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(RelationGetRelid(target)));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(dbp_hier_pattern(check->spec->kind)));
	params[2] = DBP_PARAM(TEXTOID, CStringGetTextDatum(check->spec->storage));
	dbp_enter_owner(&scope, dbp_relation_owner(dbp_own_relation("registry")));
	if (dbp_sql_query("SELECT FROM _dbpatterns.registry WHERE target = $1 AND pattern = $2"
					  " AND options -> $3 ->> 'fire' = 'always'", 3, params) > 0 &&
		!dbp_hier_fires_always(target, check->spec))
		dbp_finding(check->fcinfo, DBP_WARNING, dbp_relation_name(target),
					psprintf("the triggers of closure table \"%s\" were to fire always, and do not",
							 check->spec->storage),
					"call the enabling function again with fire => 'always'");
	dbp_leave_owner(&scope);
}

/*
 * check_triggers looks for the triggers of a hierarchy on a table or on one of
 * its partitions.
 */
static void
check_triggers(Check *check, Relation rel)
{
	List	   *triggers = dbp_hier_storage_triggers(rel, check->spec);
	char	   *object = dbp_relation_name(rel);

	for (int i = 0; i < HIER_NPARTS; i++)
	{
		const HierPart *part = &dbp_hier_parts[i];
		Trigger    *found = NULL;
		ListCell   *lc;

		foreach(lc, triggers)
		{
			Trigger    *trigger = lfirst(lc);

			if ((trigger->tgtype & TRIGGER_TYPE_ROW) == (part->type & TRIGGER_TYPE_ROW) &&
				(trigger->tgtype & part->type) == part->type)
				found = trigger;
		}
		if (found == NULL)
			dbp_finding(check->fcinfo, DBP_ERROR, object,
						psprintf("the trigger for %s is missing, closure table \"%s\" falls behind",
								 part->what, check->spec->storage),
						ENABLE_AGAIN);
		else if (found->tgenabled == TRIGGER_DISABLED)
			dbp_finding(check->fcinfo, DBP_ERROR, object,
						psprintf("the trigger for %s is disabled, closure table \"%s\" falls behind",
								 part->what, check->spec->storage),
						psprintf("ALTER TABLE %s ENABLE TRIGGER %s, then dbpatterns.closure_sync",
								 object, quote_identifier(found->tgname)));
		else if (found->tgenabled == TRIGGER_FIRES_ON_REPLICA)
			dbp_finding(check->fcinfo, DBP_WARNING, object,
						psprintf("the trigger for %s fires for replicated changes only",
								 part->what),
						ENABLE_AGAIN);
	}
}

static void
check_partitions(Check *check)
{
	ListCell   *lc;

	if (check->target->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		return;
	foreach(lc, find_all_inheritors(RelationGetRelid(check->target), AccessShareLock, NULL))
	{
		Relation	part;

		if (lfirst_oid(lc) == RelationGetRelid(check->target))
			continue;
		part = table_open(lfirst_oid(lc), NoLock);
		check_triggers(check, part);
		table_close(part, NoLock);
	}
}

/* ---- indexes and columns ------------------------------------------------- */

/*
 * check_target looks at columns and indexes of the target, and tells whether
 * its rows can be read as a hierarchy.
 */
static bool
check_target(Check *check)
{
	AttrNumber	key[HIER_MAX_KEY];
	AttrNumber	parent[HIER_MAX_KEY];
	int			n = list_length(check->spec->key);
	bool		good = true;
	ListCell   *lc;

	foreach(lc, dbp_hier_spec_columns(check->spec, true))
	{
		if (get_attnum(RelationGetRelid(check->target), lfirst(lc)) != InvalidAttrNumber)
			continue;
		dbp_finding(check->fcinfo, DBP_ERROR, check->object,
					psprintf("column \"%s\" of hierarchy \"%s\" does not exist, every change is refused",
							 (char *) lfirst(lc), check->spec->storage),
					"call dbpatterns.closure_disable, then dbpatterns.closure_enable with existing columns");
		good = false;
	}
	if (!good || check->spec->kind != HIER_TREE)
		return good;

	for (int i = 0; i < n; i++)
	{
		key[i] = dbp_column_number(check->target, list_nth(check->spec->key, i));
		parent[i] = dbp_column_number(check->target, list_nth(check->spec->parent, i));
		if (!dbp_att_holds_no_null(RelationGetDescr(check->target), key[i] - 1))
			good = false;
	}
	good = good && dbp_hier_has_index(check->target, key, n, false, true);
	if (!good)
		dbp_finding(check->fcinfo, DBP_ERROR, check->object,
					psprintf("the key of hierarchy \"%s\" is not unique and NOT NULL any more",
							 check->spec->storage),
					"create a primary key or a unique index on its columns, and set them NOT NULL");
	if (!dbp_hier_has_index(check->target, parent, n, false, false))
		dbp_finding(check->fcinfo, DBP_WARNING, check->object,
					psprintf("there is no usable index on the parent columns of hierarchy \"%s\", finding the children of a row is slow",
							 check->spec->storage),
					"create an index that begins with these columns");
	return good;
}

/*
 * check_storage looks at the closure table, and tells whether it can be
 * compared.
 */
static bool
check_storage(Check *check)
{
	Oid			storageid = dbp_hier_storage_id(RelationGetRelid(check->target), check->spec);
	Relation	storage = OidIsValid(storageid) ?
		try_relation_open(storageid, AccessShareLock) : NULL;
	HierStorage columns;
	AttrNumber	attnums[2 * HIER_MAX_KEY];
	int			n;
	int			own;
	bool		good = false;

	if (storage == NULL)
	{
		dbp_finding(check->fcinfo, DBP_ERROR, check->object,
					psprintf("closure table %s does not exist, every change is refused",
							 check->storage),
					"call dbpatterns.closure_disable, then dbpatterns.closure_enable");
		return false;
	}
	if (storage->rd_rel->relowner != check->target->rd_rel->relowner)
	{
		dbp_finding(check->fcinfo, DBP_ERROR, check->storage,
					psprintf("it does not belong to the owner of %s, every change is refused",
							 check->object),
					psprintf("ALTER TABLE %s OWNER TO %s", check->storage,
							 quote_identifier(GetUserNameFromId(check->target->rd_rel->relowner,
																false))));
		relation_close(storage, AccessShareLock);
		return false;
	}
	check->state = dbp_hier_target_state(check->target, check->spec);
	n = check->state->type.n;
	own = n - check->spec->nscope;
	if (storage->rd_rel->relkind != RELKIND_RELATION ||
		!dbp_hier_storage_columns(check->state, storage, &columns))
		dbp_finding(check->fcinfo, DBP_ERROR, check->storage,
					"this is not the closure table that closure_enable created",
					"call dbpatterns.closure_disable with drop_closure, then dbpatterns.closure_enable");
	else
	{
		good = true;
		memcpy(attnums, columns.ancestor, sizeof(AttrNumber) * n);
		memcpy(attnums + n, columns.descendant + check->spec->nscope, sizeof(AttrNumber) * own);
		if (!dbp_hier_has_index(storage, attnums, n + own, true, true))
			dbp_finding(check->fcinfo, DBP_ERROR, check->storage,
						"the primary key is missing or not valid, every change is refused",
						"create it again on scope, ancestor and descendant");
		memcpy(attnums, columns.descendant, sizeof(AttrNumber) * n);
		memcpy(attnums + n, columns.ancestor + check->spec->nscope, sizeof(AttrNumber) * own);
		if (!dbp_hier_has_index(storage, attnums, n + own, true, false))
			dbp_finding(check->fcinfo, DBP_ERROR, check->storage,
						"the index led by the descendant is missing or not valid, every change is refused",
						"create it again on scope, descendant and ancestor, with depth included");
	}
	relation_close(storage, AccessShareLock);
	return good;
}

/* ---- pairs --------------------------------------------------------------- */

static void
report_pair(const HierDifference *difference, void *arg)
{
	Check	   *check = arg;
	HierKeyType *type = &check->state->type;
	char	   *pair = psprintf("pair (%s, %s)", dbp_key_text(type, difference->ancestor),
								dbp_key_text(type, difference->descendant));
	char	   *problem = difference->problem == HIER_MISSING ?
		psprintf("%s is missing: expected depth %d", pair, difference->expected) :
		difference->problem == HIER_EXTRA ?
		psprintf("%s should not be there: found depth %d", pair, difference->found) :
		psprintf("%s has depth %d: expected depth %d", pair, difference->found,
				 difference->expected);

	dbp_finding(check->fcinfo, DBP_ERROR, check->storage, problem, "dbpatterns.closure_sync");
}

static void
report_facts(Check *check, const HierWholeFacts *facts)
{
	HierSpec   *spec = check->spec;

	if (facts->cycles != NULL)
		dbp_finding(check->fcinfo, DBP_ERROR, check->object,
					psprintf("rows form cycles, and are not compared: %s", facts->cycles),
					"give one row of each cycle another parent, then dbpatterns.closure_sync");
	if (facts->norphans > 0)
		dbp_finding(check->fcinfo, spec->orphan_error ? DBP_ERROR : DBP_INFO, check->object,
					psprintf(facts->norphans == 1 ?
							 "%lld row names a parent that does not exist" :
							 "%lld rows name a parent that does not exist",
							 (long long) facts->norphans),
					spec->orphan_error ?
					"insert the parents, or set the columns NULL" :
					"nothing to do: it counts as a root until its parent arrives");
	if (spec->max_depth > 0 && facts->max_depth > spec->max_depth)
		dbp_finding(check->fcinfo, DBP_ERROR, check->object,
					psprintf("hierarchy \"%s\" has nodes at depth %d, its limit is %d",
							 spec->storage, facts->max_depth, spec->max_depth),
					"call dbpatterns.closure_enable again with a greater max_depth");
}

static bool
may_read(Relation rel)
{
	return pg_class_aclcheck(RelationGetRelid(rel), GetUserId(), ACL_SELECT) == ACLCHECK_OK &&
		check_enable_rls(RelationGetRelid(rel), InvalidOid, true) != RLS_ENABLED;
}

/*
 * compare_pairs compares the closure table with its table.
 */
static void
compare_pairs(Check *check)
{
	const HierWhole *whole = dbp_hier_whole(check->spec->kind);
	MemoryContext cxt;
	DbpOwnerScope scope;
	Snapshot	snapshot;
	HierWholeFacts facts = {NULL};
	void	   *hierarchy;

	if (whole == NULL)
		return;
	if (!may_read(check->target))
	{
		dbp_finding(check->fcinfo, DBP_INFO, check->object,
					psprintf("closure table %s was not compared, because you may not read all rows",
							 check->storage),
					"have it checked by the owner of the table");
		return;
	}
	cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns hierarchy",
								ALLOCSET_DEFAULT_SIZES);
	snapshot = RegisterSnapshot(GetActiveSnapshot());
	/* Functions of types run as the owner of the table that uses them. */
	dbp_enter_owner(&scope, check->target->rd_rel->relowner);
	hierarchy = whole->load(check->state, snapshot, cxt);
	whole->find(check->state, hierarchy, &facts);
	report_facts(check, &facts);
	whole->compare(check->state, hierarchy, check->state->storageid, snapshot, report_pair,
				   check);
	dbp_leave_owner(&scope);
	UnregisterSnapshot(snapshot);
	MemoryContextDelete(cxt);
}

/* ---- counts --------------------------------------------------------------- */

/*
 * check_counts compares the numbers of children and descendants with the
 * closure table.
 */
static void
check_counts(Check *check)
{
	HierSpec   *spec = check->spec;
	Oid			targetid = RelationGetRelid(check->target);
	char	   *schema = get_namespace_name(RelationGetNamespace(check->target));
	char	   *object = quote_qualified_identifier(schema, dbp_counts_name(spec));
	uint64		rows;

	if (!spec->counters)
		return;
	if (!OidIsValid(dbp_counts_id(targetid, spec)))
	{
		dbp_finding(check->fcinfo, DBP_ERROR, object,
					"the table of counts does not exist, every change is refused",
					"call dbpatterns.closure_enable with counters => false, then with true");
		return;
	}
	if (!may_read(check->target))
		return;
	rows = dbp_counts_differences(check->state);
	for (uint64 i = 0; i < rows; i++)
	{
		char	   *children = dbp_sql_text(i, 3);

		dbp_finding(check->fcinfo, DBP_ERROR, object,
					dbp_sql_text(i, 1) == NULL ?
					psprintf("node %s is counted, and is not there", dbp_sql_text(i, 0)) :
					children == NULL ?
					psprintf("node %s is not counted", dbp_sql_text(i, 0)) :
					psprintf("node %s has %s children and %s descendants: expected %s and %s",
							 dbp_sql_text(i, 0), children, dbp_sql_text(i, 4),
							 dbp_sql_text(i, 1), dbp_sql_text(i, 2)),
					"dbpatterns.closure_sync");
	}
}

/* ---- all of it ----------------------------------------------------------- */

static void
check_hierarchy(FunctionCallInfo fcinfo, Relation target, HierSpec *spec)
{
	Check		check = {fcinfo, target, spec};
	bool		comparable;

	check.object = dbp_relation_name(target);
	check.storage = dbp_hier_storage_name(RelationGetRelid(target), spec);
	check_triggers(&check, target);
	check_fire(&check, target);
	check_partitions(&check);
	comparable = check_target(&check);
	if (comparable && check_storage(&check))
	{
		compare_pairs(&check);
		check_counts(&check);
	}
}

/*
 * check_registry finds hierarchies that are listed but have no trigger left.
 */
static void
check_registry(FunctionCallInfo fcinfo, Relation target, HierKind kind, List *specs)
{
	const char *pattern = dbp_hier_pattern(kind);
	DbpParam	params[2];
	DbpOwnerScope scope;
	uint64		rows;

	params[0] = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(RelationGetRelid(target)));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(pattern));
	dbp_enter_owner(&scope, dbp_relation_owner(dbp_own_relation("registry")));
	rows = dbp_sql_query("SELECT jsonb_object_keys(options) FROM _dbpatterns.registry"
						 " WHERE target = $1 AND pattern = $2 ORDER BY 1", 2, params);
	dbp_leave_owner(&scope);
	for (uint64 i = 0; i < rows; i++)
	{
		char	   *storage = dbp_sql_text(i, 0);
		bool		found = false;
		ListCell   *lc;

		foreach(lc, specs)
			found |= strcmp(((HierSpec *) lfirst(lc))->storage, storage) == 0;
		if (!found)
			dbp_finding(fcinfo, DBP_ERROR, dbp_relation_name(target),
						psprintf("all triggers of %s table \"%s\" are missing, it falls behind",
								 kind == HIER_NESTED ? "nested set" : "closure", storage),
						psprintf("call dbpatterns.%s_enable again, or dbpatterns.%s_disable",
								 pattern, pattern));
	}
}

/* What is checked: tables of a kind of hierarchies. */
typedef struct Work
{
	FunctionCallInfo fcinfo;
	HierKind	kind;
	HierCheck	check;
	Oid			relid;
} Work;

static void
check_table(void *arg)
{
	Work	   *work = arg;
	Relation	target = try_relation_open(dbp_partition_root(work->relid), AccessShareLock);
	List	   *specs;
	ListCell   *lc;

	if (target == NULL)
		return;
	specs = dbp_hier_pattern_specs(target, work->kind);
	check_registry(work->fcinfo, target, work->kind, specs);
	foreach(lc, specs)
		work->check(work->fcinfo, target, lfirst(lc));
	relation_close(target, AccessShareLock);
}

/*
 * dbp_hier_check checks the hierarchies of a kind on the table that is the first
 * argument, or on all tables when that is NULL.
 */
void
dbp_hier_check(FunctionCallInfo fcinfo, HierKind kind, HierCheck check)
{
	Work		work = {fcinfo, kind, check, InvalidOid};
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	if (!PG_ARGISNULL(0))
	{
		work.relid = PG_GETARG_OID(0);
		check_table(&work);
	}
	foreach(lc, PG_ARGISNULL(0) ? dbp_hier_registered(kind) : NIL)
	{
		ErrorData  *error;

		/* One table that cannot be looked at must not hide the others. */
		work.relid = lfirst_oid(lc);
		error = dbp_attempt(check_table, &work, true);
		if (error != NULL)
			dbp_finding(fcinfo, DBP_ERROR, dbp_relation_name_by_oid(work.relid),
						psprintf("it cannot be checked: %s", error->message),
						psprintf("call dbpatterns.%s_check for it with the rights it takes",
								 dbp_hier_pattern(kind)));
	}
	SPI_finish();
}

/*
 * closure_check(target regclass) returns what is wrong with the closure tables
 * of a table, or of all tables when target is NULL: one row for each pair that
 * is missing, extra or of another depth, and for triggers, columns and indexes
 * that are missing or disabled, cycles and orphans; severity (error: the
 * closure table is wrong or will be; warning; info), object, problem, remedy.
 *
 * Changes nothing, so that a second call returns the same.  Raises nothing of
 * its own, except 22023 for a trigger argument that somebody wrote by hand.
 * Locks ACCESS SHARE; one snapshot for table and closure table.  Pairs are
 * compared where the caller may read all rows, as the owner of the target;
 * everything else is shown to everybody.
 */
Datum
dbpatterns_closure_check(PG_FUNCTION_ARGS)
{
	dbp_hier_check(fcinfo, HIER_TREE, check_hierarchy);
	PG_RETURN_NULL();
}

/*-------------------------------------------------------------------------
 *
 * install.c
 *	  Switching a hierarchy on, over and off.
 *
 * One way for all kinds.  The order matters: what the rows are refused for
 * comes before anything of them is kept, indexes come after the rows, and the
 * triggers last, under the lock that has kept writers out all the time.
 *
 * Callers, but for dbp_hier_disable, are connected to SPI, hold SHARE ROW
 * EXCLUSIVE or more on the target and all below it, have it closed, and have
 * checked the spec.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/install.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/target.h"
#include "core/version.h"
#include "hierarchy/hierarchy.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

typedef struct Reading
{
	Relation	target;
	DbpOwnerScope scope;
	HierState  *state;
} Reading;

/*
 * begin_reading prepares for work on all rows of a table that are committed.
 * Comparing values of a key may run functions of users, so the owner does it.
 */
static void
begin_reading(Reading *reading, Oid targetid, const HierSpec *spec)
{
	CommandCounterIncrement();
	reading->target = table_open(targetid, NoLock);
	dbp_enter_owner(&reading->scope, reading->target->rd_rel->relowner);
	PushActiveSnapshot(GetLatestSnapshot());
	reading->state = dbp_hier_target_state(reading->target, spec);
}

static void
end_reading(Reading *reading)
{
	PopActiveSnapshot();
	dbp_leave_owner(&reading->scope);
	table_close(reading->target, NoLock);
	CommandCounterIncrement();
}

static void
read_rows(Oid targetid, const HierSpec *spec, Oid storageid, const HierWork *work)
{
	Reading		reading;

	begin_reading(&reading, targetid, spec);
	work->fill(reading.state, storageid);
	end_reading(&reading);
}

static void
make_storage(Oid targetid, const HierSpec *spec, const HierWork *work)
{
	work->create(targetid, spec);
	read_rows(targetid, spec, dbp_hier_storage_id(targetid, spec), work);
	work->finish(targetid, spec);
	dbp_hier_copy_grants(targetid, spec);
}

/*
 * switch_counts makes or drops the table of counts as a spec asks for it.
 */
static void
switch_counts(Oid targetid, const HierSpec *spec)
{
	bool		exists = dbp_counts_exist(targetid, spec);
	Reading		reading;

	if (spec->counters && !exists)
	{
		dbp_counts_create(targetid, spec);
		begin_reading(&reading, targetid, spec);
		(void) dbp_counts_repair(reading.state);
		end_reading(&reading);
	}
	else if (!spec->counters && exists)
		dbp_hier_command(psprintf("DROP TABLE %s",
								  dbp_relation_name_by_oid(dbp_counts_id(targetid, spec))));
}

static void
make_readers(Oid targetid, const HierSpec *old, const HierSpec *spec, const HierWork *work)
{
	Relation	target;

	if (work->create_readers == NULL)
		return;
	/* Those of the same names are replaced, which keeps rights and views. */
	if (old != NULL && strcmp(old->prefix, spec->prefix) != 0)
		work->drop_readers(targetid, old);
	target = table_open(targetid, NoLock);
	work->create_readers(target, spec);
	table_close(target, NoLock);
	dbp_hier_depend_readers(targetid, spec);
}

/*
 * require_same_columns raises unless a hierarchy can become another one without
 * being built anew.
 */
static void
require_same_columns(Relation target, const HierSpec *old, const HierSpec *spec)
{
	if (!dbp_hier_same_columns(old, spec))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s of table %s is over other columns",
						dbp_hier_storage_name(RelationGetRelid(target), old),
						dbp_relation_name(target)),
				 errdetail("It has key (%s) and parent (%s).", dbp_hier_print_columns(old->key),
						   dbp_hier_print_columns(old->parent)),
				 errhint("Call dbpatterns.%s_disable first, or give this one another name in argument \"%s\".",
						 dbp_hier_pattern(old->kind), dbp_hier_pattern(old->kind))));
}

/*
 * is_stricter tells whether rows that one spec allows may not be allowed by the
 * other.
 */
static bool
is_stricter(const HierSpec *spec, const HierSpec *old)
{
	return (spec->orphan_error && !old->orphan_error) ||
		(spec->max_depth > 0 && (old->max_depth == 0 || spec->max_depth < old->max_depth));
}

/*
 * dbp_hier_install makes a table carry a hierarchy as the spec says, whatever
 * it has of it already, and returns the storage's OID.  If all is there, it
 * says so.
 */
Oid
dbp_hier_install(Oid targetid, const HierSpec *spec, bool always, const HierWork *work)
{
	Relation	target = table_open(targetid, NoLock);
	HierSpec   *old = dbp_hier_existing(target, spec);
	bool		intact = old != NULL && dbp_hier_is_intact(targetid, old);
	bool		altered = old == NULL ||
		strcmp(dbp_hier_print_spec(old), dbp_hier_print_spec(spec)) != 0;
	bool		fresh = old == NULL || !OidIsValid(dbp_hier_storage_id(targetid, spec));

	if (old != NULL)
		require_same_columns(target, old, spec);
	table_close(target, NoLock);

	if (fresh)
		make_storage(targetid, spec, work);
	else if (altered && is_stricter(spec, old))
		read_rows(targetid, spec, InvalidOid, work);
	if (altered || fresh)
		switch_counts(targetid, spec);
	if (altered || fresh)
		make_readers(targetid, old, spec, work);

	if (dbp_hier_set_triggers(targetid, spec, always) || altered || fresh)
		dbp_hier_register(targetid, spec->kind);
	else
		ereport(NOTICE,
				(errmsg("%s of table %s is already kept with these settings",
						dbp_hier_storage_name(targetid, spec),
						dbp_relation_name_by_oid(targetid))));
	if (!fresh && !intact)
		dbp_hier_resync(targetid, spec);
	return dbp_hier_storage_id(targetid, spec);
}

/*
 * remove_hierarchy takes a hierarchy off a table; its storage becomes a table
 * like any other, or is dropped.
 */
static void
remove_hierarchy(Oid targetid, const HierSpec *spec, bool drop_storage, const HierWork *work)
{
	Oid			storageid = dbp_hier_storage_id(targetid, spec);
	char	   *name = dbp_hier_storage_name(targetid, spec);

	(void) dbp_hier_drop_triggers(targetid, spec);
	if (work->drop_readers != NULL)
		work->drop_readers(targetid, spec);
	dbp_hier_register(targetid, spec->kind);
	if (!OidIsValid(storageid))
		return;
	if (drop_storage)
		dbp_hier_command(psprintf("DROP TABLE %s", name));
	else
	{
		dbp_hier_release_storage(targetid, storageid);
		ereport(NOTICE,
				(errmsg("table %s is kept, and no longer follows table %s", name,
						dbp_relation_name_by_oid(targetid)),
				 errhint("Drop it when you do not need it.")));
	}
}

/*
 * dbp_hier_disable does what closure_disable and nested_set_disable do: the
 * arguments are a target, which is not NULL, the name of a storage, and whether
 * to drop it.  what: what a table is said not to have that has none of the kind.
 */
void
dbp_hier_disable(FunctionCallInfo fcinfo, HierKind kind, const char *what,
				 const HierWork *work)
{
	Oid			relid = PG_GETARG_OID(0);
	char	   *storage = dbp_hier_name_argument(fcinfo, 1);
	Relation	target;
	HierSpec   *spec = NULL;

	(void) dbp_relation_name_by_oid(relid); /* raises if there is none */
	dbp_check_version();
	if (get_rel_relispartition(relid))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is a partition", dbp_relation_name_by_oid(relid)),
				 errhint("Name the partitioned table %s.",
						 dbp_relation_name_by_oid(dbp_partition_root(relid)))));

	SPI_connect();
	(void) dbp_lock_tree(relid, AccessExclusiveLock);
	target = relation_open(relid, NoLock);
	if (storage == NULL && dbp_hier_pattern_specs(target, kind) == NIL)
		ereport(NOTICE,
				(errmsg("table %s has no %s", dbp_relation_name(target), what)));
	else if (kind == HIER_NESTED)
		spec = dbp_hier_find_spec(target, kind, storage);
	else
		spec = dbp_hier_find_closure(target, storage);
	relation_close(target, NoLock);
	if (spec != NULL)
		remove_hierarchy(relid, spec, !PG_ARGISNULL(2) && PG_GETARG_BOOL(2), work);
	SPI_finish();
}

/*
 * dbp_hier_resync brings a storage in line with rows that came or left without
 * firing triggers, and says how much that was.
 */
void
dbp_hier_resync(Oid targetid, const HierSpec *spec)
{
	Reading		reading;
	int64		repaired;

	begin_reading(&reading, targetid, spec);
	repaired = dbp_hier_sync(reading.state);
	end_reading(&reading);
	if (repaired > 0)
		ereport(NOTICE,
				(errmsg("%lld rows of %s were brought in line with table %s",
						(long long) repaired, dbp_hier_storage_name(targetid, spec),
						dbp_relation_name_by_oid(targetid))));
}

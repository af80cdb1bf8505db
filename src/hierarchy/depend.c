/*-------------------------------------------------------------------------
 *
 * depend.c
 *	  What the server itself refuses to drop or alter.
 *
 * The parts of a hierarchy are tied together in pg_depend, so that the server
 * does the right thing even where event triggers do not fire:
 *
 * storage and its reader functions -> target (auto): they go with it
 * triggers -> columns of target and storage: those cannot be dropped, nor get
 *		another type, nor can the storage be dropped alone; with CASCADE the
 *		triggers go, all of them
 * statement triggers of partitions -> those of the root (auto): they go with it
 *
 * A dump does not carry these; they are made again when the triggers are, by
 * the event trigger or the next closure_enable.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/depend.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "compat/compat.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/target.h"
#include "core/trigger.h"
#include "hierarchy/hierarchy.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/*
 * depends tells whether an object depends on another one, or on a part of it,
 * in the given way.
 */
static bool
depends(Oid classid, Oid objid, Oid refclassid, Oid refobjid, char type)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&keys[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(classid));
	ScanKeyInit(&keys[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(objid));
	scan = systable_beginscan(depend, DependDependerIndexId, true, NULL, 2, keys);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend row = (Form_pg_depend) GETSTRUCT(tuple);

		found = row->refclassid == refclassid && row->refobjid == refobjid &&
			row->deptype == type;
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	return found;
}

static void
add(Oid classid, Oid objid, Oid refclassid, Oid refobjid, int32 column, DependencyType type)
{
	ObjectAddress depender;
	ObjectAddress referenced;

	ObjectAddressSet(depender, classid, objid);
	ObjectAddressSubSet(referenced, refclassid, refobjid, column);
	recordDependencyOn(&depender, &referenced, type);
}

/*
 * tie_columns makes a trigger depend on the columns that its hierarchy uses.
 * What the server recorded for a WHEN clause is among them.
 */
static void
tie_columns(Oid triggerid, Relation target, Relation storage, const HierSpec *spec)
{
	ListCell   *lc;

	deleteDependencyRecordsForClass(TriggerRelationId, triggerid, RelationRelationId,
									DEPENDENCY_NORMAL);
	foreach(lc, dbp_hier_spec_columns(spec, true))
		add(TriggerRelationId, triggerid, RelationRelationId, RelationGetRelid(target),
			dbp_column_number(target, lfirst(lc)), DEPENDENCY_NORMAL);
	for (AttrNumber i = 1; i <= RelationGetNumberOfAttributes(storage); i++)
	{
		if (!TupleDescAttr(RelationGetDescr(storage), i - 1)->attisdropped)
			add(TriggerRelationId, triggerid, RelationRelationId, RelationGetRelid(storage), i,
				DEPENDENCY_NORMAL);
	}
}

/*
 * tie_partition makes the statement triggers of a partition go with those of
 * its root.
 */
static void
tie_partition(Relation rel, Oid rootid, List *triggers)
{
	ListCell   *lc;

	foreach(lc, triggers)
	{
		Trigger    *trigger = lfirst(lc);
		Oid			rootid_trigger = get_trigger_oid(rootid, trigger->tgname, true);

		if (!trigger->tgisclone && OidIsValid(rootid_trigger) &&
			!depends(TriggerRelationId, trigger->tgoid, TriggerRelationId, rootid_trigger,
					 DEPENDENCY_AUTO))
			add(TriggerRelationId, trigger->tgoid, TriggerRelationId, rootid_trigger, 0,
				DEPENDENCY_AUTO);
	}
}

/*
 * may_tie tells whether the current user may make a table the storage of a
 * hierarchy of rel.
 */
static bool
may_tie(Relation rel, Oid storageid)
{
	AttrNumber	depth = get_attnum(storageid, "depth");

	return get_rel_relkind(storageid) == RELKIND_RELATION &&
		!get_rel_relispartition(storageid) &&
		!OidIsValid(dbp_hier_target_of(storageid)) &&
		dbp_relation_owner(storageid) == rel->rd_rel->relowner &&
		object_ownercheck(RelationRelationId, RelationGetRelid(rel), GetUserId()) &&
		depth != InvalidAttrNumber && get_atttype(storageid, depth) == INT4OID;
}

/*
 * dbp_hier_depend ties the triggers of a hierarchy that one table has, and the
 * storage.  What is tied already stays as it is.  Whoever may create triggers
 * can name any table in their argument: so a storage is tied only for the owner
 * of both tables, and only if it looks like one.
 */
void
dbp_hier_depend(Oid relid, const HierSpec *spec)
{
	Relation	rel;
	Relation	storage;
	Oid			storageid;
	List	   *triggers;
	ListCell   *lc;

	CommandCounterIncrement();
	rel = table_open(relid, AccessShareLock);
	triggers = dbp_hier_storage_triggers(rel, spec);
	storageid = dbp_hier_storage_id(relid, spec);
	if (rel->rd_rel->relispartition)
		tie_partition(rel, dbp_partition_root(relid), triggers);
	else if (OidIsValid(storageid) &&
			 (dbp_hier_target_of(storageid) == relid || may_tie(rel, storageid)))
	{
		storage = table_open(storageid, AccessShareLock);
		foreach(lc, triggers)
		{
			Oid			triggerid = ((Trigger *) lfirst(lc))->tgoid;

			if (!depends(TriggerRelationId, triggerid, RelationRelationId, storageid,
						 DEPENDENCY_NORMAL))
				tie_columns(triggerid, rel, storage, spec);
		}
		if (!depends(RelationRelationId, storageid, RelationRelationId, relid, DEPENDENCY_AUTO))
			add(RelationRelationId, storageid, RelationRelationId, relid, 0, DEPENDENCY_AUTO);
		table_close(storage, NoLock);
	}
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/*
 * dbp_hier_depend_readers makes the functions that read a storage go with it:
 * those whose names begin with the prefix and which depend on it or on the
 * target.
 */
void
dbp_hier_depend_readers(Oid targetid, const HierSpec *spec)
{
	Oid			storageid = dbp_hier_storage_id(targetid, spec);
	DbpParam	params[4];
	uint64		rows;

	if (!OidIsValid(storageid) ||
		dbp_relation_owner(storageid) != dbp_relation_owner(targetid))
		return;
	params[0] = DBP_PARAM(OIDOID, ObjectIdGetDatum(get_rel_namespace(targetid)));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(psprintf("%s__", spec->prefix)));
	params[2] = DBP_PARAM(OIDOID, ObjectIdGetDatum(storageid));
	params[3] = DBP_PARAM(OIDOID, ObjectIdGetDatum(targetid));
	rows = dbp_sql_query_latest("SELECT p.oid FROM pg_catalog.pg_proc p"
								" WHERE p.pronamespace OPERATOR(pg_catalog.=) $1"
								" AND pg_catalog.starts_with(p.proname::pg_catalog.text, $2)"
								" AND p.proowner OPERATOR(pg_catalog.=)"
								"  (SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) $4)"
								" AND EXISTS (SELECT FROM pg_catalog.pg_depend d"
								"  WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass"
								"  AND d.objid OPERATOR(pg_catalog.=) p.oid"
								"  AND (d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
								"   AND d.refobjid OPERATOR(pg_catalog.=) ANY (ARRAY[$3, $4])"
								"   OR d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass"
								"   AND d.refobjid OPERATOR(pg_catalog.=) (SELECT c.reltype FROM pg_catalog.pg_class c"
								"    WHERE c.oid OPERATOR(pg_catalog.=) $4)))"
								" ORDER BY 1", 4, params);
	for (uint64 i = 0; i < rows; i++)
	{
		Oid			function = DatumGetObjectId(dbp_sql_value(i, 0, NULL));

		if (!depends(ProcedureRelationId, function, RelationRelationId, storageid,
					 DEPENDENCY_AUTO))
			add(ProcedureRelationId, function, RelationRelationId, storageid, 0,
				DEPENDENCY_AUTO);
	}
	CommandCounterIncrement();
}

/*
 * auto_tables returns the tables that a table depends on automatically, or those
 * that so depend on it.
 */
static List *
auto_tables(Oid relid, bool dependers)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	List	   *tables = NIL;

	ScanKeyInit(&keys[0], dependers ? Anum_pg_depend_refclassid : Anum_pg_depend_classid,
				BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(RelationRelationId));
	ScanKeyInit(&keys[1], dependers ? Anum_pg_depend_refobjid : Anum_pg_depend_objid,
				BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(depend, dependers ? DependReferenceIndexId : DependDependerIndexId,
							  true, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend row = (Form_pg_depend) GETSTRUCT(tuple);

		if (row->deptype == DEPENDENCY_AUTO && row->refobjsubid == 0 && row->objsubid == 0 &&
			row->classid == RelationRelationId && row->refclassid == RelationRelationId)
			tables = lappend_oid(tables, dependers ? row->objid : row->refobjid);
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	return tables;
}

/*
 * dbp_hier_storages_of returns the tables that are tied to a table, wherever
 * they are.
 */
List *
dbp_hier_storages_of(Oid targetid)
{
	List	   *storages = NIL;
	ListCell   *lc;

	foreach(lc, auto_tables(targetid, true))
	{
		/* The server ties partitions in the same way. */
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_RELATION &&
			!get_rel_relispartition(lfirst_oid(lc)))
			storages = lappend_oid(storages, lfirst_oid(lc));
	}
	return storages;
}

/*
 * dbp_hier_target_of returns the table that a storage is tied to, InvalidOid if
 * it is no storage.
 */
Oid
dbp_hier_target_of(Oid storageid)
{
	List	   *targets = get_rel_relispartition(storageid) ? NIL :
		auto_tables(storageid, false);

	return targets == NIL ? InvalidOid : linitial_oid(targets);
}

/*
 * dbp_hier_release_storage makes a storage a table like any other, that stays
 * when the target goes.
 */
void
dbp_hier_release_storage(Oid targetid, Oid storageid)
{
	(void) deleteDependencyRecordsForSpecific(RelationRelationId, storageid, DEPENDENCY_AUTO,
											  RelationRelationId, targetid);
	CommandCounterIncrement();
}

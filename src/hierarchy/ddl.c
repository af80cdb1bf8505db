/*-------------------------------------------------------------------------
 *
 * ddl.c
 *	  Tables with a hierarchy that are altered or dropped.
 *
 * Most of what would break a hierarchy the server refuses by itself, as its
 * parts depend on each other (see depend.c).  Here is what remains: names in
 * the triggers' argument follow a rename, the storage follows its target to
 * another schema or owner, partitions get their triggers, and rows that come or
 * go with a partition are made up for.  Where event triggers do not fire, the
 * triggers of a hierarchy raise instead of guessing, or closure_check tells.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/ddl.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "core/ddl.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/parts.h"
#include "core/target.h"
#include "hierarchy/hierarchy.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/*
 * all_specs returns the hierarchies of all kinds that a table has.
 */
static List *
all_specs(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	List	   *specs = NIL;

	for (HierKind kind = HIER_TREE; rel->trigdesc != NULL && kind <= HIER_NESTED; kind++)
		specs = list_concat(specs, dbp_hier_specs(rel, kind));
	table_close(rel, NoLock);
	return specs;
}

/* ---- renames --------------------------------------------------------------- */

static List *
renamed_list(List *names, const char *old_name, const char *new_name)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, names)
		result = lappend(result, strcmp(lfirst(lc), old_name) == 0 ?
						 pstrdup(new_name) : lfirst(lc));
	return result;
}

static void
rename_column(Oid relid, HierSpec *old, const char *old_name, const char *new_name)
{
	HierSpec	spec = *old;

	if (!dbp_list_has_name(dbp_hier_spec_columns(old, true), old_name))
		return;
	spec.key = renamed_list(old->key, old_name, new_name);
	spec.parent = renamed_list(old->parent, old_name, new_name);
	if (old->order_by != NULL && strcmp(old->order_by, old_name) == 0)
		spec.order_by = pstrdup(new_name);
	dbp_hier_replace_spec(relid, old, &spec);
}

/*
 * refuse_alone raises because a storage was altered and its target was not.
 */
static void
refuse_alone(Oid storageid, Oid targetid, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("cannot %s table %s, which is kept for table %s", what,
					dbp_relation_name_by_oid(storageid), dbp_relation_name_by_oid(targetid)),
			 errhint("Alter that table, and this one follows; or disable the hierarchy first.")));
}

/*
 * after_rename_storage looks at a storage that was renamed, or a column of it.
 */
static void
after_rename_storage(Oid storageid, Oid targetid, bool column, const char *old_name,
					 const char *new_name)
{
	ListCell   *lc;

	foreach(lc, all_specs(targetid))
	{
		HierSpec   *old = lfirst(lc);
		HierSpec	spec = *old;

		if (column && strcmp(old->storage, get_rel_name(storageid)) == 0)
			refuse_alone(storageid, targetid, "rename a column of");
		if (column || strcmp(old->storage, old_name) != 0)
			continue;
		spec.storage = pstrdup(new_name);
		dbp_hier_replace_spec(targetid, old, &spec);
		dbp_counts_follow(targetid, storageid, &spec);
	}
}

static void
after_rename(Oid relid, bool column, const char *old_name, const char *new_name)
{
	Oid			targetid;
	char		kind = get_rel_relkind(relid);
	ListCell   *lc;

	if (dbp_hier_ddl_silent || (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE))
		return;
	SPI_connect();
	targetid = dbp_hier_target_of(relid);
	if (OidIsValid(targetid))
		after_rename_storage(relid, targetid, column, old_name, new_name);
	if (column)
	{
		foreach(lc, all_specs(relid))
			rename_column(relid, lfirst(lc), old_name, new_name);
	}
	SPI_finish();
}

/* ---- a target that was altered ---------------------------------------------- */

/*
 * storage_of finds the storage of a hierarchy in whatever schema it is.  A name
 * in the argument of a trigger is not enough: it may be anybody's table.
 */
static Oid
storage_of(Oid targetid, const HierSpec *spec)
{
	ListCell   *lc;

	foreach(lc, dbp_hier_storages_of(targetid))
	{
		if (strcmp(get_rel_name(lfirst_oid(lc)), spec->storage) == 0)
			return lfirst_oid(lc);
	}
	return InvalidOid;
}

/*
 * readers_of returns the functions that read a storage, as SQL.
 */
static List *
readers_of(Oid storageid)
{
	DbpParam	param = DBP_PARAM(OIDOID, ObjectIdGetDatum(storageid));
	List	   *readers = NIL;
	uint64		rows;

	rows = dbp_sql_query("SELECT pg_catalog.format('%I.%I(%s)', n.nspname, p.proname,"
						 "  pg_catalog.pg_get_function_identity_arguments(p.oid))"
						 " FROM pg_catalog.pg_depend d"
						 " JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) d.objid"
						 " JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace"
						 " WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass"
						 " AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
						 " AND d.refobjid OPERATOR(pg_catalog.=) $1"
						 " AND d.deptype OPERATOR(pg_catalog.=) 'a' ORDER BY 1", 1, &param);
	for (uint64 i = 0; i < rows; i++)
		readers = lappend(readers, dbp_sql_text(i, 0));
	return readers;
}

static void
alter_with_readers(Oid storageid, const char *what)
{
	List	   *readers;
	DbpOwnerScope scope;
	ListCell   *lc;

	/* Names of argument types depend on search_path. */
	dbp_enter_caller(&scope);
	readers = readers_of(storageid);
	dbp_hier_command(psprintf("ALTER TABLE %s %s", dbp_relation_name_by_oid(storageid), what));
	foreach(lc, readers)
		dbp_hier_command(psprintf("ALTER ROUTINE %s %s", (char *) lfirst(lc), what));
	dbp_leave_owner(&scope);
	CommandCounterIncrement();
}

static bool
wrong_schema(Oid storageid, Oid targetid)
{
	return get_rel_namespace(storageid) != get_rel_namespace(targetid);
}

static bool
wrong_owner(Oid storageid, Oid targetid)
{
	return dbp_relation_owner(storageid) != dbp_relation_owner(targetid);
}

static bool
wrong_persistence(Oid storageid, Oid targetid)
{
	return get_rel_relkind(targetid) == RELKIND_RELATION &&
		get_rel_persistence(storageid) != get_rel_persistence(targetid);
}

/*
 * follow_target brings a storage to where its target is now.
 */
static void
follow_target(Oid targetid, const HierSpec *spec)
{
	Oid			storageid;

	/* After a restore they are not tied yet. */
	dbp_hier_depend(targetid, spec);
	dbp_hier_depend_readers(targetid, spec);
	storageid = storage_of(targetid, spec);
	if (!OidIsValid(storageid))
		return;
	if (wrong_schema(storageid, targetid))
	{
		const char *schema = get_namespace_name(get_rel_namespace(targetid));

		alter_with_readers(storageid, psprintf("SET SCHEMA %s", quote_identifier(schema)));
	}
	if (wrong_owner(storageid, targetid))
	{
		const char *owner = GetUserNameFromId(dbp_relation_owner(targetid), false);

		alter_with_readers(storageid, psprintf("OWNER TO %s", quote_identifier(owner)));
	}
	if (wrong_persistence(storageid, targetid))
		dbp_hier_command(psprintf("ALTER TABLE %s SET %s", dbp_relation_name_by_oid(storageid),
								  get_rel_persistence(targetid) == RELPERSISTENCE_UNLOGGED ?
								  "UNLOGGED" : "LOGGED"));
	dbp_counts_follow(targetid, storageid, spec);
}

/*
 * check_storage looks at a table that may be a storage: it stays beside its
 * target.
 */
static void
check_storage(Oid storageid)
{
	Oid			targetid = dbp_hier_target_of(storageid);
	ListCell   *lc;

	if (!OidIsValid(targetid))
		return;
	foreach(lc, all_specs(targetid))
	{
		if (storage_of(targetid, lfirst(lc)) != storageid)
			continue;
		if (wrong_schema(storageid, targetid))
			refuse_alone(storageid, targetid, "move");
		if (wrong_owner(storageid, targetid))
			refuse_alone(storageid, targetid, "change the owner of");
		if (wrong_persistence(storageid, targetid))
			refuse_alone(storageid, targetid, "change the persistence of");
	}
}

/*
 * check_child raises when a table has come to inherit from one with a
 * hierarchy: rows of it would be seen, and changes of them not.  The command that
 * does so has locked the parent; for one that another session has locked, it did not.
 */
static void
check_child(Oid relid)
{
	DbpParam	param = DBP_PARAM(OIDOID, ObjectIdGetDatum(relid));
	List	   *parents = NIL;
	uint64		rows;
	ListCell   *lc;

	rows = dbp_sql_query("SELECT i.inhparent FROM pg_catalog.pg_inherits i"
						 " WHERE i.inhrelid OPERATOR(pg_catalog.=) $1", 1, &param);
	for (uint64 i = 0; i < rows; i++)
		parents = lappend_oid(parents, DatumGetObjectId(dbp_sql_value(i, 0, NULL)));
	foreach(lc, parents)
	{
		if (ConditionalLockRelationOid(lfirst_oid(lc), AccessShareLock) &&
			all_specs(lfirst_oid(lc)) != NIL)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("table %s cannot inherit from table %s, which has a hierarchy",
							dbp_relation_name_by_oid(relid),
							dbp_relation_name_by_oid(lfirst_oid(lc))),
					 errhint("Keep all nodes in one table, which may be partitioned.")));
	}
}

/* ---- partitions ------------------------------------------------------------- */

static void
resync_all(Oid rootid)
{
	ListCell   *lc;

	foreach(lc, all_specs(rootid))
		dbp_hier_resync(rootid, lfirst(lc));
}

/*
 * after_new_partition looks at a table that has become a partition.
 */
static void
after_new_partition(Oid relid)
{
	Oid			rootid = dbp_partition_root(relid);
	Relation	root;

	if (all_specs(rootid) == NIL)
		return;
	root = table_open(rootid, AccessShareLock);
	dbp_hier_require_tree(root, find_all_inheritors(rootid, AccessShareLock, NULL));
	table_close(root, NoLock);
	(void) dbp_hier_cover_partitions(rootid);
	if (dbp_has_rows(relid))
		resync_all(rootid);
}

/*
 * after_detach looks at a table that was a partition until now.  It has lost
 * its row triggers to the server, and loses the others here.
 */
static void
after_detach(Oid relid, Oid rootid)
{
	ListCell   *lc;

	foreach(lc, all_specs(rootid))
	{
		HierSpec   *spec = lfirst(lc);

		(void) dbp_hier_drop_triggers(relid, spec);
		if (dbp_has_rows(relid))
			dbp_hier_resync(rootid, spec);
	}
}

/* ---- callbacks -------------------------------------------------------------- */

/*
 * after_create_trigger looks at a table that was given a trigger, perhaps by a
 * restore, which brings those of partitions in any order.
 */
static void
after_create_trigger(Oid relid)
{
	Oid			rootid = dbp_partition_root(relid);
	ListCell   *lc;

	foreach(lc, all_specs(rootid))
	{
		HierSpec   *spec = lfirst(lc);
		ListCell   *part;

		if (relid == rootid)
			follow_target(rootid, spec);
		foreach(part, find_all_inheritors(relid, AccessShareLock, NULL))
		{
			if (get_rel_relispartition(lfirst_oid(part)))
				dbp_hier_depend(lfirst_oid(part), spec);
		}
	}
}

static void
after_alter(Oid relid, const char *command, List *touched)
{
	bool		creates = strncmp(command, "CREATE ", 7) == 0;
	char		kind = get_rel_relkind(relid);
	Oid			former;
	ListCell   *lc;

	if (strcmp(command, "CREATE TRIGGER") == 0)
	{
		after_create_trigger(relid);
		return;
	}
	if (get_rel_relispartition(relid))
	{
		if (dbp_new_part(relid, creates ? NIL : touched))
			after_new_partition(relid);
		return;
	}
	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		return;

	former = dbp_former_root(relid, touched);
	if (OidIsValid(former))
		after_detach(relid, former);
	foreach(lc, all_specs(relid))
		follow_target(relid, lfirst(lc));
	check_storage(relid);
	if (kind == RELKIND_RELATION)
		check_child(relid);
}

static void
after_ddl(const char *command, List *relids)
{
	ListCell   *lc;

	if (dbp_hier_ddl_silent)
		return;
	SPI_connect();
	foreach(lc, relids)
	{
		Relation	rel = try_relation_open(lfirst_oid(lc), AccessShareLock);

		if (rel == NULL)
			continue;
		relation_close(rel, NoLock);
		after_alter(lfirst_oid(lc), command, relids);
	}
	SPI_finish();
}

/*
 * after_rewrite looks at a table of which columns were computed anew.
 */
static void
after_rewrite(Oid relid, List *columns, List *computed)
{
	ListCell   *lc;

	if (get_rel_relispartition(relid))
		return;					/* so does its root */
	SPI_connect();
	foreach(lc, all_specs(relid))
	{
		HierSpec   *spec = lfirst(lc);
		bool		used = false;
		ListCell   *column;

		foreach(column, columns)
			used |= dbp_list_has_name(dbp_hier_spec_columns(spec, spec->kind == HIER_NESTED),
									  get_attname(relid, lfirst_int(column), false));
		if (used)
			dbp_hier_resync(relid, spec);
	}
	SPI_finish();
}

/*
 * after_drop lists what is left of hierarchies that lost triggers, and makes up
 * for the rows of dropped partitions.
 */
static void
after_drop(List *dropped)
{
	List	   *tables = NIL;
	List	   *roots = NIL;
	ListCell   *lc;

	if (dbp_hier_ddl_silent)
		return;
	SPI_connect();
	foreach(lc, dropped)
	{
		DbpDropped *object = lfirst(lc);

		if (object->classid == TriggerRelationId && OidIsValid(object->relid) &&
			strncmp(object->identity, "dbpatterns_", strlen("dbpatterns_")) == 0)
			tables = list_append_unique_oid(tables, object->relid);
		if (object->classid == RelationRelationId)
		{
			Oid			rootid = dbp_former_root(object->objid, NIL);

			if (OidIsValid(rootid))
				roots = list_append_unique_oid(roots, rootid);
		}
	}
	foreach(lc, tables)
	{
		char		kind = get_rel_relkind(lfirst_oid(lc));

		if (get_rel_relispartition(lfirst_oid(lc)) ||
			(kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE))
			continue;
		dbp_hier_register(lfirst_oid(lc), HIER_TREE);
		dbp_hier_register(lfirst_oid(lc), HIER_NESTED);
	}
	foreach(lc, roots)
		resync_all(lfirst_oid(lc));
	SPI_finish();
}

/*
 * dbp_hier_ddl_init registers for altered and dropped tables.
 */
void
dbp_hier_ddl_init(void)
{
	dbp_ddl_register(after_ddl, after_drop, after_rewrite, after_rename);
}

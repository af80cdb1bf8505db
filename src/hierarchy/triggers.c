/*-------------------------------------------------------------------------
 *
 * triggers.c
 *	  The triggers of a hierarchy.
 *
 * Four triggers keep a hierarchy: two for rows, which the server clones to
 * partitions present and future, and two for statements.  Those are not cloned
 * and fire for the table that a statement names, so each partition gets its
 * own, of the same name; later partitions get theirs after the DDL that made
 * them.  Triggers of one table are told apart by a number at the end of the
 * name, those of one hierarchy known by the storage in their argument.
 *
 * All of it is SQL, and ALTER TABLE refuses a table that is open elsewhere in
 * the session: callers are connected to SPI, hold a lock, and have the tables
 * closed.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/triggers.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_trigger.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/sql.h"
#include "core/trigger.h"
#include "hierarchy/hierarchy.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

/* What is specific to a kind. */
static const struct
{
	const char *pattern;
	int			position;		/* of its first trigger */
	const char *function;
}			kinds[] = {
	[HIER_TREE] = {"closure", 40, "closure_trigger"},
	[HIER_GRAPH] = {"closure", 40, "closure_graph_trigger"},
	[HIER_NESTED] = {"nested_set", 50, "nested_set_trigger"}
};

#define CHANGE_TRIGGER	1

const HierPart dbp_hier_parts[HIER_NPARTS] = {
	{TRIGGER_TYPE_ROW | TRIGGER_TYPE_INSERT | TRIGGER_TYPE_DELETE,
	"INSERT OR DELETE", "inserted and deleted rows"},
	{TRIGGER_TYPE_ROW | TRIGGER_TYPE_UPDATE,
	"UPDATE", "updated rows"},
	{TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE,
	"INSERT OR UPDATE OR DELETE", "the end of statements"},
	{TRIGGER_TYPE_TRUNCATE,
	"TRUNCATE", "TRUNCATE"}
};

/* True while tables and triggers are changed by ourselves. */
bool		dbp_hier_ddl_silent = false;

/*
 * dbp_hier_command runs a command that needs no reaction of ours.
 */
void
dbp_hier_command(const char *sql)
{
	bool		silent = dbp_hier_ddl_silent;

	dbp_hier_ddl_silent = true;
	PG_TRY();
	{
		dbp_sql_command("%s", sql);
	}
	PG_FINALLY();
	{
		dbp_hier_ddl_silent = silent;
	}
	PG_END_TRY();
}

/*
 * dbp_hier_pattern returns the name of a kind's pattern.
 */
const char *
dbp_hier_pattern(HierKind kind)
{
	return kinds[kind].pattern;
}

static bool
is_trigger_of(const Trigger *trigger, HierKind kind)
{
	char	   *function = get_func_name(trigger->tgfoid);

	return function != NULL && strcmp(function, kinds[kind].function) == 0 &&
		get_func_namespace(trigger->tgfoid) == get_namespace_oid("dbpatterns", true);
}

/*
 * dbp_hier_own_triggers returns copies of an open table's triggers that call
 * the function of a kind, in the order they fire.
 */
List *
dbp_hier_own_triggers(Relation rel, HierKind kind)
{
	List	   *all = NIL;
	List	   *own = NIL;
	ListCell   *lc;

	/* A look into a catalog can free what the relation has. */
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
		all = lappend(all, dbp_copy_trigger(&rel->trigdesc->triggers[i]));
	foreach(lc, all)
	{
		if (is_trigger_of(lfirst(lc), kind))
			own = lappend(own, lfirst(lc));
	}
	return own;
}

/*
 * dbp_hier_storage_triggers narrows that to one hierarchy.
 */
List *
dbp_hier_storage_triggers(Relation rel, const HierSpec *spec)
{
	List	   *own = NIL;
	ListCell   *lc;

	foreach(lc, dbp_hier_own_triggers(rel, spec->kind))
	{
		Trigger    *trigger = lfirst(lc);
		HierSpec	other;

		dbp_hier_parse_spec(trigger->tgnargs > 0 ? trigger->tgargs[0] : NULL, &other);
		if (strcmp(other.storage, spec->storage) == 0)
			own = lappend(own, trigger);
	}
	return own;
}

/*
 * dbp_hier_fires_always tells whether a hierarchy of an open table is kept in
 * step with what logical replication applies.
 */
bool
dbp_hier_fires_always(Relation rel, const HierSpec *spec)
{
	List	   *own = dbp_hier_storage_triggers(rel, spec);

	return own != NIL && ((Trigger *) linitial(own))->tgenabled == TRIGGER_FIRES_ALWAYS;
}

static bool
has_all_triggers(Relation rel, const HierSpec *spec)
{
	int			fire = 0;
	ListCell   *lc;

	foreach(lc, dbp_hier_storage_triggers(rel, spec))
	{
		char		enabled = ((Trigger *) lfirst(lc))->tgenabled;

		fire += (enabled == TRIGGER_FIRES_ON_ORIGIN || enabled == TRIGGER_FIRES_ALWAYS);
	}
	return fire >= HIER_NPARTS;
}

/*
 * dbp_hier_is_intact tells whether a table and its partitions have all triggers
 * of a hierarchy, and they fire for ordinary sessions.
 */
bool
dbp_hier_is_intact(Oid relid, const HierSpec *spec)
{
	bool		intact = true;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relid, AccessShareLock, NULL))
	{
		Relation	rel = table_open(lfirst_oid(lc), NoLock);

		intact &= has_all_triggers(rel, spec);
		table_close(rel, NoLock);
	}
	return intact;
}

static char *
trigger_name(HierKind kind, int part, const char *suffix)
{
	return psprintf("dbpatterns_%d_%s%s", kinds[kind].position + part, kinds[kind].pattern,
					suffix);
}

/*
 * find_suffix returns what the names of a hierarchy's triggers on an open table
 * end with: what they have, or else what is free.
 */
static char *
find_suffix(Relation rel, const HierSpec *spec)
{
	ListCell   *lc;
	char	   *suffix;

	foreach(lc, dbp_hier_storage_triggers(rel, spec))
	{
		Trigger    *trigger = lfirst(lc);

		for (int part = 0; part < HIER_NPARTS; part++)
		{
			char	   *name = trigger_name(spec->kind, part, "");

			if (strncmp(trigger->tgname, name, strlen(name)) == 0)
				return pstrdup(trigger->tgname + strlen(name));
		}
	}
	for (int i = 1;; i++)
	{
		bool		is_free = true;

		suffix = i == 1 ? "" : psprintf("_%d", i);
		for (int part = 0; part < HIER_NPARTS; part++)
			is_free &= dbp_find_trigger(rel, trigger_name(spec->kind, part, suffix)) == NULL;
		if (is_free)
			return suffix;
	}
}

/*
 * compares_built_in tells whether a change of a column can be seen by an
 * operator that every search_path finds.
 */
static bool
compares_built_in(Relation rel, const char *column)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel),
										  dbp_column_number(rel, column) - 1);
	TypeCacheEntry *entry = lookup_type_cache(getBaseType(att->atttypid), TYPECACHE_EQ_OPR);
	HeapTuple	tuple;
	bool		built_in;

	if (!OidIsValid(entry->eq_opr))
		return false;
	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(entry->eq_opr));
	if (!HeapTupleIsValid(tuple))
		return false;
	built_in = ((Form_pg_operator) GETSTRUCT(tuple))->oprnamespace == PG_CATALOG_NAMESPACE;
	ReleaseSysCache(tuple);
	return built_in;
}

/*
 * change_condition returns the WHEN clause of the trigger for updates, so that
 * the server does not even queue those that change nothing of ours; "" if a
 * dump could not restore it.
 */
static char *
change_condition(Relation rel, const HierSpec *spec)
{
	List	   *columns = dbp_hier_spec_columns(spec, spec->kind == HIER_NESTED);
	StringInfoData when;
	ListCell   *lc;

	initStringInfo(&when);
	foreach(lc, columns)
	{
		const char *name = quote_identifier(lfirst(lc));

		if (!compares_built_in(rel, lfirst(lc)))
			return "";
		appendStringInfo(&when, "%sOLD.%s IS DISTINCT FROM NEW.%s",
						 when.len > 0 ? " OR " : "", name, name);
	}
	return psprintf(" WHEN (%s)", when.data);
}

/*
 * set_trigger makes one trigger as it should be, and tells whether that changed
 * anything.  On a partition, only what the server does not clone is ours.
 */
static bool
set_trigger(Oid relid, const HierSpec *spec, const char *suffix, int part, bool always)
{
	Relation	rel = table_open(relid, NoLock);
	char	   *table = dbp_relation_name(rel);
	char	   *name = trigger_name(spec->kind, part, suffix);
	char	   *argument = dbp_hier_print_spec(spec);
	Trigger    *trigger = dbp_find_trigger(rel, name);
	char	   *when = part == CHANGE_TRIGGER ? change_condition(rel, spec) : "";
	bool		done;

	done = trigger != NULL && is_trigger_of(trigger, spec->kind) &&
		trigger->tgtype == dbp_hier_parts[part].type && trigger->tgnargs == 1 &&
		strcmp(trigger->tgargs[0], argument) == 0 && trigger->tgnattr == 0 &&
		(trigger->tgqual != NULL) == (when[0] != '\0') &&
		trigger->tgenabled == (always ? TRIGGER_FIRES_ALWAYS : TRIGGER_FIRES_ON_ORIGIN);
	/* ALTER TABLE wants it closed. */
	table_close(rel, NoLock);
	if (done)
		return false;

	dbp_hier_command(psprintf("CREATE OR REPLACE TRIGGER %s AFTER %s ON %s FOR EACH %s%s"
							  " EXECUTE FUNCTION dbpatterns.%s(%s)",
							  quote_identifier(name), dbp_hier_parts[part].events, table,
							  dbp_hier_parts[part].type & TRIGGER_TYPE_ROW ? "ROW" : "STATEMENT", when,
							  kinds[spec->kind].function, quote_literal_cstr(argument)));
	if (always)
		dbp_hier_command(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER %s", table,
								  quote_identifier(name)));
	else if (trigger != NULL)
		dbp_hier_command(psprintf("ALTER TABLE %s ENABLE TRIGGER %s", table,
								  quote_identifier(name)));
	return true;
}

static bool
set_statement_triggers(Oid relid, const HierSpec *spec, const char *suffix, bool always)
{
	bool		changed = false;

	for (int part = 0; part < HIER_NPARTS; part++)
	{
		if ((dbp_hier_parts[part].type & TRIGGER_TYPE_ROW) == 0)
			changed |= set_trigger(relid, spec, suffix, part, always);
	}
	return changed;
}

static char *
suffix_of(Oid relid, const HierSpec *spec)
{
	Relation	rel = table_open(relid, NoLock);
	char	   *suffix = find_suffix(rel, spec);

	table_close(rel, NoLock);
	return suffix;
}

/*
 * cover gives all partitions of a table the statement triggers of one of its
 * hierarchies.  A partition may have an owner of its own.
 */
static bool
cover(Oid rootid, const HierSpec *spec, const char *suffix, bool always)
{
	bool		changed = false;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(rootid, AccessShareLock, NULL))
	{
		DbpOwnerScope scope;

		if (lfirst_oid(lc) == rootid || !get_rel_relispartition(lfirst_oid(lc)))
			continue;
		dbp_enter_owner(&scope, dbp_relation_owner(lfirst_oid(lc)));
		changed |= set_statement_triggers(lfirst_oid(lc), spec, suffix, always);
		dbp_leave_owner(&scope);
		dbp_hier_depend(lfirst_oid(lc), spec);
	}
	return changed;
}

/*
 * drop_stray drops triggers of a hierarchy whose name is not one of ours: those
 * that were renamed, and have been made again.
 */
static void
drop_stray(Oid relid, const HierSpec *spec, const char *suffix)
{
	Relation	rel = table_open(relid, NoLock);
	char	   *table = dbp_relation_name(rel);
	List	   *stray = NIL;
	ListCell   *lc;

	foreach(lc, dbp_hier_storage_triggers(rel, spec))
	{
		Trigger    *trigger = lfirst(lc);
		bool		ours = trigger->tgisclone;

		for (int part = 0; part < HIER_NPARTS; part++)
			ours |= strcmp(trigger->tgname, trigger_name(spec->kind, part, suffix)) == 0;
		if (!ours)
			stray = lappend(stray, trigger->tgname);
	}
	table_close(rel, NoLock);
	foreach(lc, stray)
		dbp_hier_command(psprintf("DROP TRIGGER %s ON %s", quote_identifier(lfirst(lc)), table));
}

static bool
set_all(Oid relid, const HierSpec *spec, const char *suffix, bool always)
{
	DbpOwnerScope scope;
	bool		changed = false;

	/* Operators in conditions are found in pg_catalog, as when restored. */
	dbp_enter_owner(&scope, dbp_relation_owner(relid));
	for (int part = 0; part < HIER_NPARTS; part++)
		changed |= set_trigger(relid, spec, suffix, part, always);
	drop_stray(relid, spec, suffix);
	dbp_leave_owner(&scope);
	dbp_hier_depend(relid, spec);
	return cover(relid, spec, suffix, always) || changed;
}

/*
 * dbp_hier_set_triggers gives a table, and its partitions, the triggers of a
 * hierarchy, and tells whether that changed anything.  always: they fire for
 * what logical replication applies, too.
 */
bool
dbp_hier_set_triggers(Oid relid, const HierSpec *spec, bool always)
{
	return set_all(relid, spec, suffix_of(relid, spec), always);
}

/*
 * dbp_hier_replace_spec gives the triggers of a hierarchy another argument,
 * after something that it names was renamed.
 */
void
dbp_hier_replace_spec(Oid relid, const HierSpec *old, const HierSpec *spec)
{
	Relation	rel = table_open(relid, NoLock);
	char	   *suffix = find_suffix(rel, old);
	bool		always = dbp_hier_fires_always(rel, old);

	table_close(rel, NoLock);
	(void) set_all(relid, spec, suffix, always);
	dbp_hier_register(relid, spec->kind);
}

/*
 * drop_own drops the triggers of a hierarchy from one table, but for those that
 * the server cloned.
 */
static bool
drop_own(Oid relid, const HierSpec *spec)
{
	Relation	rel = table_open(relid, NoLock);
	char	   *table = dbp_relation_name(rel);
	List	   *own = dbp_hier_storage_triggers(rel, spec);
	DbpOwnerScope scope;
	bool		any = false;
	ListCell   *lc;

	table_close(rel, NoLock);
	dbp_enter_owner(&scope, dbp_relation_owner(relid));
	foreach(lc, own)
	{
		Trigger    *trigger = lfirst(lc);

		if (trigger->tgisclone)
			continue;
		dbp_hier_command(psprintf("DROP TRIGGER %s ON %s",
								  quote_identifier(trigger->tgname), table));
		any = true;
	}
	dbp_leave_owner(&scope);
	return any;
}

/*
 * dbp_hier_drop_triggers takes the triggers of a hierarchy off a table and its
 * partitions, and tells whether there were any.
 */
bool
dbp_hier_drop_triggers(Oid relid, const HierSpec *spec)
{
	bool		any = false;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relid, AccessShareLock, NULL))
		any |= drop_own(lfirst_oid(lc), spec);
	return any;
}

/*
 * dbp_hier_cover_partitions gives partitions that lack them the statement
 * triggers of all hierarchies of their root, and tells whether one did.
 */
bool
dbp_hier_cover_partitions(Oid rootid)
{
	bool		changed = false;

	if (get_rel_relkind(rootid) != RELKIND_PARTITIONED_TABLE)
		return false;
	for (HierKind kind = HIER_TREE; kind <= HIER_NESTED; kind++)
	{
		Relation	root = table_open(rootid, AccessShareLock);
		List	   *specs = dbp_hier_specs(root, kind);
		List	   *always = NIL;
		ListCell   *lc;

		foreach(lc, specs)
			always = lappend_int(always, dbp_hier_fires_always(root, lfirst(lc)));
		table_close(root, NoLock);
		foreach(lc, specs)
			changed |= cover(rootid, lfirst(lc), suffix_of(rootid, lfirst(lc)),
							 list_nth_int(always, foreach_current_index(lc)));
	}
	return changed;
}

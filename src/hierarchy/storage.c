/*-------------------------------------------------------------------------
 *
 * storage.c
 *	  The table beside a user's table that keeps its hierarchy.
 *
 * It is an ordinary table of the owner of the target, in the same schema, and
 * not a member of the extension, so it is dumped like any other.  Its columns
 * are found by their place: scope, ancestor, descendant, depth.
 *
 * Callers are connected to SPI, hold a lock on the target, and have the tables
 * closed.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/storage.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "core/append.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/registry.h"
#include "hierarchy/hierarchy.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

/* Room that names of reader functions need behind the prefix. */
#define READER_SUFFIX	24

/*
 * dbp_hier_run runs a command with the caller's rights and pinned names.
 */
void
dbp_hier_run(const char *sql)
{
	DbpOwnerScope scope;

	dbp_enter_caller(&scope);
	dbp_hier_command(sql);
	dbp_leave_owner(&scope);
}

/*
 * dbp_hier_storage_name returns the qualified name of a hierarchy's storage.
 */
char *
dbp_hier_storage_name(Oid targetid, const HierSpec *spec)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(targetid)),
									  spec->storage);
}

/*
 * dbp_hier_storage_id returns its OID, InvalidOid if there is none.
 */
Oid
dbp_hier_storage_id(Oid targetid, const HierSpec *spec)
{
	return get_relname_relid(spec->storage, get_rel_namespace(targetid));
}

/*
 * dbp_hier_existing returns the hierarchy of an open table with the storage of
 * spec, or NULL.
 */
HierSpec *
dbp_hier_existing(Relation target, const HierSpec *spec)
{
	ListCell   *lc;

	foreach(lc, dbp_hier_specs(target, spec->kind))
	{
		HierSpec   *other = lfirst(lc);

		if (strcmp(other->storage, spec->storage) == 0)
			return other;
	}
	return NULL;
}

static bool
equal_names(List *a, List *b)
{
	ListCell   *x;
	ListCell   *y;

	if (list_length(a) != list_length(b))
		return false;
	forboth(x, a, y, b)
	{
		if (strcmp(lfirst(x), lfirst(y)) != 0)
			return false;
	}
	return true;
}

/*
 * dbp_hier_same_columns tells whether two hierarchies of a table are over the
 * same key and parent columns.
 */
bool
dbp_hier_same_columns(const HierSpec *a, const HierSpec *b)
{
	return a->nscope == b->nscope && equal_names(a->key, b->key) &&
		equal_names(a->parent, b->parent);
}

/*
 * default_storage returns the name of the storage when none is given: that of
 * the hierarchy over these columns, if there is one.
 */
static char *
default_storage(Relation target, const HierSpec *spec)
{
	ListCell   *lc;

	foreach(lc, dbp_hier_specs(target, spec->kind))
	{
		if (dbp_hier_same_columns(lfirst(lc), spec))
			return ((HierSpec *) lfirst(lc))->storage;
	}
	return makeObjectName(RelationGetRelationName(target), NULL, dbp_hier_pattern(spec->kind));
}

/*
 * default_prefix returns the storage's name without the pattern's at its end.
 */
static char *
default_prefix(const HierSpec *spec)
{
	char	   *prefix = pstrdup(spec->storage);
	char	   *ending = psprintf("_%s", dbp_hier_pattern(spec->kind));
	int			len = strlen(prefix) - strlen(ending);

	if (len > 0 && strcmp(prefix + len, ending) == 0)
		prefix[len] = '\0';
	prefix[pg_mbcliplen(prefix, strlen(prefix), NAMEDATALEN - 1 - READER_SUFFIX)] = '\0';
	return prefix;
}

/*
 * dbp_hier_name_storage sets storage and prefix of a spec whose columns are
 * known; given is the name asked for, or NULL.
 */
void
dbp_hier_name_storage(Relation target, HierSpec *spec, const char *given)
{
	HierSpec   *other;

	if (given != NULL && given[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("argument \"%s\" is an empty name", dbp_hier_pattern(spec->kind)),
				 errhint("Leave it out for the default.")));
	spec->storage = given != NULL ? pstrdup(given) : default_storage(target, spec);
	other = dbp_hier_existing(target, spec);
	spec->prefix = other != NULL ? other->prefix : default_prefix(spec);
}

/*
 * require_free_name raises 42P07 if something has the name of the
 * storage already.
 */
static void
require_free_name(Oid targetid, const HierSpec *spec)
{
	if (OidIsValid(dbp_hier_storage_id(targetid, spec)))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("relation %s already exists", dbp_hier_storage_name(targetid, spec)),
				 errhint("Drop it, or give another name in argument \"%s\".",
						 dbp_hier_pattern(spec->kind))));
}

/*
 * dbp_hier_column_type returns the type of a column as SQL: domains are looked
 * through, the collation is the column's.
 */
char *
dbp_hier_column_type(Relation target, const char *column)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(target),
										  dbp_column_number(target, column) - 1);
	int32		typmod = att->atttypmod;
	Oid			type = getBaseTypeAndTypmod(att->atttypid, &typmod);
	char	   *text = format_type_extended(type, typmod,
											FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);

	if (OidIsValid(att->attcollation) && att->attcollation != get_typcollation(type))
		text = psprintf("%s COLLATE %s", text, generate_collation_name(att->attcollation));
	return text;
}

/*
 * dbp_hier_closure_columns returns the columns of a closure table but the last:
 * char *, scope first, then the ancestor's, then the descendant's.
 */
List *
dbp_hier_closure_columns(const HierSpec *spec)
{
	int			n = list_length(spec->key);
	List	   *columns = NIL;

	for (int i = 0; i < spec->nscope; i++)
		columns = lappend(columns, list_nth(spec->key, i));
	for (int end = 0; end < 2; end++)
	{
		char	   *role = end == 0 ? "ancestor" : "descendant";

		for (int i = spec->nscope; i < n; i++)
			columns = lappend(columns, n - spec->nscope == 1 ? role :
							  makeObjectName(role, list_nth(spec->key, i), NULL));
	}
	return columns;
}

/*
 * dbp_hier_require_distinct raises 42701 unless all columns of a storage have
 * names of their own; what: what kind of table it is.
 */
void
dbp_hier_require_distinct(List *columns, const char *what)
{
	for (int i = 0; i < list_length(columns); i++)
	{
		for (int j = 0; j < i; j++)
		{
			if (strcmp(list_nth(columns, i), list_nth(columns, j)) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("%s would have two columns \"%s\"", what,
								(char *) list_nth(columns, i)),
						 errhint("Rename the column of the key.")));
		}
	}
}

/*
 * dbp_hier_create_table makes a table beside the target, with its persistence
 * and owner; columns is SQL.
 */
void
dbp_hier_create_table(Oid targetid, const HierSpec *spec, const char *columns)
{
	char	   *name = dbp_hier_storage_name(targetid, spec);
	Oid			owner = dbp_relation_owner(targetid);

	require_free_name(targetid, spec);
	dbp_hier_run(psprintf("CREATE %sTABLE %s (%s)",
						  get_rel_persistence(targetid) == RELPERSISTENCE_UNLOGGED ? "UNLOGGED " : "",
						  name, columns));
	if (dbp_relation_owner(dbp_hier_storage_id(targetid, spec)) != owner)
		dbp_hier_run(psprintf("ALTER TABLE %s OWNER TO %s", name,
							  quote_identifier(GetUserNameFromId(owner, false))));
	dbp_hier_run(psprintf("COMMENT ON TABLE %s IS 'kept by dbpatterns; not to be changed by hand'", name));
}

/*
 * dbp_hier_create_closure makes a closure table, still without indexes.
 */
void
dbp_hier_create_closure(Oid targetid, const HierSpec *spec)
{
	Relation	target = table_open(targetid, NoLock);
	List	   *names = dbp_hier_closure_columns(spec);
	int			n = list_length(spec->key);
	DbpOwnerScope scope;
	StringInfoData columns;

	dbp_hier_require_distinct(lappend(list_copy(names), "depth"), "closure table");
	initStringInfo(&columns);
	dbp_enter_caller(&scope);	/* names of collations depend on search_path */
	for (int i = 0; i < list_length(names); i++)
	{
		/* Behind the ancestor's columns come the same ones again. */
		int			k = i < n ? i : i - n + spec->nscope;

		appendStringInfo(&columns, "%s %s NOT NULL, ", quote_identifier(list_nth(names, i)),
						 dbp_hier_column_type(target, list_nth(spec->key, k)));
	}
	dbp_leave_owner(&scope);
	appendStringInfoString(&columns, "depth pg_catalog.int4 NOT NULL");
	table_close(target, NoLock);
	dbp_hier_create_table(targetid, spec, columns.data);
}

/*
 * dbp_hier_index_name returns a free name, quoted, for an index on what a
 * storage has; NULL: that of its primary key.
 */
char *
dbp_hier_index_name(Oid targetid, const HierSpec *spec, const char *what)
{
	bool		primary = what == NULL;

	return pstrdup(quote_identifier(ChooseRelationName(spec->storage, what,
													   primary ? "pkey" : "idx",
													   get_rel_namespace(targetid), primary)));
}

/*
 * dbp_hier_index_closure gives a filled closure table its indexes: from
 * ancestors down, and from descendants up.
 */
void
dbp_hier_index_closure(Oid targetid, const HierSpec *spec)
{
	char	   *name = dbp_hier_storage_name(targetid, spec);
	List	   *columns = dbp_hier_closure_columns(spec);
	int			own = list_length(spec->key) - spec->nscope;
	List	   *scope = list_copy_head(columns, spec->nscope);
	List	   *ancestor = list_copy_head(list_copy_tail(columns, spec->nscope), own);
	List	   *descendant = list_copy_tail(columns, spec->nscope + own);

	dbp_hier_run(psprintf("ALTER TABLE %s ADD CONSTRAINT %s PRIMARY KEY (%s) INCLUDE (depth)", name,
						  dbp_hier_index_name(targetid, spec, NULL),
						  dbp_hier_quote_columns(columns)));
	dbp_hier_run(psprintf("CREATE INDEX %s ON %s (%s) INCLUDE (depth)",
						  dbp_hier_index_name(targetid, spec, "descendant"), name,
						  dbp_hier_quote_columns(list_concat(list_concat(list_copy(scope),
																		 descendant),
															 ancestor))));
	dbp_hier_run(psprintf("ANALYZE %s", name));
}

/*
 * dbp_hier_copy_grants lets those read the storage who may read the target.
 * With row-level security the server would not ask its policies there.
 */
void
dbp_hier_copy_grants(Oid targetid, const HierSpec *spec)
{
	char	   *name = dbp_hier_storage_name(targetid, spec);
	Relation	target = table_open(targetid, NoLock);
	bool		rls = target->rd_rel->relrowsecurity;
	DbpParam	param = DBP_PARAM(OIDOID, ObjectIdGetDatum(targetid));
	List	   *grants = NIL;
	ListCell   *lc;
	DbpOwnerScope scope;
	uint64		rows;

	table_close(target, NoLock);
	dbp_enter_caller(&scope);
	rows = dbp_sql_query("SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC'"
						 "  ELSE quote_ident(pg_get_userbyid(a.grantee)) END"
						 " || CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END"
						 " FROM pg_class c, aclexplode(c.relacl) a"
						 " WHERE c.oid = $1 AND a.privilege_type = 'SELECT'"
						 " AND a.grantee <> c.relowner ORDER BY 1", 1, &param);
	for (uint64 i = 0; i < rows; i++)
		grants = lappend(grants, dbp_sql_text(i, 0));
	dbp_leave_owner(&scope);

	if (rls && rows > 0)
		ereport(NOTICE,
				(errmsg("nobody but the owner is granted SELECT on %s, because table %s has row-level security",
						name, dbp_relation_name_by_oid(targetid)),
				 errhint("Who may read all of it can be granted that.")));
	else if (!rls)
	{
		foreach(lc, grants)
			dbp_hier_run(psprintf("GRANT SELECT ON %s TO %s", name, (char *) lfirst(lc)));
	}
}

/*
 * dbp_hier_has_index tells whether a table has a usable index that begins with
 * some columns, in this order or in any; or if it must be unique, one of no
 * others.
 */
bool
dbp_hier_has_index(Relation rel, const AttrNumber *attnums, int n, bool ordered, bool unique)
{
	bool		has = false;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;
		int			paired = 0;

		for (int i = 0; i < n && i < form->indnkeyatts; i++)
		{
			for (int j = 0; j < n; j++)
				paired += form->indkey.values[i] == attnums[j] && (!ordered || i == j);
		}
		has |= paired == (unique ? form->indnkeyatts : n) && form->indisvalid &&
			form->indisready && (!unique || form->indisunique) &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);
		index_close(index, AccessShareLock);
	}
	return has;
}

/*
 * dbp_hier_ensure_index makes an index on columns of the target unless there is
 * one that serves, and says so.
 */
void
dbp_hier_ensure_index(Oid targetid, List *columns)
{
	Relation	target = table_open(targetid, NoLock);
	char	   *table = dbp_relation_name(target);
	AttrNumber	attnums[HIER_MAX_KEY];
	bool		found;
	ListCell   *lc;

	foreach(lc, columns)
		attnums[foreach_current_index(lc)] = dbp_column_number(target, lfirst(lc));
	found = dbp_hier_has_index(target, attnums, list_length(columns), false, false);
	table_close(target, NoLock);
	if (found)
		return;

	ereport(NOTICE,
			(errmsg("creating an index on table %s (%s), which has none to find the children of a row",
					table, dbp_hier_print_columns(columns))));
	dbp_hier_run(psprintf("CREATE INDEX ON %s (%s)", table, dbp_hier_quote_columns(columns)));
}

/*
 * dbp_hier_register lists the hierarchies of a table that have the pattern of a
 * kind, as its triggers say.
 */
void
dbp_hier_register(Oid targetid, HierKind kind)
{
	const char *pattern = dbp_hier_pattern(kind);
	Relation	target = table_open(targetid, AccessShareLock);
	StringInfoData options;
	ListCell   *lc;

	initStringInfo(&options);
	foreach(lc, dbp_hier_pattern_specs(target, kind))
	{
		HierSpec   *spec = lfirst(lc);
		char	   *argument = dbp_hier_print_spec(spec);

		appendStringInfoString(&options, options.len > 0 ? ", " : "{");
		escape_json(&options, spec->storage);
		appendStringInfo(&options, ": %.*s, \"fire\": \"%s\"}",
						 (int) strlen(argument) - 1, argument,
						 dbp_hier_fires_always(target, spec) ? "always" : "origin");
	}
	table_close(target, NoLock);
	if (options.len == 0)
		(void) dbp_registry_remove(targetid, pattern);
	else
	{
		appendStringInfoChar(&options, '}');
		dbp_registry_set(targetid, pattern, options.data);
	}
}

/*
 * dbp_hier_registered returns the tables that are listed with hierarchies of a
 * kind.  The caller is connected to SPI.
 */
List *
dbp_hier_registered(HierKind kind)
{
	DbpParam	param = DBP_PARAM(TEXTOID, CStringGetTextDatum(dbp_hier_pattern(kind)));
	List	   *targets = NIL;
	DbpOwnerScope scope;
	uint64		rows;

	dbp_enter_owner(&scope, dbp_relation_owner(dbp_own_relation("registry")));
	rows = dbp_sql_query("SELECT target FROM _dbpatterns.registry"
						 " WHERE pattern = $1 ORDER BY target", 1, &param);
	for (uint64 i = 0; i < rows; i++)
		targets = lappend_oid(targets, DatumGetObjectId(dbp_sql_value(i, 0, NULL)));
	dbp_leave_owner(&scope);
	return targets;
}

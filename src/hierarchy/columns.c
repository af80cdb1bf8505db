/*-------------------------------------------------------------------------
 *
 * columns.c
 *	  Which columns say where a node is, and whether they can.
 *
 * All that is wrong with a table or its columns is found here, before anything
 * is changed.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/columns.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "compat/compat.h"
#include "core/names.h"
#include "core/target.h"
#include "hierarchy/hierarchy.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

static Form_pg_attribute
column_of(Relation rel, const char *name)
{
	return TupleDescAttr(RelationGetDescr(rel), dbp_column_number(rel, name) - 1);
}

/*
 * dbp_hier_print_columns returns names for people, separated by commas.
 */
char *
dbp_hier_print_columns(List *columns)
{
	StringInfoData out;
	ListCell   *lc;

	initStringInfo(&out);
	foreach(lc, columns)
		appendStringInfo(&out, "%s%s", foreach_current_index(lc) > 0 ? ", " : "",
						 (char *) lfirst(lc));
	return out.data;
}

/*
 * dbp_hier_quote_columns returns them for SQL.
 */
char *
dbp_hier_quote_columns(List *columns)
{
	StringInfoData out;
	ListCell   *lc;

	initStringInfo(&out);
	foreach(lc, columns)
		appendStringInfo(&out, "%s%s", foreach_current_index(lc) > 0 ? ", " : "",
						 quote_identifier(lfirst(lc)));
	return out.data;
}

/*
 * dbp_hier_require_tree raises unless all rows of a table pass its triggers:
 * tree is the table and what is below it.
 */
void
dbp_hier_require_tree(Relation target, List *tree)
{
	bool		partitioned = target->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	Oid			other = dbp_hier_target_of(RelationGetRelid(target));
	ListCell   *lc;

	if (OidIsValid(other))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table %s keeps a hierarchy of table %s and cannot be given one",
						dbp_relation_name(target), dbp_relation_name_by_oid(other)),
				 errhint("Name a table of your own.")));
	if (!partitioned && (list_length(tree) > 1 || has_superclass(RelationGetRelid(target))))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table %s %s inheritance and cannot carry a hierarchy",
						dbp_relation_name(target),
						list_length(tree) > 1 ? "has children by" : "is a child by"),
				 errhint("Keep all nodes in one table, which may be partitioned.")));
	foreach(lc, tree)
	{
		Oid			relid = lfirst_oid(lc);
		bool		foreign = get_rel_relkind(relid) == RELKIND_FOREIGN_TABLE;

		if (relid != RelationGetRelid(target) &&
			(foreign || get_rel_persistence(relid) == RELPERSISTENCE_UNLOGGED))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("partition %s is %s, so table %s cannot carry a hierarchy",
							dbp_relation_name_by_oid(relid),
							foreign ? "a foreign table" : "unlogged", dbp_relation_name(target)),
					 errhint("%s", foreign ? "Keep all nodes in tables of this server." :
							 "A crash would empty it, and the hierarchy would not know: SET LOGGED.")));
	}
}

/*
 * key_of returns the columns of an index if those tell rows apart, else NIL.
 */
static List *
key_of(Relation target, Oid indexid)
{
	Relation	index = index_open(indexid, AccessShareLock);
	Form_pg_index form = index->rd_index;
	List	   *columns = NIL;

	if (form->indisunique && form->indisvalid && !form->indisexclusion &&
		heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
	{
		for (int i = 0; i < form->indnkeyatts; i++)
		{
			AttrNumber	attnum = form->indkey.values[i];
			Form_pg_attribute att = attnum > 0 ?
				TupleDescAttr(RelationGetDescr(target), attnum - 1) : NULL;

			if (att == NULL || index->rd_indcollation[i] != att->attcollation)
			{
				columns = NIL;
				break;
			}
			columns = lappend(columns, pstrdup(NameStr(att->attname)));
		}
	}
	index_close(index, AccessShareLock);
	return columns;
}

/*
 * primary_key finds the index of the primary key, which may be deferrable.
 */
static Oid
primary_key(Relation target)
{
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(target))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		bool		primary = index->rd_index->indisprimary;

		index_close(index, AccessShareLock);
		if (primary)
			return lfirst_oid(lc);
	}
	return InvalidOid;
}

static bool
same_columns(List *a, List *b)
{
	ListCell   *lc;

	if (list_length(a) != list_length(b))
		return false;
	foreach(lc, a)
	{
		if (!dbp_list_has_name(b, lfirst(lc)))
			return false;
	}
	return true;
}

/*
 * find_key returns the columns that tell the rows of a table apart: those asked
 * for, or the primary key's.
 */
static List *
find_key(Relation target, List *given)
{
	Oid			pkey = primary_key(target);
	List	   *key = NIL;
	ListCell   *lc;

	if (given == NIL)
	{
		if (OidIsValid(pkey))
			key = key_of(target, pkey);
		if (key == NIL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("table %s has no primary key", dbp_relation_name(target)),
					 errhint("Add one, or name unique columns in argument \"key\".")));
		return key;
	}

	foreach(lc, given)
		(void) dbp_column_number(target, lfirst(lc));
	foreach(lc, RelationGetIndexList(target))
	{
		if (same_columns(key_of(target, lfirst_oid(lc)), given))
			return given;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("table %s has no unique index on key (%s)", dbp_relation_name(target),
					dbp_hier_print_columns(given)),
			 errdetail("It must have exactly these columns, their collations, and no condition."),
			 errhint("Create a unique index, or name other columns in argument \"key\".")));
	return NIL;					/* keep the compiler quiet */
}

static List *
without(List *columns, List *others)
{
	List	   *rest = NIL;
	ListCell   *lc;

	foreach(lc, columns)
	{
		if (!dbp_list_has_name(others, lfirst(lc)))
			rest = lappend(rest, lfirst(lc));
	}
	return rest;
}

/*
 * check_pair raises unless a parent column can hold what its key column does,
 * and can be compared and hashed.
 */
static void
check_pair(Relation target, const char *key, const char *parent)
{
	Form_pg_attribute k = column_of(target, key);
	Form_pg_attribute p = column_of(target, parent);
	Oid			type = getBaseType(k->atttypid);
	TypeCacheEntry *entry;

	if (k->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL ||
		p->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("column \"%s\" of table %s is a virtual generated column",
						k->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL ? key : parent,
						dbp_relation_name(target)),
				 errhint("Triggers do not see its values; make it a stored one.")));
	if (type != getBaseType(p->atttypid) || k->attcollation != p->attcollation)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("parent column \"%s\" and key column \"%s\" of table %s have different %s",
						parent, key, dbp_relation_name(target),
						type != getBaseType(p->atttypid) ? "types" : "collations"),
				 errdetail("Types are %s and %s.", format_type_be(p->atttypid),
						   format_type_be(k->atttypid)),
				 errhint("Change one of them with ALTER TABLE ... ALTER COLUMN ... TYPE.")));
	entry = lookup_type_cache(type, TYPECACHE_EQ_OPR | TYPECACHE_CMP_PROC | TYPECACHE_HASH_PROC);
	if (!OidIsValid(entry->eq_opr) || !OidIsValid(entry->cmp_proc) ||
		!OidIsValid(entry->hash_proc))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("type %s of key column \"%s\" cannot be %s", format_type_be(type), key,
						OidIsValid(entry->cmp_proc) ? "hashed" : "compared"),
				 errhint("A key needs a type with default operator classes for btree and hash.")));
}

/*
 * dbp_hier_check_columns raises unless the columns of a spec can say where a
 * node is.
 */
void
dbp_hier_check_columns(Relation target, const HierSpec *spec)
{
	ListCell   *k;
	ListCell   *p;

	if (list_length(spec->key) > HIER_MAX_KEY)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_COLUMNS),
				 errmsg("a key of %d columns is too long for a hierarchy",
						list_length(spec->key)),
				 errhint("At most %d columns are possible.", HIER_MAX_KEY)));
	forboth(k, spec->key, p, spec->parent)
		check_pair(target, lfirst(k), lfirst(p));
	if (spec->order_by != NULL)
	{
		Oid			type = getBaseType(column_of(target, spec->order_by)->atttypid);

		if (!OidIsValid(lookup_type_cache(type, TYPECACHE_LT_OPR)->lt_opr))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FUNCTION),
					 errmsg("type %s of column \"%s\" has no order", format_type_be(type),
							spec->order_by),
					 errhint("Name a column of another type in argument \"order_by\".")));
	}
}

/*
 * require_not_null raises unless a column is declared so, for all its rows.
 */
static void
require_not_null(Relation target, const char *column)
{
	if (!dbp_att_holds_no_null(RelationGetDescr(target), dbp_column_number(target, column) - 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("key column \"%s\" of table %s may be NULL", column,
						dbp_relation_name(target)),
				 errhint("ALTER TABLE %s ALTER COLUMN %s SET NOT NULL.",
						 dbp_relation_name(target), quote_identifier(column))));
}

/*
 * dbp_hier_split_scope puts the columns that two lists share in front of both,
 * behind those asked for, and sets nscope; 22023 if the rest does not match.
 */
void
dbp_hier_split_scope(Relation target, HierSpec *spec, List *scope)
{
	List	   *key = without(spec->key, scope);
	List	   *parent = without(spec->parent, scope);

	scope = list_concat_copy(scope, without(key, without(key, parent)));
	key = without(key, scope);
	parent = without(parent, scope);
	if (key == NIL && parent == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key and parent of table %s are the same columns: %s",
						dbp_relation_name(target), dbp_hier_print_columns(scope)),
				 errhint("Name the columns that hold the key of another row in argument \"parent\".")));
	if (list_length(key) != list_length(parent))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key and parent of table %s have different numbers of columns",
						dbp_relation_name(target)),
				 errdetail("Key: %s. Parent: %s.", dbp_hier_print_columns(spec->key),
						   dbp_hier_print_columns(spec->parent)),
				 errhint("Name in argument \"parent\" one column for each of the key; one that a node shares with its parent, such as a tenant, can be in both.")));
	spec->nscope = list_length(scope);
	spec->key = list_concat_copy(scope, key);
	spec->parent = list_concat_copy(scope, parent);
}

/*
 * dbp_hier_resolve_columns finds out the key, parent and scope columns of a
 * table of nodes from what was asked for, and raises if they cannot do.
 */
void
dbp_hier_resolve_columns(Relation target, HierSpec *spec, List *scope)
{
	ListCell   *lc;

	if (spec->parent == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"parent\" names no column"),
				 errhint("Name the columns that hold the key of a row's parent.")));
	spec->key = find_key(target, spec->key);
	foreach(lc, spec->parent)
		(void) dbp_column_number(target, lfirst(lc));
	foreach(lc, scope)
		(void) dbp_column_number(target, lfirst(lc));
	dbp_hier_split_scope(target, spec, scope);
	dbp_hier_check_columns(target, spec);
	foreach(lc, spec->key)
		require_not_null(target, lfirst(lc));
}

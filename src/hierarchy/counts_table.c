/*-------------------------------------------------------------------------
 *
 * counts_table.c
 *	  The table of counts beside a closure table.
 *
 * A table <closure>_counts has a row for each node: the key (columns of the
 * scope, then node), children and descendants.  Its columns are found by their
 * place.  It depends on its closure table, and goes where that goes.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/counts_table.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "core/names.h"
#include "core/owner.h"
#include "hierarchy/counts.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/*
 * dbp_counts_name returns the name of the table of counts beside a storage.
 */
char *
dbp_counts_name(const HierSpec *spec)
{
	return makeObjectName(spec->storage, NULL, "counts");
}

/*
 * dbp_counts_id returns its OID, InvalidOid if there is none.  Whoever may create
 * tables in the schema can make one of that name: what we did with it as the
 * owner of the target would run its triggers, or a view, with his rights.
 */
Oid
dbp_counts_id(Oid targetid, const HierSpec *spec)
{
	Oid			countsid = get_relname_relid(dbp_counts_name(spec), get_rel_namespace(targetid));

	return OidIsValid(countsid) &&
		dbp_relation_owner(countsid) == dbp_relation_owner(targetid) ? countsid : InvalidOid;
}

/*
 * key_columns returns the names of the columns of the key in the table of
 * counts, when it is made.
 */
static List *
key_columns(const HierSpec *spec)
{
	List	   *columns = list_copy_head(spec->key, spec->nscope);
	int			n = list_length(spec->key);

	for (int i = spec->nscope; i < n; i++)
		columns = lappend(columns, n - spec->nscope == 1 ? "node" :
						  makeObjectName("node", list_nth(spec->key, i), NULL));
	return columns;
}

/*
 * tied_counts returns the table of counts that is tied to a storage, wherever
 * it is; InvalidOid if there is none.
 */
static Oid
tied_counts(Oid storageid)
{
	List	   *tables = dbp_hier_storages_of(storageid);

	return tables == NIL ? InvalidOid : linitial_oid(tables);
}

/*
 * dbp_counts_exist tells whether a storage has a table of counts: one that only
 * has the name is none.
 */
bool
dbp_counts_exist(Oid targetid, const HierSpec *spec)
{
	Oid			countsid = dbp_counts_id(targetid, spec);

	return OidIsValid(countsid) && tied_counts(dbp_hier_storage_id(targetid, spec)) == countsid;
}

/*
 * tie makes the table of counts go with the storage.  A dump does not carry
 * that; it is tied again by its name.
 */
static Oid
tie(Oid targetid, Oid storageid, const HierSpec *spec)
{
	Oid			countsid = tied_counts(storageid);
	ObjectAddress counts;
	ObjectAddress storage;

	if (OidIsValid(countsid))
		return countsid;
	countsid = dbp_counts_id(targetid, spec);
	if (!OidIsValid(countsid) || dbp_relation_owner(countsid) != dbp_relation_owner(storageid))
		return InvalidOid;
	ObjectAddressSet(counts, RelationRelationId, countsid);
	ObjectAddressSet(storage, RelationRelationId, storageid);
	recordDependencyOn(&counts, &storage, DEPENDENCY_AUTO);
	CommandCounterIncrement();
	return countsid;
}

/*
 * dbp_counts_array_type returns the type of arrays of keys, by which the counts
 * are written.
 */
Oid
dbp_counts_array_type(Oid type)
{
	Oid			array = get_array_type(getBaseType(type));

	/* unnest makes columns of a composite type. */
	if (!OidIsValid(array) || type_is_rowtype(type))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("nodes cannot be counted by a key of type %s", format_type_be(type)),
				 errhint("Call dbpatterns.closure_enable with counters => false.")));
	return array;
}

/*
 * dbp_counts_create makes an empty table of counts, with the caller's rights.
 * The caller is connected to SPI and has the target closed.
 */
void
dbp_counts_create(Oid targetid, const HierSpec *spec)
{
	HierSpec	counts = *spec;
	List	   *names = key_columns(spec);
	Relation	target = table_open(targetid, NoLock);
	DbpOwnerScope scope;
	StringInfoData columns;

	initStringInfo(&columns);
	dbp_enter_caller(&scope);	/* names of collations depend on search_path */
	for (int i = 0; i < list_length(names); i++)
		(void) dbp_counts_array_type(get_atttype(RelationGetRelid(target),
												 dbp_column_number(target,
																   list_nth(spec->key, i))));
	for (int i = 0; i < list_length(names); i++)
		appendStringInfo(&columns, "%s %s NOT NULL, ", quote_identifier(list_nth(names, i)),
						 dbp_hier_column_type(target, list_nth(spec->key, i)));
	dbp_leave_owner(&scope);
	appendStringInfo(&columns, "children pg_catalog.int8 NOT NULL, descendants pg_catalog.int8 NOT NULL,"
					 " PRIMARY KEY (%s)", dbp_hier_quote_columns(names));
	table_close(target, NoLock);
	counts.storage = dbp_counts_name(spec);
	dbp_hier_create_table(targetid, &counts, columns.data);
	dbp_hier_copy_grants(targetid, &counts);
	(void) tie(targetid, dbp_hier_storage_id(targetid, spec), spec);
}

static void
alter_counts(Oid countsid, const char *what)
{
	dbp_hier_command(psprintf("ALTER TABLE %s %s", dbp_relation_name_by_oid(countsid), what));
	CommandCounterIncrement();
}

/*
 * dbp_counts_follow brings the table of counts to where its storage is now.
 */
void
dbp_counts_follow(Oid targetid, Oid storageid, const HierSpec *spec)
{
	char	   *name = dbp_counts_name(spec);
	Oid			owner = dbp_relation_owner(storageid);
	Oid			nsp = get_rel_namespace(storageid);
	char		persistence = get_rel_persistence(storageid);
	Oid			countsid = spec->counters ? tie(targetid, storageid, spec) : InvalidOid;

	if (!OidIsValid(countsid))
		return;
	if (get_rel_namespace(countsid) != nsp)
		alter_counts(countsid, psprintf("SET SCHEMA %s", quote_identifier(get_namespace_name(nsp))));
	if (strcmp(get_rel_name(countsid), name) != 0)
		alter_counts(countsid, psprintf("RENAME TO %s", quote_identifier(name)));
	if (dbp_relation_owner(countsid) != owner)
		alter_counts(countsid, psprintf("OWNER TO %s",
										quote_identifier(GetUserNameFromId(owner, false))));
	if (get_rel_persistence(countsid) != persistence)
		alter_counts(countsid, persistence == RELPERSISTENCE_UNLOGGED ? "SET UNLOGGED" :
					 "SET LOGGED");
}

/*
 * dbp_counts_require returns the OID of the table of counts; 42P01 if there is
 * none.
 */
Oid
dbp_counts_require(HierState *state)
{
	Oid			targetid = state->head.rootid;
	Oid			countsid = dbp_counts_id(targetid, &state->spec);

	if (!OidIsValid(countsid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s\", which counts the nodes of %s, does not exist",
						dbp_counts_name(&state->spec), dbp_relation_name_by_oid(targetid)),
				 OidIsValid(get_relname_relid(dbp_counts_name(&state->spec),
											  get_rel_namespace(targetid))) ?
				 errdetail("What has that name belongs to another role.") : 0,
				 errhint("Call dbpatterns.closure_enable with counters => false, then with true.")));
	return countsid;
}

/*
 * dbp_counts_read_names fills in what statements need.
 */
void
dbp_counts_read_names(CountsSql *sql, HierState *state)
{
	Relation	rel = table_open(dbp_counts_require(state), AccessShareLock);

	sql->owner = rel->rd_rel->relowner;
	sql->counts = dbp_relation_name(rel);
	sql->key = NIL;
	for (int i = 0; i < RelationGetNumberOfAttributes(rel) &&
		 list_length(sql->key) < state->type.n; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);

		if (!att->attisdropped)
			sql->key = lappend(sql->key, pstrdup(NameStr(att->attname)));
	}
	table_close(rel, NoLock);
	sql->type = &state->type;
}

/*
 * read_expected adds what the closure table says.
 */
static void
read_expected(CountsSql *sql, HierState *state)
{
	List	   *ancestor = list_copy_head(dbp_hier_closure_columns(&state->spec), state->type.n);
	StringInfoData from;

	initStringInfo(&from);
	appendStringInfoString(&from, "(SELECT ");
	dbp_sql_put_renamed(&from, HIER_NAMED(NULL, ancestor), HIER_NUMBERED(NULL, "k"),
						state->type.n);
	appendStringInfo(&from, ", count(*) FILTER (WHERE depth = 1) AS children,"
					 " count(*) FILTER (WHERE depth > 0) AS descendants FROM %s GROUP BY ",
					 dbp_relation_name_by_oid(state->storageid));
	dbp_sql_put_columns(&from, HIER_NAMED(NULL, ancestor), 0, state->type.n);
	appendStringInfoChar(&from, ')');
	sql->expected = from.data;
}

/*
 * dbp_counts_match returns the condition that e and c are the same node.
 */
char *
dbp_counts_match(CountsSql *sql)
{
	StringInfoData text;

	initStringInfo(&text);
	dbp_sql_put_match(&text, sql->type, HIER_NUMBERED("e", "k"), HIER_NAMED("c", sql->key));
	return text.data;
}

/*
 * dbp_counts_repair brings the counts in line with the closure table, which
 * nobody may change meanwhile, and returns how many rows were wrong.
 */
int64
dbp_counts_repair(HierState *state)
{
	CountsSql	sql;
	DbpOwnerScope scope;
	char	   *key;
	char	   *match;
	int64		repaired;

	SPI_connect();
	dbp_counts_read_names(&sql, state);
	read_expected(&sql, state);
	key = dbp_hier_quote_columns(sql.key);
	match = dbp_counts_match(&sql);
	dbp_enter_owner(&scope, sql.owner);
	repaired = dbp_sql_query_latest(psprintf("DELETE FROM %s AS c WHERE NOT EXISTS"
											 " (SELECT FROM %s AS e WHERE %s)",
											 sql.counts, sql.expected, match), 0, NULL);
	repaired += dbp_sql_query_latest(psprintf("INSERT INTO %s AS c (%s, children, descendants)"
											  " SELECT e.* FROM %s AS e LEFT JOIN %s AS c ON %s"
											  " WHERE c.children IS DISTINCT FROM e.children"
											  " OR c.descendants IS DISTINCT FROM e.descendants"
											  " ON CONFLICT (%s) DO UPDATE SET"
											  " children = excluded.children,"
											  " descendants = excluded.descendants",
											  sql.counts, key, sql.expected, sql.counts,
											  match, key), 0, NULL);
	dbp_leave_owner(&scope);
	SPI_finish();
	return repaired;
}

/*
 * dbp_counts_differences looks for wrong counts and returns how many there are;
 * SPI_tuptable has the node as text, then children and descendants as the
 * closure table says (NULL: no such node), then as counted (NULL: no row).
 * The caller is connected to SPI.
 */
uint64
dbp_counts_differences(HierState *state)
{
	CountsSql	sql;
	DbpOwnerScope scope;
	StringInfoData node;
	uint64		n;

	dbp_counts_read_names(&sql, state);
	read_expected(&sql, state);
	initStringInfo(&node);
	appendStringInfoString(&node, state->type.n > 1 ? "'(' || concat_ws(', '" : "concat(''");
	for (int i = 0; i < state->type.n; i++)
		appendStringInfo(&node, ", coalesce(e.k%d, %s)", i + 1,
						 dbp_sql_column(HIER_NAMED("c", sql.key), i));
	appendStringInfoString(&node, state->type.n > 1 ? ") || ')'" : ")");
	dbp_enter_owner(&scope, sql.owner);
	n = dbp_sql_query(psprintf("SELECT %s, e.children, e.descendants, c.children, c.descendants"
							   " FROM %s AS e FULL JOIN %s AS c ON %s"
							   " WHERE c.children IS DISTINCT FROM e.children"
							   " OR c.descendants IS DISTINCT FROM e.descendants ORDER BY 1",
							   node.data, sql.expected, sql.counts,
							   dbp_counts_match(&sql)), 0, NULL);
	dbp_leave_owner(&scope);
	return n;
}

/*
 * dbp_counts_clear empties the table after the nodes are gone.
 */
void
dbp_counts_clear(HierState *state)
{
	CountsSql	sql;
	DbpOwnerScope scope;

	SPI_connect();
	dbp_counts_read_names(&sql, state);
	dbp_enter_owner(&scope, sql.owner);
	dbp_hier_command(psprintf("TRUNCATE %s", sql.counts));
	dbp_leave_owner(&scope);
	SPI_finish();
}

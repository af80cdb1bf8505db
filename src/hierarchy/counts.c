/*-------------------------------------------------------------------------
 *
 * counts.c
 *	  Numbers of children and descendants, kept beside a closure table.
 *
 * A table <closure>_counts has a row for each node: the key (columns of the
 * scope, then node), children and descendants.  Its columns are found by their
 * place.  It goes where its closure table goes.
 *
 * What a flush does to pairs is summed up for each ancestor in memory and then
 * written in the order of the keys, by one kept plan, as the owner.  With
 * counters every change of a tree locks it exclusively, so that two flushes
 * never meet at a row.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/counts.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "core/names.h"
#include "core/owner.h"
#include "hierarchy/rows.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* Rows written at once. */
#define BATCH_ROWS	8192

/* What a flush does to the numbers of a node. */
typedef struct Delta
{
	HierMapEntry head;			/* MUST BE FIRST */
	int64		children;
	int64		descendants;
	int			life;			/* 1: the node is new; -1: it is gone */
} Delta;

struct HierCounts
{
	HierState  *state;
	MemoryContext cxt;
	HierMap    *map;
};

/* Plans kept for a table of counts. */
typedef struct Plans
{
	DbpRelState head;			/* MUST BE FIRST */
	SPIPlanPtr	add;
	SPIPlanPtr	remove;
} Plans;

static DbpRelStateCache *plans_cache;

/* ---- the table ----------------------------------------------------------- */

/*
 * dbp_counts_name returns the name of the table of counts beside a storage.
 */
char *
dbp_counts_name(const HierSpec *spec)
{
	return makeObjectName(spec->storage, NULL, "counts");
}

/*
 * dbp_counts_id returns its OID, InvalidOid if there is none.
 */
Oid
dbp_counts_id(Oid targetid, const HierSpec *spec)
{
	return get_relname_relid(dbp_counts_name(spec), get_rel_namespace(targetid));
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

/* The table of counts and its closure, for statements. */
typedef struct CountsSql
{
	Oid			countsid;
	Oid			owner;
	char	   *counts;
	List	   *key;			/* names of its columns */
	char	   *expected;		/* FROM item with k1.., children, descendants */
	HierKeyType *type;
} CountsSql;

static void
read_names(CountsSql *sql, HierState *state)
{
	Oid			targetid = state->head.rootid;
	Relation	rel;

	sql->countsid = dbp_counts_id(targetid, &state->spec);
	if (!OidIsValid(sql->countsid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s\", which counts the nodes of %s, does not exist",
						dbp_counts_name(&state->spec), dbp_relation_name_by_oid(targetid)),
				 errhint("Call dbpatterns.closure_enable with counters => false, then with true.")));
	rel = table_open(sql->countsid, AccessShareLock);
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

static char *
match(CountsSql *sql)
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
	int64		repaired;

	SPI_connect();
	read_names(&sql, state);
	read_expected(&sql, state);
	key = dbp_hier_quote_columns(sql.key);
	dbp_enter_owner(&scope, sql.owner);
	repaired = dbp_sql_query_latest(psprintf("DELETE FROM %s AS c WHERE NOT EXISTS"
											 " (SELECT FROM %s AS e WHERE %s)",
											 sql.counts, sql.expected, match(&sql)), 0, NULL);
	repaired += dbp_sql_query_latest(psprintf("INSERT INTO %s AS c (%s, children, descendants)"
											  " SELECT e.* FROM %s AS e LEFT JOIN %s AS c ON %s"
											  " WHERE c.children IS DISTINCT FROM e.children"
											  " OR c.descendants IS DISTINCT FROM e.descendants"
											  " ON CONFLICT (%s) DO UPDATE SET"
											  " children = excluded.children,"
											  " descendants = excluded.descendants",
											  sql.counts, key, sql.expected, sql.counts,
											  match(&sql), key), 0, NULL);
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

	read_names(&sql, state);
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
							   node.data, sql.expected, sql.counts, match(&sql)), 0, NULL);
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
	read_names(&sql, state);
	dbp_enter_owner(&scope, sql.owner);
	dbp_hier_command(psprintf("TRUNCATE %s", sql.counts));
	dbp_leave_owner(&scope);
	SPI_finish();
}

/* ---- summing up ---------------------------------------------------------- */

/*
 * dbp_counts_begin begins a flush; NULL if there are no counters.
 */
HierCounts *
dbp_counts_begin(HierState *state)
{
	HierCounts *counts;
	MemoryContext cxt;

	if (!state->spec.counters)
		return NULL;
	cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns counts",
								ALLOCSET_DEFAULT_SIZES);
	counts = MemoryContextAllocZero(cxt, sizeof(HierCounts));
	counts->state = state;
	counts->cxt = cxt;
	counts->map = dbp_map_create(&state->type, sizeof(Delta), cxt);
	return counts;
}

/*
 * dbp_counts_add changes the numbers of a node.
 */
void
dbp_counts_add(HierCounts *counts, const Datum *key, int children, int descendants)
{
	bool		found;
	Delta	   *delta = dbp_map_enter(counts->map, key, &found);

	delta->children += children;
	delta->descendants += descendants;
}

/*
 * dbp_counts_node says that a node is new, or gone.
 */
void
dbp_counts_node(HierCounts *counts, const Datum *key, bool created)
{
	bool		found;
	Delta	   *delta = dbp_map_enter(counts->map, key, &found);

	delta->life += created ? 1 : -1;
}

/* ---- writing ------------------------------------------------------------- */

static void
free_plans(void *arg)
{
	Plans	   *plans = arg;

	if (plans->add != NULL)
		SPI_freeplan(plans->add);
	if (plans->remove != NULL)
		SPI_freeplan(plans->remove);
}

/* The plans are made by get_plans. */
static void
build_plans(DbpRelState *head, Relation rel, void *arg)
{
	MemoryContextCallback *callback = palloc0(sizeof(*callback));

	callback->func = free_plans;
	callback->arg = head;
	MemoryContextRegisterResetCallback(head->cxt, callback);
}

/*
 * dbp_counts_init prepares this backend.
 */
void
dbp_counts_init(void)
{
	plans_cache = dbp_relstate_cache("dbpatterns counts", sizeof(Plans), build_plans);
}

static SPIPlanPtr
prepare(const char *sql, int nparams, Oid *types)
{
	SPIPlanPtr	plan = SPI_prepare(sql, nparams, types);

	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed for \"%s\": %s", sql,
			 SPI_result_code_string(SPI_result));
	SPI_keepplan(plan);
	return plan;
}

/*
 * get_plans returns the plans for a table of counts: both take arrays, one for
 * each column.
 */
static Plans *
get_plans(HierState *state, CountsSql *names)
{
	Relation	rel = table_open(names->countsid, RowExclusiveLock);
	Plans	   *plans = (Plans *) dbp_relstate_get(plans_cache, rel, InvalidOid, NULL);
	int			n = state->type.n;
	Oid			types[HIER_MAX_KEY + 2];
	char	   *key = dbp_hier_quote_columns(names->key);
	StringInfoData arrays;

	table_close(rel, NoLock);
	if (plans->remove != NULL)
		return plans;
	initStringInfo(&arrays);
	for (int i = 0; i < n; i++)
	{
		types[i] = get_array_type(state->type.col[i].type);
		if (!OidIsValid(types[i]))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("nodes cannot be counted by a key of type %s",
							format_type_be(state->type.col[i].type)),
					 errhint("Call dbpatterns.closure_enable with counters => false.")));
		appendStringInfo(&arrays, "%s$%d", i > 0 ? ", " : "", i + 1);
	}
	types[n] = types[n + 1] = INT8ARRAYOID;
	if (plans->add == NULL)
		plans->add = prepare(psprintf("INSERT INTO %s AS c (%s, children, descendants)"
									  " SELECT * FROM unnest(%s, $%d, $%d) ON CONFLICT (%s)"
									  " DO UPDATE SET children = c.children + excluded.children,"
									  " descendants = c.descendants + excluded.descendants",
									  names->counts, key, arrays.data, n + 1, n + 2, key),
							 n + 2, types);
	resetStringInfo(&arrays);
	for (int i = 0; i < n; i++)
		appendStringInfo(&arrays, "%s$%d", i > 0 ? ", " : "", i + 1);
	appendStringInfoString(&arrays, ") AS e (");
	dbp_sql_put_columns(&arrays, HIER_NUMBERED(NULL, "k"), 0, n);
	plans->remove = prepare(psprintf("DELETE FROM %s AS c USING unnest(%s) WHERE %s",
									 names->counts, arrays.data, match(names)), n, types);
	return plans;
}

static int
compare_deltas(const void *a, const void *b, void *arg)
{
	return dbp_key_compare(arg, (*(Delta *const *) a)->head.key, (*(Delta *const *) b)->head.key);
}

static void
run_batch(HierKeyType *type, SPIPlanPtr plan, Delta **deltas, int n, bool numbers)
{
	Datum		params[HIER_MAX_KEY + 2];
	Datum	   *values = palloc(sizeof(Datum) * n);
	int			rc;

	for (int i = 0; i < type->n + (numbers ? 2 : 0); i++)
	{
		bool		is_key = i < type->n;
		int16		typlen;
		bool		typbyval;
		char		typalign;

		for (int j = 0; j < n; j++)
			values[j] = is_key ? deltas[j]->head.key[i] :
				Int64GetDatum(i == type->n ? deltas[j]->children : deltas[j]->descendants);
		get_typlenbyvalalign(is_key ? type->col[i].type : INT8OID, &typlen, &typbyval, &typalign);
		params[i] = PointerGetDatum(construct_array(values, n, is_key ? type->col[i].type : INT8OID,
													typlen, typbyval, typalign));
	}
	rc = SPI_execute_plan(plan, params, NULL, false, 0);
	if (rc < 0)
		elog(ERROR, "writing counts failed: %s", SPI_result_code_string(rc));
}

/*
 * write_sorted writes the deltas of nodes that are gone, or those of others.
 */
static void
write_sorted(HierCounts *counts, SPIPlanPtr plan, Delta **deltas, int n, bool gone)
{
	MemoryContext batch_cxt = AllocSetContextCreate(CurrentMemoryContext,
													"dbpatterns counts batch",
													ALLOCSET_DEFAULT_SIZES);
	MemoryContext oldcxt = MemoryContextSwitchTo(batch_cxt);

	for (int from = 0; from < n;)
	{
		Delta	  **batch = palloc(sizeof(Delta *) * BATCH_ROWS);
		int			m = 0;

		for (; from < n && m < BATCH_ROWS; from++)
		{
			Delta	   *delta = deltas[from];

			if (gone ? delta->life < 0 :
				delta->life > 0 || (delta->life == 0 &&
									(delta->children != 0 || delta->descendants != 0)))
				batch[m++] = delta;
		}
		if (m > 0)
			run_batch(&counts->state->type, plan, batch, m, !gone);
		MemoryContextReset(batch_cxt);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(oldcxt);
	MemoryContextDelete(batch_cxt);
}

/*
 * dbp_counts_write writes what was summed up, and ends the flush.
 */
void
dbp_counts_write(HierCounts *counts)
{
	HierState  *state = counts->state;
	int			n = dbp_map_count(counts->map);
	Delta	  **deltas;
	HierMapIterator iterator;
	CountsSql	names;
	DbpOwnerScope scope;
	Plans	   *plans;

	if (n > 0)
	{
		deltas = MemoryContextAllocHuge(counts->cxt, sizeof(Delta *) * n);
		dbp_map_iterate(counts->map, &iterator);
		for (int i = 0; i < n; i++)
			deltas[i] = dbp_map_next(counts->map, &iterator);
		qsort_arg(deltas, n, sizeof(Delta *), compare_deltas, &state->type);

		SPI_connect();
		read_names(&names, state);
		dbp_enter_owner(&scope, names.owner);
		plans = get_plans(state, &names);
		write_sorted(counts, plans->remove, deltas, n, true);
		write_sorted(counts, plans->add, deltas, n, false);
		dbp_leave_owner(&scope);
		SPI_finish();
	}
	MemoryContextDelete(counts->cxt);
}

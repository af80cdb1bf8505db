/*-------------------------------------------------------------------------
 *
 * nested_enable.c
 *	  Switching nested sets on and off, and building them anew.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/nested_enable.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/target.h"
#include "core/version.h"
#include "hierarchy/nested.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(dbpatterns_nested_set_enable);
PG_FUNCTION_INFO_V1(dbpatterns_nested_set_disable);
PG_FUNCTION_INFO_V1(dbpatterns_nested_set_rebuild);

/* ---- the storage --------------------------------------------------------------- */

/*
 * column_name returns the name of the column of the storage that holds
 * column i of a key: those of the scope keep theirs, of the others one is
 * called node, several node_<name>; and tree in the same way.
 */
static char *
column_name(const HierSpec *spec, const char *what, int i)
{
	char	   *name = list_nth(spec->key, i);

	if (i < spec->nscope)
		return name;
	return list_length(spec->key) - spec->nscope == 1 ? pstrdup(what) :
		makeObjectName(what, name, NULL);
}

/*
 * column_names returns those of a whole key.
 */
static List *
column_names(const HierSpec *spec, const char *what)
{
	List	   *columns = NIL;

	for (int i = 0; i < list_length(spec->key); i++)
		columns = lappend(columns, column_name(spec, what, i));
	return columns;
}

static void
put_key_columns(StringInfo sql, Relation target, const HierSpec *spec, const char *what, int from)
{
	for (int i = from; i < list_length(spec->key); i++)
		appendStringInfo(sql, "%s %s NOT NULL, ",
						 quote_identifier(column_name(spec, what, i)),
						 dbp_hier_column_type(target, list_nth(spec->key, i)));
}

static void
create_storage(Oid targetid, const HierSpec *spec)
{
	Relation	target = table_open(targetid, NoLock);
	List	   *names = column_names(spec, "node");
	DbpOwnerScope scope;
	StringInfoData columns;

	names = list_concat(names, list_copy_tail(column_names(spec, "tree"), spec->nscope));
	dbp_hier_require_distinct(lappend(lappend(lappend(names, "lft"), "rgt"), "depth"),
							  "table of nested sets");
	initStringInfo(&columns);
	dbp_enter_caller(&scope);	/* names of collations depend on search_path */
	put_key_columns(&columns, target, spec, "node", 0);
	put_key_columns(&columns, target, spec, "tree", spec->nscope);
	dbp_leave_owner(&scope);
	appendStringInfoString(&columns, "lft pg_catalog.int8 NOT NULL, rgt pg_catalog.int8 NOT NULL,"
						   " depth pg_catalog.int4 NOT NULL");
	table_close(target, NoLock);
	dbp_hier_create_table(targetid, spec, columns.data);
}

/*
 * index_storage gives a filled storage its indexes: by node, by interval, and by
 * depth and interval.
 */
static void
index_storage(Oid targetid, const HierSpec *spec)
{
	char	   *name = dbp_hier_storage_name(targetid, spec);
	char	   *tree = dbp_hier_quote_columns(column_names(spec, "tree"));

	dbp_hier_run(psprintf("ALTER TABLE %s ADD CONSTRAINT %s PRIMARY KEY (%s)", name,
						  dbp_hier_index_name(targetid, spec, NULL),
						  dbp_hier_quote_columns(column_names(spec, "node"))));
	dbp_hier_run(psprintf("CREATE UNIQUE INDEX %s ON %s (%s, lft)",
						  dbp_hier_index_name(targetid, spec, "lft"), name, tree));
	dbp_hier_run(psprintf("CREATE INDEX %s ON %s (%s, depth, lft)",
						  dbp_hier_index_name(targetid, spec, "depth"), name, tree));
	dbp_hier_run(psprintf("ANALYZE %s", name));
}

static const HierWork nested_work = {
	.create = create_storage,
	.fill = dbp_nested_fill_storage,
	.finish = index_storage,
	.create_readers = dbp_nested_create_readers,
	.drop_readers = dbp_nested_drop_readers
};

/* ---- enable and disable ----------------------------------------------------------- */

static int64
gap_argument(FunctionCallInfo fcinfo, int argno)
{
	int64		gap = PG_ARGISNULL(argno) ? NESTED_DEFAULT_GAP : PG_GETARG_INT64(argno);

	if (gap < NESTED_MIN_GAP || gap > NESTED_MAX_GAP)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value of argument \"gap\": %lld", (long long) gap),
				 errhint("Give a number from %lld to %lld.", (long long) NESTED_MIN_GAP,
						 (long long) NESTED_MAX_GAP)));
	return gap;
}

/*
 * begin_work makes a state for work on all rows, as the owner, who compares
 * keys with functions that may be of users.
 */
static HierState *
begin_work(Relation target, const HierSpec *spec, DbpOwnerScope *scope)
{
	dbp_enter_owner(scope, target->rd_rel->relowner);
	PushActiveSnapshot(GetLatestSnapshot());
	return dbp_hier_target_state(target, spec);
}

static void
end_work(DbpOwnerScope *scope)
{
	PopActiveSnapshot();
	dbp_leave_owner(scope);
	CommandCounterIncrement();
}

/*
 * rebuild numbers all trees of a table anew, or that with the given root.
 */
static int64
rebuild(HierState *state, const Datum *tree)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns nested rebuild",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext oldcxt = MemoryContextSwitchTo(cxt);
	NestedForest *forest;
	int64		n = 0;

	if (tree == NULL)
		dbp_hier_lock_whole(state);
	else
		dbp_hier_lock_tree(state, tree);
	PushActiveSnapshot(GetLatestSnapshot());
	forest = dbp_nested_load(state, cxt);
	dbp_forest_require(state, forest->forest);
	dbp_nested_rewrite(state, forest, tree);
	for (uint32 i = 0; i < forest->n; i++)
		n += tree == NULL || dbp_key_equal(&state->type, tree,
										   forest->nodes[forest->root[i]]->head.key);
	PopActiveSnapshot();
	MemoryContextSwitchTo(oldcxt);
	MemoryContextDelete(cxt);
	return n;
}

static char *
old_order(Relation target, const HierSpec *spec, bool *known)
{
	HierSpec   *old = dbp_hier_existing(target, spec);

	*known = old != NULL && OidIsValid(dbp_hier_storage_id(RelationGetRelid(target), spec));
	return old != NULL ? old->order_by : NULL;
}

static bool
same_name(const char *a, const char *b)
{
	return a != NULL && strcmp(a, b) == 0;
}

/*
 * nested_set_enable(target regclass, parent name[] or name, key name[],
 * nested_set name, gap bigint, order_by name, scope name[], on_orphan text,
 * fire text): from now on a table beside target holds the interval of each
 * node in its tree, exact after each statement.  Returns that table.
 *
 * parent: columns that hold the key of a row's parent; a row in which one of
 * them is NULL is a root.  key: columns that tell rows apart; NULL takes the
 * primary key.  nested_set: name of the table; NULL means <table>_nested_set.
 * gap: mean distance of neighbouring numbers in a tree numbered anew, 4 to 2^40;
 * NULL means 2^32.  order_by: column that orders siblings; otherwise new ones
 * come last.  scope: columns that a row has in common with its parent; those in
 * both key and parent are so by themselves.  on_orphan: 'root' (a row whose
 * parent does not exist counts as a root until it does) or 'error'.  fire:
 * 'origin', or 'always' for what logical replication applies, too.
 *
 * Raises 22004 (target or parent is NULL), 42P01 (there is no such table),
 * 55000 (library and SQL versions differ), 22004 or 42701 (bad column list),
 * 22023 (bad gap, on_orphan or fire), then what closure_enable raises for the
 * table and its columns, 42602 (empty name), 55000 (that nested set is over
 * other columns), 42P07 (name taken), 42701 (names of its columns collide),
 * 42723 (name of a reader function taken), 23514 (cycle), 23503 (orphan with
 * on_orphan 'error').  Locks SHARE ROW EXCLUSIVE on target and everything below
 * it.  Runs as the caller; reads rows as the owner.  An identical second call
 * changes nothing and says so; another one with the same columns alters the
 * settings in place, and orders siblings anew if order_by is another one.
 */
Datum
dbpatterns_nested_set_enable(PG_FUNCTION_ARGS)
{
	HierSpec	spec = {.kind = HIER_NESTED};
	Oid			relid;
	List	   *scope;
	List	   *tree;
	bool		always;
	bool		existed;
	char	   *order;
	Relation	target;
	Oid			storageid;

	dbp_require_argument(fcinfo, 0, "target", "Name the table of nodes.");
	dbp_require_argument(fcinfo, 1, "parent",
						 "Name the columns that hold the key of a row's parent.");
	relid = PG_GETARG_OID(0);
	(void) dbp_relation_name_by_oid(relid); /* raises if there is none */
	dbp_check_version();
	spec.parent = dbp_hier_columns_argument(fcinfo, 1, "parent");
	spec.key = dbp_hier_names_argument(fcinfo, 2, "key");
	spec.gap = gap_argument(fcinfo, 4);
	spec.order_by = dbp_hier_name_argument(fcinfo, 5);
	scope = dbp_hier_names_argument(fcinfo, 6, "scope");
	spec.orphan_error = dbp_choose_argument(fcinfo, 7, "on_orphan", "root", "error");
	always = dbp_choose_argument(fcinfo, 8, "fire", "origin", "always");

	SPI_connect();
	tree = dbp_lock_tree(relid, ShareRowExclusiveLock);
	target = table_open(relid, NoLock);
	dbp_require_target(target, "given a hierarchy");
	dbp_hier_require_tree(target, tree);
	if (spec.order_by != NULL)
		(void) dbp_column_number(target, spec.order_by);
	dbp_hier_resolve_columns(target, &spec, scope);
	dbp_hier_name_storage(target, &spec, dbp_hier_name_argument(fcinfo, 3));
	order = old_order(target, &spec, &existed);
	table_close(target, NoLock);

	dbp_hier_ensure_index(relid, spec.parent);
	storageid = dbp_hier_install(relid, &spec, always, &nested_work);
	if (existed && spec.order_by != NULL && !same_name(order, spec.order_by))
	{
		DbpOwnerScope owner;

		target = table_open(relid, NoLock);
		(void) rebuild(begin_work(target, &spec, &owner), NULL);
		end_work(&owner);
		table_close(target, NoLock);
	}
	SPI_finish();
	PG_RETURN_OID(storageid);
}

/*
 * nested_set_disable(target regclass, nested_set name, drop_nested_set boolean)
 * takes nested sets off target: the triggers and reader functions go, the table
 * of intervals stays as a table like any other, unless drop_nested_set.
 *
 * nested_set: NULL means the only one.  Raises 22004 (target is NULL), 42P01
 * (there is no such table), 55000 (library and SQL versions differ), 42809 (a
 * partition), 42501 (not the owner), 42704 (no such nested set), 42P09 (there
 * are several), 2BP01 (something of others depends on what is to be dropped).
 * Locks ACCESS EXCLUSIVE on target and everything below it, as DROP TRIGGER
 * does.  Runs as the caller.  On a table without nested sets it changes nothing
 * and says so, unless one is named.
 */
Datum
dbpatterns_nested_set_disable(PG_FUNCTION_ARGS)
{
	dbp_require_argument(fcinfo, 0, "target", "Name the table of nodes.");
	dbp_hier_disable(fcinfo, HIER_NESTED, "nested sets", &nested_work);
	PG_RETURN_VOID();
}

/* ---- rebuild ------------------------------------------------------------------------ */

/*
 * read_root reads the key of a root: the texts of its values, as many as the
 * key has columns.
 */
static Datum *
read_root(HierState *state, ArrayType *texts)
{
	Datum	   *key = palloc(sizeof(Datum) * state->type.n);
	Datum	   *values;
	bool	   *isnull;
	int			n;

	deconstruct_array(texts, TEXTOID, -1, false, TYPALIGN_INT, &values, &isnull, &n);
	if (n != state->type.n)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"tree\" has %d values, the key has %d columns", n,
						state->type.n),
				 errhint("Give the values of key (%s) of a root.",
						 dbp_hier_print_columns(state->spec.key))));
	for (int i = 0; i < n; i++)
	{
		if (isnull[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"tree\" must not contain NULL"),
					 errhint("Give the values of key (%s) of a root.",
							 dbp_hier_print_columns(state->spec.key))));
		key[i] = dbp_value_from_text(&state->type.col[i], TextDatumGetCString(values[i]), -1);
	}
	return key;
}

static void
require_root(HierState *state, const Datum *key)
{
	Datum	   *parent;
	bool		found = dbp_hier_look_up(state, key, &parent);

	if (found && parent != NULL)
	{
		Datum	   *other;

		/* An orphan counts as one. */
		found = !dbp_hier_look_up(state, parent, &other);
	}
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("there is no root %s in table %s", dbp_key_text(&state->type, key),
						dbp_relation_name_by_oid(state->head.rootid)),
				 errhint("Give the key of a row without a parent.")));
}

/*
 * nested_set_rebuild(target regclass, nested_set name, tree text[]) numbers the
 * trees of target anew, evenly, and puts right whatever was wrong.  Siblings that
 * no column orders keep the order they have.  Returns how many nodes were
 * numbered.
 *
 * nested_set: NULL means the only one.  tree: key of a root, as text, for its
 * tree alone; NULL means all.  Raises 22004 (target is NULL), 42P01 (there is no
 * such table), 55000 (library and SQL versions differ), 42501 (not the owner),
 * 42704 (no such nested set), 42P09 (there are several), 22023 or 22004 (bad
 * tree), P0002 (no such root), 23514 (cycle), 23503 (orphan that the options
 * refuse).  Keeps other writers of that tree out until the transaction ends; of
 * the whole, all writers, and those of target by SHARE ROW EXCLUSIVE.  Readers
 * go on.  Runs as the owner.  A second call does the same again.
 */
Datum
dbpatterns_nested_set_rebuild(PG_FUNCTION_ARGS)
{
	bool		whole = PG_ARGISNULL(2);
	Oid			relid;
	Relation	target;
	HierSpec   *spec;
	HierState  *state;
	DbpOwnerScope scope;
	Datum	   *tree = NULL;
	int64		n;

	dbp_require_argument(fcinfo, 0, "target", "Name the table of nodes.");
	relid = PG_GETARG_OID(0);
	(void) dbp_relation_name_by_oid(relid); /* raises if there is none */
	dbp_check_version();

	SPI_connect();
	if (whole)
		(void) dbp_lock_tree(relid, ShareRowExclusiveLock);
	else
		dbp_require_owner(relid);
	target = table_open(relid, AccessShareLock);
	spec = dbp_hier_find_spec(target, HIER_NESTED, dbp_hier_name_argument(fcinfo, 1));
	state = begin_work(target, spec, &scope);
	if (!whole)
	{
		tree = read_root(state, PG_GETARG_ARRAYTYPE_P(2));
		require_root(state, tree);
	}
	n = rebuild(state, tree);
	end_work(&scope);
	table_close(target, NoLock);
	SPI_finish();
	PG_RETURN_INT64(n);
}

/* ---- rows that came without firing triggers ----------------------------------------- */

static void
count_problem(const Datum *node, char *problem, void *arg)
{
	++*(int64 *) arg;
}

/*
 * dbp_nested_sync brings nested sets in line with their table and returns how
 * many nodes were wrong.
 */
int64
dbp_nested_sync(HierState *state)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns nested sync",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext oldcxt = MemoryContextSwitchTo(cxt);
	DbpOwnerScope scope;
	NestedForest *forest;
	int64		n = 0;

	dbp_hier_lock_whole(state);
	SPI_connect();
	dbp_enter_owner(&scope, dbp_relation_owner(state->head.rootid));
	PushActiveSnapshot(GetLatestSnapshot());
	MemoryContextSwitchTo(cxt);
	forest = dbp_nested_load(state, cxt);
	dbp_forest_require(state, forest->forest);
	dbp_nested_compare(state, forest, count_problem, &n);
	if (n > 0)
		dbp_nested_rewrite(state, forest, NULL);
	PopActiveSnapshot();
	dbp_leave_owner(&scope);
	SPI_finish();
	MemoryContextSwitchTo(oldcxt);
	MemoryContextDelete(cxt);
	return n;
}

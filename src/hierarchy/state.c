/*-------------------------------------------------------------------------
 *
 * state.c
 *	  What triggers and maintenance know of a hierarchy, and look-ups in its
 *	  table.
 *
 * The state of a table under one of its triggers is made from the trigger's
 * argument and kept until the table or its root changes.  Look-ups go through
 * kept plans and see what is committed now: a flush wants the table as it is,
 * whatever the transaction's snapshot shows.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/state.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "commands/trigger.h"
#include "compat/compat.h"
#include "core/append.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/version.h"
#include "hierarchy/hierarchy.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

static DbpRelStateCache *states;

/*
 * dbp_hier_root returns the table that a hierarchy was enabled for, of which
 * rel may be a partition.
 */
Oid
dbp_hier_root(Relation rel)
{
	List	   *ancestors;

	if (!rel->rd_rel->relispartition)
		return RelationGetRelid(rel);
	ancestors = get_partition_ancestors(RelationGetRelid(rel));
	return ancestors == NIL ? RelationGetRelid(rel) : llast_oid(ancestors);
}

static int
resolve_columns(AttrNumber *attnums, Relation rel, List *names)
{
	int			n = 0;
	ListCell   *lc;

	foreach(lc, names)
		attnums[n++] = dbp_column_number(rel, lfirst(lc));
	return n;
}

/*
 * is_self_reference tells whether a foreign key takes every parent to a key:
 * it pairs the columns that are not the scope's, and perhaps those.
 */
static bool
is_self_reference(HierState *state, const AttrNumber *key, const AttrNumber *parent,
				  ForeignKeyCacheInfo *fk)
{
	int			n = list_length(state->spec.key);
	int			paired = 0;

	for (int i = 0; i < fk->nkeys; i++)
	{
		int			at = 0;

		while (at < n && (parent[at] != fk->conkey[i] || key[at] != fk->confkey[i]))
			at++;
		if (at == n)
			return false;
		paired += at >= state->spec.nscope;
	}
	return paired == n - state->spec.nscope;
}

/*
 * holds_at_once tells whether a foreign key holds after every statement.
 */
static bool
holds_at_once(Oid constraint)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	Form_pg_constraint form;
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_constraint) GETSTRUCT(tuple);
	result = !form->condeferrable && form->convalidated && CONSTRAINT_ENFORCED(form);
	ReleaseSysCache(tuple);
	return result;
}

/*
 * is_unique_alone tells whether keys are unique without the scope, so that a
 * node that is missing in one scope and found in another is the same one.
 */
static bool
is_unique_alone(HierState *state, Relation root)
{
	AttrNumber	key[HIER_MAX_KEY];
	int			n = resolve_columns(key, root, state->spec.key) - state->spec.nscope;
	ListCell   *lc;

	foreach(lc, state->spec.nscope > 0 ? RelationGetIndexList(root) : NIL)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;
		int			paired = 0;

		for (int i = 0; i < form->indnkeyatts && form->indisunique && form->indisvalid &&
			 form->indnkeyatts == n &&
			 heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL); i++)
		{
			for (int j = 0; j < n; j++)
				paired += form->indkey.values[i] == key[state->spec.nscope + j];
		}
		index_close(index, AccessShareLock);
		if (paired == n)
			return true;
	}
	return false;
}

/*
 * has_immediate_key tells whether some unique index on the key's columns holds
 * at every moment.
 */
static bool
has_immediate_key(HierState *state, Relation root)
{
	AttrNumber	key[HIER_MAX_KEY];
	int			n = resolve_columns(key, root, state->spec.key);
	bool		found = false;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(root))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;
		int			paired = 0;

		for (int i = 0; i < form->indnkeyatts; i++)
		{
			bool		is_key = false;

			for (int j = 0; j < n; j++)
				is_key |= form->indkey.values[i] == key[j];
			paired += is_key;
		}
		found |= paired == form->indnkeyatts && form->indisunique && form->indimmediate &&
			form->indisvalid && heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);
		index_close(index, AccessShareLock);
	}
	return found;
}

static bool
find_immediate_fk(HierState *state, Relation root)
{
	AttrNumber	key[HIER_MAX_KEY];
	AttrNumber	parent[HIER_MAX_KEY];
	ListCell   *lc;

	(void) resolve_columns(key, root, state->spec.key);
	(void) resolve_columns(parent, root, state->spec.parent);
	foreach(lc, copyObject(RelationGetFKeyList(root)))
	{
		ForeignKeyCacheInfo *fk = lfirst(lc);

		if (fk->confrelid == RelationGetRelid(root) &&
			is_self_reference(state, key, parent, fk) && holds_at_once(fk->conoid))
			return true;
	}
	return false;
}

/*
 * fill_state fills a state whose spec is there.
 */
static void
fill_state(HierState *state, Relation rel)
{
	HierSpec   *spec = &state->spec;
	Oid			rootid = dbp_hier_root(rel);
	Relation	root = table_open(rootid, AccessShareLock);
	int			n = list_length(spec->key);

	state->head.rootid = rootid;
	state->storageid = get_relname_relid(spec->storage, RelationGetNamespace(root));
	if (!OidIsValid(state->storageid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s\", which holds the hierarchy of %s, does not exist",
						spec->storage, dbp_relation_name(root)),
				 errhint("It must be in the schema of that table; dbpatterns.closure_disable gives up a lost one.")));
	if (dbp_relation_owner(state->storageid) != root->rd_rel->relowner)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("table \"%s\" does not belong to the owner of %s, whose hierarchy it would hold",
						spec->storage, dbp_relation_name(root)),
				 errhint("Give both the same owner with ALTER TABLE ... OWNER TO.")));

	if (spec->kind == HIER_GRAPH)
	{
		(void) resolve_columns(state->key, rel, spec->parent);
		(void) resolve_columns(state->key + n, rel, spec->key);
		dbp_key_type(&state->queue_type, rel, state->key, 2 * n);
	}
	else
	{
		(void) resolve_columns(state->key, rel, spec->key);
		(void) resolve_columns(state->parent, rel, spec->parent);
		dbp_key_type(&state->queue_type, rel, state->key, n);
		state->has_immediate_fk = find_immediate_fk(state, root);
		state->deferrable_key = !has_immediate_key(state, root);
		state->unique_alone = is_unique_alone(state, root);
	}
	dbp_key_type(&state->type, rel, state->key, n);
	table_close(root, AccessShareLock);
}

static void
free_plans(void *arg)
{
	HierState  *state = arg;

	if (state->lookup != NULL)
		SPI_freeplan(state->lookup);
	if (state->children != NULL)
		SPI_freeplan(state->children);
	for (int i = 0; i < lengthof(state->nested); i++)
	{
		if (state->nested[i] != NULL)
			SPI_freeplan(state->nested[i]);
	}
}

static void
free_plans_with(HierState *state, MemoryContext cxt)
{
	MemoryContextCallback *callback = MemoryContextAllocZero(cxt, sizeof(*callback));

	callback->func = free_plans;
	callback->arg = state;
	MemoryContextRegisterResetCallback(cxt, callback);
}

/*
 * require_own_storage raises unless the table that a trigger names was made the
 * storage of this hierarchy by the owner: anybody who may create a trigger can
 * name any table.  Ties get lost in a restore without event triggers, where the
 * registry still knows.
 */
static void
require_own_storage(HierState *state)
{
	DbpOwnerScope scope;
	DbpParam	params[3];
	bool		found;

	if (dbp_hier_target_of(state->storageid) == state->head.rootid)
		return;
	params[0] = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(state->head.rootid));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(dbp_hier_pattern(state->spec.kind)));
	params[2] = DBP_PARAM(TEXTOID, CStringGetTextDatum(state->spec.storage));
	SPI_connect();
	dbp_enter_owner(&scope, dbp_relation_owner(dbp_own_relation("registry")));
	found = dbp_sql_query_latest("SELECT FROM _dbpatterns.registry WHERE target = $1"
								 " AND pattern = $2 AND options ? $3", 3, params) > 0;
	dbp_leave_owner(&scope);
	SPI_finish();
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("table \"%s\" does not hold a hierarchy of %s", state->spec.storage,
						dbp_relation_name_by_oid(state->head.rootid)),
				 errhint("Drop the trigger \"%s\"; the owner of the table makes the right ones by enabling the hierarchy.",
						 state->trigger)));
}

static void
build_state(DbpRelState *head, Relation rel, void *arg)
{
	HierState  *state = (HierState *) head;
	Trigger    *trigger = arg;

	dbp_check_version();
	dbp_hier_parse_spec(trigger->tgnargs > 0 ? trigger->tgargs[0] : NULL, &state->spec);
	strlcpy(state->trigger, trigger->tgname, NAMEDATALEN);
	fill_state(state, rel);
	require_own_storage(state);
	free_plans_with(state, head->cxt);
}

/*
 * dbp_hier_state returns the state of rel under one of its triggers.
 */
HierState *
dbp_hier_state(Relation rel, Trigger *trigger)
{
	return (HierState *) dbp_relstate_get(states, rel, trigger->tgoid, trigger);
}

/*
 * dbp_hier_target_state makes a state for a table that need not have triggers
 * yet.  It lives in CurrentMemoryContext.
 */
HierState *
dbp_hier_target_state(Relation target, const HierSpec *spec)
{
	HierState  *state = palloc0(sizeof(HierState));

	state->head.relid = RelationGetRelid(target);
	state->head.cxt = CurrentMemoryContext;
	state->spec = *spec;
	fill_state(state, target);
	free_plans_with(state, CurrentMemoryContext);
	return state;
}

/*
 * dbp_hier_state_init prepares this backend.
 */
void
dbp_hier_state_init(void)
{
	states = dbp_relstate_cache("dbpatterns hierarchy", sizeof(HierState), build_state);
}

/* ---- look-ups in the table ------------------------------------------------ */

/*
 * append_conditions adds "column = $n AND ..." for some of the columns, with
 * the operators that make keys the same.
 */
static void
append_conditions(StringInfo sql, HierKeyType *type, List *columns, int from, int upto)
{
	for (int i = from; i < upto; i++)
	{
		Oid			typid = type->col[i].type;

		appendStringInfoString(sql, i > from ? " AND " : "");
		generate_operator_clause(sql, quote_identifier(list_nth(columns, i)), typid,
								 lookup_type_cache(typid, TYPECACHE_EQ_OPR)->eq_opr,
								 psprintf("$%d", i + 1), typid);
	}
}

static void
append_columns(StringInfo sql, List *columns)
{
	ListCell   *lc;

	foreach(lc, columns)
		appendStringInfo(sql, "%s%s", foreach_current_index(lc) > 0 ? ", " : "",
						 quote_identifier(lfirst(lc)));
}

/*
 * prepare makes a kept plan: the columns of those rows of the root whose
 * columns in "where" are the key given as parameters.
 */
static SPIPlanPtr
prepare(HierState *state, List *columns, List *where)
{
	StringInfoData sql;
	Oid			types[2 * HIER_MAX_KEY];
	SPIPlanPtr	plan;
	int			n = list_length(where);

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	append_columns(&sql, columns);
	appendStringInfo(&sql, " FROM %s WHERE ", dbp_relation_name_by_oid(state->head.rootid));
	append_conditions(&sql, &state->queue_type, where, 0, n);
	for (int i = 0; i < list_length(columns) && state->spec.kind == HIER_GRAPH; i++)
		appendStringInfo(&sql, " AND %s IS NOT NULL", quote_identifier(list_nth(columns, i)));
	for (int i = 0; i < n; i++)
		types[i] = state->queue_type.col[i].type;
	plan = SPI_prepare(sql.data, n, types);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed for \"%s\": %s", sql.data,
			 SPI_result_code_string(SPI_result));
	SPI_keepplan(plan);
	return plan;
}

/*
 * run runs a kept plan on what is committed now, and on our own changes.
 */
static void
run(SPIPlanPtr plan, const Datum *key, long limit)
{
	Snapshot	snapshot;
	int			rc;

	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	rc = SPI_execute_snapshot(plan, unconstify(Datum *, key), NULL, snapshot,
							  InvalidSnapshot, false, false, limit);
	if (rc != SPI_OK_SELECT)
		elog(ERROR, "look-up failed: %s", SPI_result_code_string(rc));
	UnregisterSnapshot(snapshot);
}

/*
 * result_key copies columns of a row of the result into cxt; NULL if one that
 * is not the scope's is NULL.
 */
static Datum *
result_key(HierState *state, uint64 row, MemoryContext cxt)
{
	Datum		values[HIER_MAX_KEY];
	MemoryContext oldcxt;
	Datum	   *key;

	for (int i = 0; i < state->type.n; i++)
	{
		bool		isnull;

		values[i] = dbp_sql_value(row, i, &isnull);
		if (isnull)
			return NULL;
	}
	oldcxt = MemoryContextSwitchTo(cxt);
	key = dbp_key_copy(&state->type, values);
	MemoryContextSwitchTo(oldcxt);
	return key;
}

/*
 * dbp_hier_immediate_fk tells whether a foreign key sees to it that every parent
 * exists once a statement ends.  The server does not check them in replicas.
 */
bool
dbp_hier_immediate_fk(HierState *state)
{
	return state->has_immediate_fk && SessionReplicationRole != SESSION_REPLICATION_ROLE_REPLICA;
}

/*
 * dbp_hier_look_up tells whether a node is in the table now, or an edge, and
 * sets parent to the key of its parent, or NULL.
 */
bool
dbp_hier_look_up(HierState *state, const Datum *key, Datum **parent)
{
	MemoryContext cxt = CurrentMemoryContext;
	bool		is_graph = state->spec.kind == HIER_GRAPH;
	DbpOwnerScope scope;
	bool		found;

	*parent = NULL;
	SPI_connect();
	dbp_enter_owner(&scope, dbp_relation_owner(state->head.rootid));
	if (state->lookup == NULL)
		state->lookup = prepare(state, state->spec.parent, is_graph ?
								list_concat_copy(state->spec.parent, state->spec.key) :
								state->spec.key);
	run(state->lookup, key, 1);
	found = SPI_processed > 0;
	if (found && !is_graph)
		*parent = result_key(state, 0, cxt);
	dbp_leave_owner(&scope);
	SPI_finish();
	return found;
}

/*
 * look_up_alone looks for a row in which some columns, the scope's apart, hold
 * what a key has there, in another scope than the key's.  It sets found to the
 * key of the first.
 */
static bool
look_up_alone(HierState *state, List *columns, const Datum *key, Datum **found)
{
	MemoryContext cxt = CurrentMemoryContext;
	int			nscope = state->spec.nscope;
	int			n = state->type.n;
	DbpParam	params[HIER_MAX_KEY];
	StringInfoData sql;
	DbpOwnerScope scope;
	bool		any;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	append_columns(&sql, state->spec.key);
	appendStringInfo(&sql, " FROM %s WHERE ", dbp_relation_name_by_oid(state->head.rootid));
	append_conditions(&sql, &state->type, columns, nscope, n);
	appendStringInfoString(&sql, " AND NOT (");
	append_conditions(&sql, &state->type, columns, 0, nscope);
	appendStringInfoString(&sql, ") LIMIT 1");
	for (int i = 0; i < n; i++)
		params[i] = DBP_PARAM(state->type.col[i].type, key[i]);
	SPI_connect();
	dbp_enter_owner(&scope, dbp_relation_owner(state->head.rootid));
	any = dbp_sql_query_latest(sql.data, n, params) > 0;
	if (any)
		*found = result_key(state, 0, cxt);
	dbp_leave_owner(&scope);
	SPI_finish();
	return any;
}

static void
refuse_scopes(HierState *state, const Datum *child, const Datum *parent)
{
	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("node %s of hierarchy \"%s\" and its parent %s are in different scopes",
					dbp_key_text(&state->type, child), state->spec.storage,
					dbp_key_text(&state->type, parent)),
			 errhint("Move a node to another scope together with all that is below it."),
			 err_generic_string(PG_DIAG_CONSTRAINT_NAME, state->spec.storage)));
}

/*
 * dbp_hier_require_not_elsewhere raises 23514 if the parent of a node, which is
 * not in the node's scope, is in another one.
 */
void
dbp_hier_require_not_elsewhere(HierState *state, const Datum *child, const Datum *parent)
{
	Datum	   *found;

	if (state->unique_alone && look_up_alone(state, state->spec.key, parent, &found))
		refuse_scopes(state, child, found);
}

/*
 * dbp_hier_require_same_scope raises 23514 if a node that arrives has a child
 * in another scope.
 */
void
dbp_hier_require_same_scope(HierState *state, const Datum *key)
{
	Datum	   *found;

	if (state->unique_alone && look_up_alone(state, state->spec.parent, key, &found))
		refuse_scopes(state, found, key);
}

/*
 * dbp_hier_look_up_edge_into tells whether the table has an edge of a graph
 * whose child is the given key.
 */
bool
dbp_hier_look_up_edge_into(HierState *state, const Datum *key)
{
	DbpOwnerScope scope;
	bool		found;

	Assert(state->spec.kind == HIER_GRAPH);
	SPI_connect();
	dbp_enter_owner(&scope, dbp_relation_owner(state->head.rootid));
	if (state->children == NULL)
		state->children = prepare(state, state->spec.parent, state->spec.key);
	run(state->children, key, 1);
	found = SPI_processed > 0;
	dbp_leave_owner(&scope);
	SPI_finish();
	return found;
}

/*
 * dbp_hier_look_up_children returns the keys of the nodes in the table whose
 * parent is the given key, whether or not that exists.
 */
List *
dbp_hier_look_up_children(HierState *state, const Datum *key)
{
	MemoryContext cxt = CurrentMemoryContext;
	DbpOwnerScope scope;
	List	   *children = NIL;

	Assert(state->spec.kind != HIER_GRAPH);
	SPI_connect();
	dbp_enter_owner(&scope, dbp_relation_owner(state->head.rootid));
	if (state->children == NULL)
		state->children = prepare(state, state->spec.key, state->spec.parent);
	run(state->children, key, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum	   *child = result_key(state, i, cxt);
		MemoryContext oldcxt = MemoryContextSwitchTo(cxt);

		if (child != NULL)
			children = lappend(children, child);
		MemoryContextSwitchTo(oldcxt);
	}
	dbp_leave_owner(&scope);
	SPI_finish();
	return children;
}

/*-------------------------------------------------------------------------
 *
 * state.c
 *	  What triggers and maintenance know of a hierarchy.
 *
 * The state of a table under one of its triggers is made from the trigger's
 * argument and kept until the table, its root or a schema's name changes.
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
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "commands/trigger.h"
#include "compat/compat.h"
#include "core/append.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/target.h"
#include "core/version.h"
#include "hierarchy/hierarchy.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

static DbpRelStateCache *states;

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
 * is_unique tells whether a unique index sees to it that no two rows have the
 * same values in some columns: one on all of them, or on a part.
 */
static bool
is_unique(Relation rel, const AttrNumber *attnums, int n, bool at_once)
{
	bool		found = false;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;
		bool		covers = form->indisunique && form->indisvalid &&
			(form->indimmediate || !at_once) &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);

		for (int i = 0; i < form->indnkeyatts && covers; i++)
		{
			int			at = 0;

			while (at < n && attnums[at] != form->indkey.values[i])
				at++;
			covers = at < n;
		}
		found |= covers;
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
 * find_key_facts finds out what holds for the keys of an adjacency list.
 */
static void
find_key_facts(HierState *state, Relation root)
{
	AttrNumber	key[HIER_MAX_KEY];
	int			n = resolve_columns(key, root, state->spec.key);
	int			nscope = state->spec.nscope;

	state->has_immediate_fk = find_immediate_fk(state, root);
	state->deferrable_key = !is_unique(root, key, n, true);
	state->unique_alone = nscope > 0 && is_unique(root, key + nscope, n - nscope, false);
}

/*
 * fill_state fills a state whose spec is there.
 */
static void
fill_state(HierState *state, Relation rel)
{
	HierSpec   *spec = &state->spec;
	Oid			rootid = dbp_partition_root(RelationGetRelid(rel));
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
		find_key_facts(state, root);
		if (spec->kind == HIER_NESTED && spec->order_by != NULL)
			state->order = dbp_column_number(rel, spec->order_by);
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
	for (int i = 0; i < lengthof(state->elsewhere); i++)
	{
		if (state->elsewhere[i] != NULL)
			SPI_freeplan(state->elsewhere[i]);
	}
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

/*
 * dbp_hier_immediate_fk tells whether a foreign key sees to it that every parent
 * exists once a statement ends.  The server does not check them in replicas.
 */
bool
dbp_hier_immediate_fk(HierState *state)
{
	return state->has_immediate_fk && SessionReplicationRole != SESSION_REPLICATION_ROLE_REPLICA;
}

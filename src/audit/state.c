/*-------------------------------------------------------------------------
 *
 * state.c
 *	  What the row trigger knows of a relation.
 *
 * Built once per relation and trigger, and again after an ALTER.  A partition's
 * rows are logged in the layout of the root: same columns, but perhaps other
 * attribute numbers, hence the map.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/state.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "audit/audit.h"
#include "catalog/namespace.h"
#include "compat/compat.h"
#include "core/names.h"
#include "core/target.h"
#include "core/version.h"
#include "utils/rel.h"

static DbpRelStateCache *states = NULL;

/* A shape was recorded in this transaction; a rollback takes it away. */
static bool uncommitted_shape = false;

static void
build_columns(AuditRelation *state, Relation root, List *key)
{
	int			natts = RelationGetDescr(root)->natts;
	bool	   *skip = palloc0(natts * sizeof(bool));
	bool	   *redact = palloc0(natts * sizeof(bool));
	ListCell   *lc;

	dbp_audit_resolve_options(&state->options, root, skip, redact);
	state->desc = CreateTupleDescCopyConstr(RelationGetDescr(root));
	state->codec = dbp_codec_create(state->desc, skip, redact, state->head.cxt);

	state->watched = palloc0(natts * sizeof(bool));
	for (int i = 0; i < natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(state->desc, i);

		state->watched[i] = !att->attisdropped && !skip[i] &&
			att->attgenerated != ATTRIBUTE_GENERATED_VIRTUAL;
	}

	state->is_key = palloc0(natts * sizeof(bool));
	state->keys = palloc(sizeof(int) * Max(list_length(key), 1));
	foreach(lc, key)
	{
		int			i = dbp_column_number(root, lfirst(lc)) - 1;

		state->keys[state->nkeys++] = i;
		state->is_key[i] = true;
	}
}

/*
 * build_map finds each root column in a partition whose attribute numbers
 * differ.
 */
static void
build_map(AuditRelation *state, Relation rel)
{
	TupleDesc	leaf = RelationGetDescr(rel);
	int			natts = state->desc->natts;
	bool		differs = (leaf->natts != natts);
	AttrNumber *map = palloc0(sizeof(AttrNumber) * natts);

	for (int i = 0; i < natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(state->desc, i);

		if (att->attisdropped)
			continue;
		map[i] = dbp_column_number(rel, NameStr(att->attname));
		differs |= (map[i] != i + 1);
	}
	if (differs)
		state->map = map;
}

static void
build_state(DbpRelState *head, Relation rel, void *arg)
{
	AuditRelation *state = (AuditRelation *) head;
	Trigger    *trigger = arg;
	Oid			rootid = dbp_partition_root(RelationGetRelid(rel));
	Relation	root;
	List	   *key;
	bool		this_life;

	dbp_check_version();
	if (RelationGetNamespace(rel) == get_namespace_oid("_dbpatterns", true))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table %s belongs to dbpatterns and cannot be audited",
						dbp_relation_name(rel)),
				 errhint("Drop the trigger \"%s\".", trigger->tgname)));

	head->rootid = rootid;
	dbp_audit_parse_options(trigger->tgnargs > 0 ? trigger->tgargs[0] : NULL,
							&state->options);

	root = table_open(rootid, AccessShareLock);
	key = dbp_audit_key_columns(root, &state->options);
	build_columns(state, root, key);
	if (rootid != RelationGetRelid(rel))
		build_map(state, rel);
	SPI_connect();
	(void) dbp_audit_last_shape(root, &this_life);
	state->shape = dbp_audit_relation_shape(root, key, &state->relation);

	/* The first change in this database: from now on markers speak of it. */
	if (!this_life)
		(void) dbp_audit_follow_coverage(rootid, true);
	SPI_finish();
	table_close(root, AccessShareLock);
}

/*
 * dbp_audit_state returns the state of rel under trigger.
 */
AuditRelation *
dbp_audit_state(Relation rel, Trigger *trigger)
{
	return (AuditRelation *) dbp_relstate_get(states, rel, trigger->tgoid, trigger);
}

/*
 * dbp_audit_state_uncommitted remembers that states of this transaction rest on a
 * shape that a rollback would take away.
 */
void
dbp_audit_state_uncommitted(void)
{
	uncommitted_shape = true;
}

static void
at_xact_end(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE)
		return;

	/* A prepared transaction may still be rolled back. */
	if (event != XACT_EVENT_COMMIT && uncommitted_shape)
		dbp_relstate_forget(states);
	uncommitted_shape = false;
}

static void
at_subxact_end(SubXactEvent event, SubTransactionId mine,
			   SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && uncommitted_shape)
		dbp_relstate_forget(states);
}

/*
 * dbp_audit_state_init prepares this backend.
 */
void
dbp_audit_state_init(void)
{
	states = dbp_relstate_cache("dbpatterns audit", sizeof(AuditRelation), build_state);
	RegisterXactCallback(at_xact_end, NULL);
	RegisterSubXactCallback(at_subxact_end, NULL);
}

/*-------------------------------------------------------------------------
 *
 * cycle.c
 *	  Nodes that a flush cannot place: below themselves, or without a parent.
 *
 * For closure tables and nested sets alike.  A flush inside another statement
 * may not have been told of everything that has changed, so what it takes for
 * a cycle is looked up in the table before anybody hears of it.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/cycle.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "hierarchy/hierarchy.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"

/* Nodes of a cycle that an error shows. */
#define CYCLE_PRINTED	10000

/*
 * raise_cycle raises 23514.  path leads from a node up to where it comes back to
 * key, which is on it; what comes before leads to the cycle and is not part of
 * it.
 */
static void
raise_cycle(HierState *state, List *path, const Datum *key)
{
	StringInfoData text;
	int			printed = 0;
	bool		found = false;
	ListCell   *lc;

	initStringInfo(&text);
	foreach(lc, path)
	{
		found |= dbp_key_equal(&state->type, lfirst(lc), key);
		if (!found)
			continue;
		appendStringInfo(&text, "%s -> ", dbp_key_text(&state->type, lfirst(lc)));
		if (++printed == CYCLE_PRINTED)
		{
			appendStringInfo(&text, "(%d more) -> ",
							 list_length(path) - foreach_current_index(lc) - 1);
			break;
		}
	}
	appendStringInfoString(&text, dbp_key_text(&state->type, key));
	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("node %s of hierarchy \"%s\" would be below itself",
					dbp_key_text(&state->type, key), state->spec.storage),
			 errdetail("From each node to its parent: %s.", text.data),
			 errhint("Give one of these nodes a parent that is not below it."),
			 err_generic_string(PG_DIAG_CONSTRAINT_NAME, state->spec.storage)));
}

/*
 * dbp_hier_refuse_cycle follows the table from a node that seems to be below
 * itself.  It raises 23514 if it comes back to a node on the way; otherwise it
 * touches the nodes it has seen, for the flush to begin anew, and tells whether
 * one of them is new to it.
 */
bool
dbp_hier_refuse_cycle(HierState *state, HierQueue *queue, Datum *node)
{
	HierMap    *seen = dbp_map_create(queue->type, sizeof(HierMapEntry), CurrentMemoryContext);
	List	   *path = NIL;
	Datum	   *key = node;
	int			before = queue->ntouched;
	bool		found;
	ListCell   *lc;

	while (key != NULL)
	{
		Datum	   *parent;

		CHECK_FOR_INTERRUPTS();
		(void) dbp_map_enter(seen, key, &found);
		if (found)
			raise_cycle(state, path, key);
		path = lappend(path, key);
		if (!dbp_hier_look_up(state, key, &parent))
			parent = NULL;
		key = parent;
	}
	foreach(lc, path)
		dbp_hier_touch(queue, lfirst(lc), &found)->known = false;
	return queue->ntouched > before;
}

/*
 * dbp_hier_accept_orphan raises 23503 if a node may not be without its parent,
 * and 23514 if that is in another scope; otherwise it is remembered.
 */
void
dbp_hier_accept_orphan(HierState *state, const Datum *key, const Datum *parent)
{
	dbp_hier_require_not_elsewhere(state, key, parent);
	if (state->spec.orphan_error && !dbp_hier_immediate_fk(state))
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("node %s of hierarchy \"%s\" has no parent",
						dbp_key_text(&state->type, key), state->spec.storage),
				 errdetail("Node %s does not exist.", dbp_key_text(&state->type, parent)),
				 errhint("A parent must exist when the statement ends; NULL makes a root."),
				 err_generic_string(PG_DIAG_CONSTRAINT_NAME, state->spec.storage)));
	dbp_hier_remember_orphan(state, key);
}

/*-------------------------------------------------------------------------
 *
 * trigger.c
 *	  Trigger protocol checks and trigger look-up.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/trigger.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/trigger.h"

/*
 * dbp_trigger_data returns the trigger data of a call, or raises 39P01 when
 * the function was not called by the trigger manager.
 */
TriggerData *
dbp_trigger_data(FunctionCallInfo fcinfo, const char *function)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by trigger manager", function),
				 errhint("Use it in CREATE TRIGGER only.")));
	return (TriggerData *) fcinfo->context;
}

/*
 * dbp_copy_trigger copies what tells a trigger apart: the relation's own goes
 * with the next invalidation, which any look into a catalog can bring.
 */
Trigger *
dbp_copy_trigger(const Trigger *trigger)
{
	Trigger    *copy = palloc(sizeof(Trigger));

	*copy = *trigger;
	copy->tgname = pstrdup(trigger->tgname);
	copy->tgargs = palloc(sizeof(char *) * Max(trigger->tgnargs, 1));
	for (int i = 0; i < trigger->tgnargs; i++)
		copy->tgargs[i] = pstrdup(trigger->tgargs[i]);
	copy->tgqual = trigger->tgqual ? pstrdup(trigger->tgqual) : NULL;
	copy->tgattr = NULL;
	copy->tgoldtable = NULL;
	copy->tgnewtable = NULL;
	return copy;
}

/*
 * dbp_find_trigger returns a copy of an open relation's trigger of that name,
 * or NULL.
 */
Trigger *
dbp_find_trigger(Relation rel, const char *name)
{
	TriggerDesc *desc = rel->trigdesc;

	for (int i = 0; desc != NULL && i < desc->numtriggers; i++)
	{
		if (strcmp(desc->triggers[i].tgname, name) == 0)
			return dbp_copy_trigger(&desc->triggers[i]);
	}
	return NULL;
}

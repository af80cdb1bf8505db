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
 * dbp_find_trigger returns an open relation's trigger of that name, or NULL.
 */
Trigger *
dbp_find_trigger(Relation rel, const char *name)
{
	TriggerDesc *desc = rel->trigdesc;

	if (desc != NULL)
	{
		for (int i = 0; i < desc->numtriggers; i++)
		{
			if (strcmp(desc->triggers[i].tgname, name) == 0)
				return &desc->triggers[i];
		}
	}
	return NULL;
}

/*-------------------------------------------------------------------------
 *
 * trigger.h
 *	  Trigger protocol checks.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/trigger.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_TRIGGER_H
#define DBP_TRIGGER_H

#include "commands/trigger.h"
#include "fmgr.h"

extern TriggerData *dbp_trigger_data(FunctionCallInfo fcinfo, const char *function);
extern Trigger *dbp_copy_trigger(const Trigger *trigger);
extern Trigger *dbp_find_trigger(Relation rel, const char *name);

#endif							/* DBP_TRIGGER_H */

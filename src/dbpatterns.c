/*-------------------------------------------------------------------------
 *
 * dbpatterns.c
 *	  Library entry point: one init call per module, nothing else.
 *
 * The only file that knows all modules.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/dbpatterns.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	MarkGUCPrefixReserved("dbpatterns");
}

/*-------------------------------------------------------------------------
 *
 * time.c
 *	  Which time it is, for versions and for their readers.
 *
 * dbpatterns.as_of is the time that the views of versioning_views show.  While
 * it is set, versioned tables refuse changes: an application that has gone
 * back in time must not write into the present.
 *
 * dbpatterns.versioning_import lets the owner of a table load rows with the
 * periods they have.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/time.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "compat/compat.h"
#include "core/names.h"
#include "core/owner.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#include "versioning/system_time.h"
#include "versioning/versioning.h"

PG_FUNCTION_INFO_V1(dbpatterns_as_of);

static char *as_of_text = NULL;
static TimestampTz as_of = DT_NOEND;	/* infinity: the present */
static bool importing = false;

/*
 * dbp_versioning_now returns the system time of a change of a table that is made now.
 */
TimestampTz
dbp_versioning_now(Relation rel, TimeSource source)
{
	TimestampTz when;

	if (dbp_versioning_system_time_of(rel, &when))
		return when;
	switch (source)
	{
		case TIME_STATEMENT:
			return GetCurrentStatementStartTimestamp();
		case TIME_CLOCK:
			return GetCurrentTimestamp();
		default:
			return GetCurrentTransactionStartTimestamp();
	}
}

/*
 * dbp_versioning_importing tells whether rows keep the periods they are given, and
 * raises 42501 unless the table is the current user's.
 */
bool
dbp_versioning_importing(Relation rel)
{
	if (importing)
		dbp_require_owner(RelationGetRelid(rel));
	return importing;
}

/*
 * dbp_versioning_require_present raises 25006 while the session reads the past.
 */
void
dbp_versioning_require_present(Relation rel)
{
	if (as_of == DT_NOEND)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
			 errmsg("table %s cannot be changed while dbpatterns.as_of is set",
					dbp_relation_name(rel)),
			 errhint("RESET dbpatterns.as_of first.")));
}

static bool
check_as_of(char **newval, void **extra, GucSource source)
{
	TimestampTz when = DT_NOEND;

	if (**newval != '\0' && !dbp_versioning_parse_time(*newval, &when))
	{
		GUC_check_errdetail("It must be a time, or empty for the present.");
		return false;
	}
	*extra = guc_malloc(LOG, sizeof(TimestampTz));
	if (*extra == NULL)
		return false;
	*(TimestampTz *) *extra = when;
	return true;
}

static void
assign_as_of(const char *newval, void *extra)
{
	as_of = *(TimestampTz *) extra;
}

/*
 * as_of() returns the time that dbpatterns.as_of is set to, infinity if it is not: a
 * row that is current contains that time.
 *
 * Raises nothing; takes no lock; runs as the caller.
 */
Datum
dbpatterns_as_of(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(as_of);
}

/*
 * dbp_versioning_time_init defines the settings.
 */
void
dbp_versioning_time_init(void)
{
	DefineCustomStringVariable("dbpatterns.as_of",
							   "Time that views of versioning_views show.",
							   "Empty: the present.  Versioned tables cannot be changed while it is set.",
							   &as_of_text, "", PGC_USERSET, 0,
							   check_as_of, assign_as_of, NULL);
	DefineCustomBoolVariable("dbpatterns.versioning_import",
							 "Rows of versioned tables keep the periods they are given.",
							 "For the owner of a table that is loaded or restored; no history is written.",
							 &importing, false, PGC_USERSET, 0, NULL, NULL, NULL);
}

/*-------------------------------------------------------------------------
 *
 * system_time.c
 *	  The system time that a session has set.
 *
 * It is the setting dbpatterns.system_time, so that the server gives it the
 * life of a setting: it survives COMMIT and is undone by ROLLBACK and ROLLBACK
 * TO.  The check hook turns it into microseconds once.
 *
 * The hard part is who may set it.  Whoever chooses the time of a change forges
 * history, and set_system_time can be called by everybody, as in
 * temporal_tables.  So the setting itself is for superusers and for those who
 * were granted SET on it, whose time is good for every table.  What anybody
 * else sets through the function carries his role, and is good for tables that
 * he has the rights of an owner on; a change of another table raises.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/system_time.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_parameter_acl.h"
#include "compat/compat.h"
#include "core/names.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#include "versioning/system_time.h"

PG_FUNCTION_INFO_V1(dbpatterns_versioning_set_system_time);

#define SETTING "dbpatterns.system_time"

/* Between the time and the role that may set it for its own tables only. */
#define ROLE_MARK " by "

/* The setting, parsed. */
typedef struct SystemTime
{
	bool		is_set;
	TimestampTz when;
	Oid			role;			/* InvalidOid: good for every table */
} SystemTime;

static char *setting = NULL;
static SystemTime current = {false, 0, InvalidOid};

/*
 * dbp_versioning_parse_time reads a timestamp without raising: a setting may come from where
 * there is nobody to raise to.
 */
bool
dbp_versioning_parse_time(const char *string, TimestampTz *when)
{
	char		buffer[MAXDATELEN + MAXDATEFIELDS];
	char	   *fields[MAXDATEFIELDS];
	int			types[MAXDATEFIELDS];
	int			nfields;
	int			dtype;
	int			tz;
	fsec_t		fsec;
	struct pg_tm tm;
	DateTimeErrorExtra extra;

	if (ParseDateTime(string, buffer, sizeof(buffer), fields, types, MAXDATEFIELDS,
					  &nfields) != 0 ||
		DecodeDateTime(fields, types, nfields, &dtype, &tm, &fsec, &tz, &extra) != 0)
		return false;
	return dtype == DTK_DATE && tm2timestamp(&tm, fsec, &tz, when) == 0;
}

static bool
check_setting(char **newval, void **extra, GucSource source)
{
	SystemTime	parsed = {false, 0, InvalidOid};
	char	   *copy = pstrdup(*newval);
	char	   *mark = strstr(copy, ROLE_MARK);

	if (mark != NULL)
	{
		*mark = '\0';
		parsed.role = (Oid) strtoul(mark + strlen(ROLE_MARK), NULL, 10);
	}
	if (copy[0] != '\0')
	{
		parsed.is_set = dbp_versioning_parse_time(copy, &parsed.when);
		if (!parsed.is_set)
		{
			GUC_check_errdetail("It must be a time that is finite, or empty.");
			return false;
		}
	}

	*extra = guc_malloc(LOG, sizeof(SystemTime));
	if (*extra == NULL)
		return false;
	memcpy(*extra, &parsed, sizeof(SystemTime));
	return true;
}

static void
assign_setting(const char *newval, void *extra)
{
	if (extra != NULL)
		memcpy(&current, extra, sizeof(SystemTime));
}

static const char *
role_name(Oid role)
{
	char	   *name = GetUserNameFromId(role, true);

	return name != NULL ? quote_identifier(name) : psprintf("%u", role);
}

/*
 * dbp_versioning_system_time_of returns whether a system time is set, and which;
 * it raises 42501 if whoever set it may not do so for rel.
 */
bool
dbp_versioning_system_time_of(Relation rel, TimestampTz *when)
{
	if (!current.is_set)
		return false;

	if (OidIsValid(current.role) &&
		(rel == NULL || !has_privs_of_role(current.role, rel->rd_rel->relowner)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 rel != NULL ?
				 errmsg("role %s may not set the system time of table %s",
						role_name(current.role), dbp_relation_name(rel)) :
				 errmsg("role %s may not set the system time of this table",
						role_name(current.role)),
				 errdetail("A role sets the system time of tables that belong to it."),
				 errhint("Call dbpatterns.set_system_time(NULL), or let a superuser run "
						 "GRANT SET ON PARAMETER " SETTING ".")));
	*when = current.when;
	return true;
}

/*
 * dbp_versioning_system_time does so where no table is known: only a time that
 * is good for every table passes.
 */
bool
dbp_versioning_system_time(TimestampTz *when)
{
	return dbp_versioning_system_time_of(NULL, when);
}

/*
 * set_system_time(timestamptz) sets the time that versioned tables take for
 * the present one, until the session ends, the transaction or savepoint it was
 * called in is rolled back, or it is called again; NULL ends it.
 *
 * Raises 22008 for an infinite time.  Takes no lock and runs as its caller.
 * The time is good for tables whose owner's rights the caller has, and for all
 * tables if the caller may SET dbpatterns.system_time.  An identical second
 * call changes nothing.  The name and the life of the setting are those of
 * temporal_tables.
 */
Datum
dbpatterns_versioning_set_system_time(PG_FUNCTION_ARGS)
{
	char	   *value = "";

	if (!PG_ARGISNULL(0))
	{
		TimestampTz when = PG_GETARG_TIMESTAMPTZ(0);

		if (TIMESTAMP_NOT_FINITE(when))
			ereport(ERROR,
					(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
					 errmsg("system time must be finite"),
					 errhint("Pass NULL to return to the time of the transaction.")));
		value = pstrdup(timestamptz_to_str(when));
		if (!superuser() &&
			pg_parameter_aclcheck(SETTING, GetUserId(), ACL_SET) != ACLCHECK_OK)
			value = psprintf("%s" ROLE_MARK "%u", value, GetUserId());
	}

	(void) set_config_option(SETTING, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SET,
							 true, 0, false);
	PG_RETURN_VOID();
}

/*
 * dbp_versioning_system_time_init defines the setting.
 */
void
dbp_versioning_system_time_init(void)
{
	DefineCustomStringVariable(SETTING,
							   "The time that versioned tables take for the present one.",
							   "Empty: the time of the transaction.",
							   &setting, "", PGC_SUSET,
							   GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE,
							   check_setting, assign_setting, NULL);
}

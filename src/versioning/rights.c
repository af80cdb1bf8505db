/*-------------------------------------------------------------------------
 *
 * rights.c
 *	  Row-level security of a history.
 *
 * Nobody but its owner may read a history until the owner grants that.  Where
 * the table has row-level security, the history has it as well, with the same
 * policies for reading: they speak of columns, which both tables have.  One that
 * does not work there hides rows and shows none: a permissive one is left out, in
 * place of a restrictive one stands one that is false.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/rights.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/sql.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "versioning/versioning.h"

/*
 * drop_copies drops the policies of the history that have the name of one of the
 * table, or had one when they were copied.
 */
static void
drop_copies(Oid historyid)
{
	DbpParam	param = DBP_PARAM(OIDOID, ObjectIdGetDatum(historyid));
	uint64		rows;
	List	   *names = NIL;
	ListCell   *lc;

	rows = dbp_sql_query("SELECT p.polname FROM pg_catalog.pg_policy p"
						 " WHERE p.polrelid OPERATOR(pg_catalog.=) $1"
						 " AND pg_catalog.obj_description(p.oid, 'pg_policy')"
						 "  OPERATOR(pg_catalog.=) 'dbpatterns: copied from the versioned table'"
						 " ORDER BY 1", 1, &param);
	for (uint64 i = 0; i < rows; i++)
		names = lappend(names, dbp_sql_text(i, 0));
	foreach(lc, names)
		dbp_versioning_command(psprintf("DROP POLICY %s ON %s", quote_identifier(lfirst(lc)),
										dbp_relation_name_by_oid(historyid)));
}

/* A policy to be made. */
typedef struct Copy
{
	char	   *create;
	char	   *instead;		/* if that fails; NULL: nothing */
	char	   *comment;
} Copy;

static void
make_copy(void *arg)
{
	Copy	   *copy = arg;

	dbp_versioning_command(copy->create);
	dbp_versioning_command(copy->comment);
}

static void
copy_policies(Oid baseid, Oid historyid)
{
	char	   *history = dbp_relation_name_by_oid(historyid);
	DbpParam	params[2];
	uint64		rows;
	List	   *copies = NIL;
	ListCell   *lc;

	params[0] = DBP_PARAM(OIDOID, ObjectIdGetDatum(baseid));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(history));
	rows = dbp_sql_query("SELECT pg_catalog.format('CREATE POLICY %I ON %s AS %s FOR SELECT TO %s USING (%s)',"
						 "  p.polname, $2, CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,"
						 "  r.names, pg_catalog.pg_get_expr(p.polqual, p.polrelid)),"
						 " CASE WHEN NOT p.polpermissive THEN"
						 "  pg_catalog.format('CREATE POLICY %I ON %s AS RESTRICTIVE FOR SELECT TO %s USING (false)',"
						 "  p.polname, $2, r.names) END,"
						 " pg_catalog.format('COMMENT ON POLICY %I ON %s IS ''dbpatterns: copied from the versioned table''',"
						 "  p.polname, $2)"
						 " FROM pg_catalog.pg_policy p, LATERAL (SELECT"
						 "  COALESCE(pg_catalog.string_agg(pg_catalog.quote_ident(a.rolname), ', '), 'PUBLIC') AS names"
						 "  FROM pg_catalog.pg_roles a WHERE a.oid OPERATOR(pg_catalog.=) ANY (p.polroles)) r"
						 " WHERE p.polrelid OPERATOR(pg_catalog.=) $1"
						 " AND p.polcmd IN ('r', '*') AND p.polqual IS NOT NULL ORDER BY p.polname",
						 2, params);
	for (uint64 i = 0; i < rows; i++)
	{
		Copy	   *copy = palloc(sizeof(Copy));

		copy->create = dbp_sql_text(i, 0);
		copy->instead = dbp_sql_text(i, 1);
		copy->comment = dbp_sql_text(i, 2);
		copies = lappend(copies, copy);
	}
	foreach(lc, copies)
	{
		Copy	   *copy = lfirst(lc);
		ErrorData  *error = dbp_attempt(make_copy, copy, true);

		if (error == NULL)
			continue;
		if (!dbp_error_lasts(error->sqlerrcode))
			ReThrowError(error);
		ereport(NOTICE,
				(errmsg("history %s has no copy of a policy of table %s", history,
						dbp_relation_name_by_oid(baseid)),
				 errdetail("%s.", error->message),
				 errhint("Create a policy for the history; until then fewer rows of the past can be seen.")));
		if (copy->instead != NULL)
		{
			copy->create = copy->instead;
			make_copy(copy);
		}
	}
}

static bool
has_row_security(Oid relid, bool *forced)
{
	Relation	rel = table_open(relid, AccessShareLock);
	bool		enabled = rel->rd_rel->relrowsecurity;

	*forced = rel->rd_rel->relforcerowsecurity;
	table_close(rel, NoLock);
	return enabled;
}

/*
 * dbp_versioning_sync_rights brings the row-level security of a history in line with its
 * table.  It is never switched off: whoever wants that does so himself.
 */
void
dbp_versioning_sync_rights(Oid baseid, Oid historyid)
{
	DbpOwnerScope scope;
	char	   *history = dbp_relation_name_by_oid(historyid);
	bool		force;
	bool		forced;

	if (!has_row_security(baseid, &force))
		return;
	dbp_enter_owner(&scope, dbp_relation_owner(historyid));
	if (!has_row_security(historyid, &forced))
		dbp_versioning_command(psprintf("ALTER TABLE %s ENABLE ROW LEVEL SECURITY", history));
	if (force && !forced)
		dbp_versioning_command(psprintf("ALTER TABLE %s FORCE ROW LEVEL SECURITY", history));
	drop_copies(historyid);
	copy_policies(baseid, historyid);
	dbp_leave_owner(&scope);
}

/*-------------------------------------------------------------------------
 *
 * export.c
 *	  All that belongs to a tenant, to take along.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/export.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/names.h"
#include "core/owner.h"
#include "core/sql.h"
#include "core/target.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "tenant/belongings.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(dbpatterns_tenant_rows);
PG_FUNCTION_INFO_V1(dbpatterns_tenant_export);

#define ROWS_AT_ONCE	1000

/*
 * tenant_rows(tenant text) returns all rows of a tenant as JSON, parents first.
 *
 * Raises what tenant_verify does, and takes its locks.
 */
Datum
dbpatterns_tenant_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	DbpOwnerScope scope;
	DbpParam	tenant;
	int			n;
	Belonging  *tables = dbp_tenant_begin_belongings(fcinfo, &scope, &tenant, &n);

	for (int i = 0; i < n; i++)
	{
		char	   *table = dbp_relation_name_by_oid(tables[i].relid);
		char	   *sql = psprintf("SELECT %s::pg_catalog.regclass, to_jsonb(t) FROM %s t WHERE %s",
								   quote_literal_cstr(table), table, dbp_tenant_condition(&tables[i], "$1"));
		Portal		portal = SPI_cursor_open_with_args(NULL, sql, 1, &tenant.type, &tenant.value,
													   NULL, false, 0);

		for (SPI_cursor_fetch(portal, true, ROWS_AT_ONCE); SPI_processed > 0;
			 SPI_cursor_fetch(portal, true, ROWS_AT_ONCE))
		{
			for (uint64 j = 0; j < SPI_processed; j++)
				tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[j]);
			SPI_freetuptable(SPI_tuptable);
		}
		SPI_cursor_close(portal);
	}
	dbp_tenant_end_belongings(&scope);
	PG_RETURN_NULL();
}

/*
 * file_name returns the name of a file for a table, with nothing in it that a
 * path could mean otherwise.
 */
static char *
file_name(const char *directory, int number, const char *table)
{
	char	   *name = pstrdup(table);

	for (char *c = name; *c != '\0'; c++)
	{
		if (!isalnum((unsigned char) *c) && strchr("._-", *c) == NULL)
			*c = '_';
	}
	return psprintf("%s/%03d_%s.csv", directory, number, name);
}

/*
 * tenant_export(tenant text, directory text) writes the rows of a tenant to files on the
 * server, one for each table, in CSV with a header; their names say in which order to load them.
 *
 * directory: an absolute path of a directory that is there.  Raises what tenant_verify
 * does, and what COPY does: 42501 without the rights of pg_write_server_files, 42602 for
 * a relative path, 58P01 where there is no such directory.  Takes ACCESS SHARE on the
 * tables; runs as the caller.
 */
Datum
dbpatterns_tenant_export(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	DbpOwnerScope scope;
	DbpParam	tenant;
	char	   *id;
	int			n;
	Belonging  *tables;

	dbp_require_argument(fcinfo, 1, "directory", "Name a directory on the server.");
	tables = dbp_tenant_begin_belongings(fcinfo, &scope, &tenant, &n);
	id = quote_literal_cstr(TextDatumGetCString(tenant.value));
	for (int i = 0; i < n; i++)
	{
		char	   *table = dbp_relation_name_by_oid(tables[i].relid);
		char	   *file = file_name(text_to_cstring(PG_GETARG_TEXT_PP(1)), i + 1, table);
		Datum		values[3];
		bool		nulls[3] = {false, false, false};

		/* COPY takes no parameters. */
		dbp_sql_command("COPY (SELECT * FROM %s WHERE %s) TO %s WITH (FORMAT csv, HEADER)",
						table, dbp_tenant_condition(&tables[i], id), quote_literal_cstr(file));
		values[0] = ObjectIdGetDatum(tables[i].relid);
		values[1] = Int64GetDatum(SPI_processed);
		values[2] = CStringGetTextDatum(file);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	dbp_tenant_end_belongings(&scope);
	PG_RETURN_NULL();
}

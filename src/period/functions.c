/*-------------------------------------------------------------------------
 *
 * functions.c
 *	  The functions that read a table with a period.
 *
 * <table>__valid_at(at) returns the rows that hold at a time.  Where the table is
 * versioned as well, <table>__bitemporal(valid_at, as_of) returns those that
 * held at a time as far as was known at another: it reads <table>__as_of.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/period/functions.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "core/names.h"
#include "period/period.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

static const char *const names[] = {"valid_at", "bitemporal"};

const DbpReaders dbp_period_readers = {
	names, lengthof(names), "a table with a period", &dbp_period_silent
};

/*
 * dbp_period_make_functions creates the functions of a table, or brings them in line.
 * The caller is connected to SPI.
 */
void
dbp_period_make_functions(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	DbpPeriod  *period = dbp_period_get(rel);
	char	   *type = format_type_extended(period->subtype, -1, FORMAT_TYPE_FORCE_QUALIFY);
	char	   *holds = psprintf("%s OPERATOR(pg_catalog.@>) $1",
								 dbp_period_expression(&period->options, period->rangetype, "b"));
	char	   *schema = get_namespace_name(RelationGetNamespace(rel));
	char	   *as_of = dbp_reader_name(RelationGetRelationName(rel), "as_of");

	dbp_reader_make(&dbp_period_readers, rel, "valid_at", psprintf("at %s", type),
					psprintf("SELECT b.* FROM %s b WHERE %s", dbp_relation_name(rel), holds),
					"rows that hold at a time");
	if (OidIsValid(dbp_reader_find(relid, "as_of")))
		dbp_reader_make(&dbp_period_readers, rel, "bitemporal",
						psprintf("valid_at %s, as_of timestamptz", type),
						psprintf("SELECT b.* FROM %s($2) b WHERE %s",
								 quote_qualified_identifier(schema, as_of), holds),
						"rows that hold at a time, as far as was known at another");
	else
		dbp_reader_drop(&dbp_period_readers, relid, "bitemporal");
	table_close(rel, NoLock);
}

/*-------------------------------------------------------------------------
 *
 * version.c
 *	  Agreement between the library and the installed SQL.
 *
 * After a package upgrade the new library can meet the SQL objects of the old
 * version, or the other way round in a session that has the old library
 * loaded.  Entries that change state, and the building of trigger state, stop
 * there instead of guessing.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/version.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_extension.h"
#include "core/version.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

/*
 * dbp_check_version raises 55000 unless the extension is installed in the
 * version the library was built for.
 */
void
dbp_check_version(void)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *installed = NULL;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("dbpatterns"));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		version = heap_getattr(tuple, Anum_pg_extension_extversion,
										   RelationGetDescr(rel), &isnull);

		installed = TextDatumGetCString(version);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);

	if (installed == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension dbpatterns is not installed in this database"),
				 errhint("Run CREATE EXTENSION dbpatterns.")));
	if (strcmp(installed, DBP_VERSION) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("dbpatterns library has version %s, its SQL objects have version %s",
						DBP_VERSION, installed),
				 errhint("Run ALTER EXTENSION dbpatterns UPDATE and start a new session.")));
}

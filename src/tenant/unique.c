/*-------------------------------------------------------------------------
 *
 * unique.c
 *	  Keys that begin with the tenant.
 *
 * A unique key without the tenant tells one tenant of another's values; a foreign
 * key without it lets one tenant point at another's row, for the server checks
 * keys without looking at policies.  So both get the tenant in front: keys of
 * (id) become keys of (tenant_id, id), foreign keys to them as well.
 *
 * A foreign key can only be turned over when both tables are isolated, and a key
 * only when all foreign keys that rest on it are.  Until then such a key stays,
 * and the foreign keys that can be turned over get another one to rest on.  So
 * tables may be isolated in any order.
 *
 * Definitions come from the server, with the column put in.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/unique.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/sql.h"
#include "lib/stringinfo.h"
#include "storage/lmgr.h"
#include "tenant/check.h"
#include "tenant/tenant.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/*
 * The parts of the queries, as common table expressions.  $1: the tables that are being
 * isolated; $2, $3: these and the isolated tables that foreign keys connect with them, and
 * their tenant columns.
 */
#define ISOLATED \
	"e AS (SELECT x.relid, x.col, a.attnum" \
	"  FROM unnest($2::oid[], $3::name[]) x (relid, col)" \
	"  JOIN pg_attribute a ON a.attrelid = x.relid AND a.attname = x.col AND NOT a.attisdropped)"

/* Foreign keys of $1, in either direction, that do not compare the tenants. */
#define FOREIGN_KEYS \
	"f AS (SELECT c.*, r.col AS rcol, p.col AS pcol, r.relid IS NOT NULL AND p.relid IS NOT NULL AS both" \
	"  FROM pg_constraint c LEFT JOIN e r ON r.relid = c.conrelid LEFT JOIN e p ON p.relid = c.confrelid" \
	"  WHERE c.contype = 'f' AND c.conparentid = 0" \
	"  AND (c.conrelid = ANY ($1) OR c.confrelid = ANY ($1))" \
	"  AND NOT EXISTS (SELECT FROM unnest(c.conkey, c.confkey) k (a, b)" \
	"   WHERE k.a = r.attnum AND k.b = p.attnum))"

/* Unique keys without the tenant, of $1 and of what foreign keys to turn over rest on. */
#define KEYS \
	"k AS (SELECT i.indexrelid, i.indrelid, x.relname AS name, e.col, t.oid AS conid, t.contype," \
	"  i.indisreplident," \
	"  EXISTS (SELECT FROM pg_constraint b WHERE b.contype = 'f' AND b.conindid = i.indexrelid" \
	"   AND b.conparentid = 0 AND NOT EXISTS (SELECT FROM f WHERE f.oid = b.oid AND f.both)) AS blocked" \
	"  FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid AND NOT x.relispartition" \
	"  JOIN e ON e.relid = i.indrelid" \
	"  LEFT JOIN pg_constraint t ON t.conindid = i.indexrelid AND t.contype = ANY ('{p,u}')" \
	"   AND t.conrelid = i.indrelid" \
	"  WHERE i.indisunique AND NOT e.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])" \
	"  AND (i.indrelid = ANY ($1) OR EXISTS (SELECT FROM f WHERE f.both AND f.conindid = i.indexrelid)))"

/* Columns of a table by number, in order, after the tenant's. */
#define COLUMN_LIST(column, relid, numbers) \
	"(SELECT quote_ident(" column ") || string_agg(', ' || quote_ident(a.attname), '' ORDER BY n.i)" \
	"  FROM unnest(" numbers ") WITH ORDINALITY n (num, i)" \
	"  JOIN pg_attribute a ON a.attrelid = " relid " AND a.attnum = n.num)"

/* An action of a foreign key; SET NULL and SET DEFAULT leave the tenant alone. */
#define ACTION(word, type) \
	"CASE " type " WHEN 'r' THEN ' ON " word " RESTRICT' WHEN 'c' THEN ' ON " word " CASCADE'" \
	" WHEN 'n' THEN ' ON " word " SET NULL' WHEN 'd' THEN ' ON " word " SET DEFAULT' ELSE '' END"

#define DROP_FOREIGN_KEYS \
	"WITH " ISOLATED ", " FOREIGN_KEYS \
	" SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', f.conrelid::regclass, f.conname)," \
	"  f.confupdtype = ANY ('{n,d}') OR (f.confmatchtype = 'f' AND cardinality(f.conkey) > 1)," \
	"  f.conname, f.conrelid" \
	" FROM f WHERE f.both ORDER BY f.conrelid::regclass::text, f.conname"

#define ADD_FOREIGN_KEYS \
	"WITH " ISOLATED ", " FOREIGN_KEYS \
	" SELECT format('ALTER TABLE %s ADD CONSTRAINT %I FOREIGN KEY (%s) REFERENCES %s (%s)'," \
	"   f.conrelid::regclass, f.conname, " COLUMN_LIST("f.rcol", "f.conrelid", "f.conkey") "," \
	"   f.confrelid::regclass, " COLUMN_LIST("f.pcol", "f.confrelid", "f.confkey") ")" \
	"  || " ACTION("UPDATE", "f.confupdtype") " || " ACTION("DELETE", "f.confdeltype") \
	"  || CASE WHEN f.confdeltype = ANY ('{n,d}') THEN (SELECT ' (' || string_agg(quote_ident(a.attname), ', ' ORDER BY n.i) || ')'" \
	"   FROM unnest(coalesce(f.confdelsetcols, f.conkey)) WITH ORDINALITY n (num, i)" \
	"   JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = n.num) ELSE '' END" \
	"  || CASE WHEN f.condeferrable THEN ' DEFERRABLE' ELSE '' END" \
	"  || CASE WHEN f.condeferred THEN ' INITIALLY DEFERRED' ELSE '' END" \
	"  || CASE WHEN f.convalidated THEN '' ELSE ' NOT VALID' END" \
	" FROM f WHERE f.both ORDER BY f.conrelid::regclass::text, f.conname"

/* Another key for foreign keys whose own has to stay. */
#define EXTRA_KEYS \
	"WITH " ISOLATED ", " FOREIGN_KEYS ", " KEYS \
	" SELECT DISTINCT format('ALTER TABLE %s ADD UNIQUE (%s)', f.confrelid::regclass, " \
	COLUMN_LIST("f.pcol", "f.confrelid", "f.confkey") ")" \
	" FROM f JOIN k ON k.indexrelid = f.conindid AND k.blocked JOIN e p ON p.relid = f.confrelid" \
	" WHERE f.both AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = f.confrelid AND i.indisunique" \
	"  AND i.indisvalid AND i.indpred IS NULL AND i.indnkeyatts = cardinality(f.confkey) + 1" \
	"  AND (i.indkey::int2[])[0:i.indnkeyatts - 1] @> (f.confkey || p.attnum)) ORDER BY 1"

#define CHANGE_KEYS \
	"WITH " ISOLATED ", " FOREIGN_KEYS ", " KEYS \
	" SELECT CASE WHEN k.conid IS NULL THEN format('DROP INDEX %s', k.indexrelid::regclass)" \
	"   ELSE format('ALTER TABLE %s DROP CONSTRAINT %I', k.indrelid::regclass, k.name) END," \
	"  k.conid IS NULL, k.indrelid::regclass, quote_ident(k.name), quote_ident(k.col)," \
	"  CASE WHEN k.conid IS NULL THEN pg_get_indexdef(k.indexrelid) ELSE pg_get_constraintdef(k.conid) END," \
	"  k.indisreplident, quote_literal(obj_description(k.conid, 'pg_constraint'))" \
	" FROM k WHERE NOT k.blocked ORDER BY k.indrelid::regclass::text, k.name"

/* What stays, and why. */
#define LEFT_OVER \
	"WITH " ISOLATED ", " FOREIGN_KEYS ", " KEYS \
	" SELECT 'key', k.indrelid::regclass::text, k.name FROM k WHERE k.blocked OR NOT $4" \
	" UNION ALL SELECT 'foreign key', f.conrelid::regclass::text, f.conname FROM f" \
	"  WHERE f.pcol IS NOT NULL AND NOT (f.both AND $4)" \
	" UNION ALL SELECT 'exclusion constraint', c.conrelid::regclass::text, c.conname FROM pg_constraint c" \
	"  JOIN e ON e.relid = c.conrelid WHERE c.contype = 'x' AND c.conparentid = 0 AND c.conrelid = ANY ($1)" \
	"  AND NOT e.attnum = ANY (c.conkey) ORDER BY 1, 2, 3"

/*
 * get_params fills the parameters of the queries above.  column: the tenant's, of
 * all the tables.
 */
static void
get_params(List *relids, const char *column, DbpParam *params)
{
	MemoryContext cxt = CurrentMemoryContext;
	MemoryContext oldcxt;
	DbpOwnerScope scope;

	params[0] = dbp_oids_param(relids);
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(column));
	dbp_tenant_enter_ours(&scope);
	dbp_sql_query_latest("WITH RECURSIVE below (relid, col) AS ("
						 " (SELECT target::oid, options ->> 'column' FROM _dbpatterns.registry"
						 "  WHERE pattern = 'tenant' AND target::oid <> ALL ($1)"
						 " UNION ALL SELECT unnest($1), $2)"
						 " UNION ALL SELECT i.inhrelid, b.col FROM below b JOIN pg_inherits i ON i.inhparent = b.relid"
						 "  WHERE i.inhrelid <> ALL ($1))"
						 " SELECT array_agg(b.relid), array_agg(b.col::name) FROM below b WHERE b.relid = ANY ($1)"
						 "  OR b.relid IN (SELECT c.conrelid FROM pg_constraint c WHERE c.contype = 'f' AND c.confrelid = ANY ($1)"
						 "   UNION SELECT c.confrelid FROM pg_constraint c WHERE c.contype = 'f' AND c.conrelid = ANY ($1))",
						 2, params);
	oldcxt = MemoryContextSwitchTo(cxt);
	params[1] = DBP_PARAM(OIDARRAYOID,
						  PointerGetDatum(DatumGetArrayTypePCopy(dbp_sql_value(0, 0, NULL))));
	params[2] = DBP_PARAM(NAMEARRAYOID,
						  PointerGetDatum(DatumGetArrayTypePCopy(dbp_sql_value(0, 1, NULL))));
	MemoryContextSwitchTo(oldcxt);
	dbp_leave_owner(&scope);
}

/*
 * collect adds the first column of a query to a list.
 */
static List *
collect(List *list, const char *sql, const DbpParam *params, MemoryContext cxt)
{
	uint64		rows = dbp_sql_query(sql, 3, params);
	MemoryContext oldcxt = MemoryContextSwitchTo(cxt);

	for (uint64 i = 0; i < rows; i++)
		list = lappend(list, dbp_sql_text(i, 0));
	MemoryContextSwitchTo(oldcxt);
	return list;
}

/*
 * drop_foreign_keys returns the commands that drop foreign keys to turn over.
 * Raises 0A000 for those that cannot be.
 */
static List *
drop_foreign_keys(const DbpParam *params, MemoryContext cxt)
{
	uint64		rows = dbp_sql_query(DROP_FOREIGN_KEYS, 3, params);

	for (uint64 i = 0; i < rows; i++)
	{
		if (DatumGetBool(dbp_sql_value(i, 1, NULL)))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("foreign key \"%s\" of table %s cannot begin with the tenant",
							dbp_sql_text(i, 2),
							dbp_relation_name_by_oid(DatumGetObjectId(dbp_sql_value(i, 3, NULL)))),
					 errdetail("It sets all of its columns ON UPDATE, or is MATCH FULL with several columns."),
					 errhint("Let it be ON UPDATE CASCADE and MATCH SIMPLE.")));
	}
	return collect(NIL, DROP_FOREIGN_KEYS, params, cxt);
}

/*
 * with_tenant returns the definition of a key with the tenant's column put in front.
 * The first parenthesis of a constraint's definition opens its columns; that of an
 * index's may be in a name, and is looked for behind what comes before.
 */
static char *
with_tenant(const char *definition, bool is_index, const char *table, const char *column)
{
	const char *open = definition;

	if (is_index)
	{
		const char *behind = psprintf(" %s USING ", table);

		open = strstr(definition, behind);
		open = open == NULL ? NULL : open + strlen(behind);
	}
	open = open == NULL ? NULL : strchr(open, '(');
	if (open == NULL)
		elog(ERROR, "unexpected definition of a key: %s", definition);
	return psprintf("%.*s(%s, %s", (int) (open - definition), definition, column, open + 1);
}

/*
 * change_keys returns the commands that drop and make keys.
 */
static List *
change_keys(const DbpParam *params, MemoryContext cxt)
{
	uint64		rows = dbp_sql_query(CHANGE_KEYS, 3, params);
	MemoryContext oldcxt = MemoryContextSwitchTo(cxt);
	List	   *commands = NIL;

	for (uint64 i = 0; i < rows; i++)
	{
		bool		is_index = DatumGetBool(dbp_sql_value(i, 1, NULL));
		char	   *table = dbp_sql_text(i, 2);
		char	   *name = dbp_sql_text(i, 3);
		char	   *definition = with_tenant(dbp_sql_text(i, 5), is_index, table,
											 dbp_sql_text(i, 4));
		char	   *comment = dbp_sql_text(i, 7);

		commands = lappend(commands, dbp_sql_text(i, 0));
		commands = lappend(commands, is_index ? definition :
						   psprintf("ALTER TABLE %s ADD CONSTRAINT %s %s", table, name, definition));
		if (DatumGetBool(dbp_sql_value(i, 6, NULL)))
			commands = lappend(commands, psprintf("ALTER TABLE %s REPLICA IDENTITY USING INDEX %s",
												  table, name));
		if (comment != NULL)
			commands = lappend(commands, psprintf("COMMENT ON CONSTRAINT %s ON %s IS %s",
												  name, table, comment));
	}
	MemoryContextSwitchTo(oldcxt);
	return commands;
}

/*
 * report names the keys that do not begin with the tenant.
 */
static void
report(DbpParam *params, bool fixed)
{
	StringInfoData list;
	uint64		rows;

	params[3] = DBP_PARAM(BOOLOID, BoolGetDatum(fixed));
	rows = dbp_sql_query(LEFT_OVER, 4, params);
	if (rows == 0)
		return;
	initStringInfo(&list);
	for (uint64 i = 0; i < rows; i++)
		appendStringInfo(&list, "%s%s \"%s\" of %s", i > 0 ? ", " : "", dbp_sql_text(i, 0),
						 dbp_sql_text(i, 2), dbp_sql_text(i, 1));
	ereport(NOTICE,
			(errmsg("not all keys begin with the tenant"),
			 errdetail("These tell of other tenants' rows, or can point at them: %s.", list.data),
			 fixed ? errhint("Isolate both tables of a foreign key, with fix_keys, and the rest follows.") :
			 errhint("Give fix_keys => true, or change them yourself.")));
}

/*
 * dbp_tenant_fix_keys turns over the keys of tables that are isolated by a column, and
 * what rests on them.  Caller: SPI connected, search_path pinned.
 */
void
dbp_tenant_fix_keys(TenantScript *script, List *relids, const char *column)
{
	MemoryContext cxt = CurrentMemoryContext;
	DbpParam	params[4];
	List	   *commands;
	ListCell   *lc;

	get_params(relids, column, params);
	commands = drop_foreign_keys(params, cxt);
	commands = list_concat(commands, change_keys(params, cxt));
	commands = collect(commands, EXTRA_KEYS, params, cxt);
	commands = collect(commands, ADD_FOREIGN_KEYS, params, cxt);
	foreach(lc, commands)
		dbp_tenant_add(script, "%s", (char *) lfirst(lc));
	report(params, true);
	dbp_tenant_carry_out(script);
}

/*
 * dbp_tenant_report_keys names the keys of a table that do not begin with the tenant.
 * Caller: as above.
 */
void
dbp_tenant_report_keys(List *relids, const char *column)
{
	DbpParam	params[4];

	get_params(relids, column, params);
	report(params, false);
}

/* How the table that one is part of was isolated, with fix_keys: a remedy. */
#define FIX(relid) \
	"(SELECT format('SELECT * FROM dbpatterns.tenant_enable(%L, %s, fix_keys => true);'," \
	"  w.root::regclass, w.call) FROM unnest($2, $4, $5) w (relid, root, call) WHERE w.relid = " relid " LIMIT 1)"

/* The same for the checks; $4, $5: the tables these are part of, and how those were isolated. */
#define FIND_KEYS \
	"WITH " ISOLATED ", " FOREIGN_KEYS ", " KEYS \
	" SELECT 'warning', format('%s of %s', quote_ident(k.name), k.indrelid::regclass)," \
	"  'the unique key tells one tenant of values of others'," \
	"  CASE WHEN k.blocked THEN '-- first what the foreign keys to it need' ELSE " FIX("k.indrelid") " END" \
	" FROM k WHERE k.indrelid = ANY ($1)" \
	" UNION ALL SELECT 'error', format('%s of %s', quote_ident(f.conname), f.conrelid::regclass)," \
	"  'the foreign key can point at rows of other tenants', " FIX("f.conrelid") \
	" FROM f WHERE f.both" \
	" UNION ALL SELECT 'warning', format('%s of %s', quote_ident(f.conname), f.conrelid::regclass)," \
	"  'the foreign key tells who writes to the shared table of rows of other tenants'," \
	"  format('ALTER TABLE %s DROP CONSTRAINT %I;', f.conrelid::regclass, f.conname)" \
	" FROM f WHERE f.conrelid = ANY ($6)" \
	" UNION ALL SELECT 'warning', format('%s of %s', quote_ident(c.conname), c.conrelid::regclass)," \
	"  'the exclusion constraint tells one tenant of values of others'," \
	"  format('ALTER TABLE %s DROP CONSTRAINT %I; -- and make it anew with the tenant in it', c.conrelid::regclass, c.conname)" \
	" FROM pg_constraint c JOIN e ON e.relid = c.conrelid WHERE c.contype = 'x' AND c.conparentid = 0" \
	"  AND c.conrelid = ANY ($1) AND NOT e.attnum = ANY (c.conkey) ORDER BY 2"

/*
 * dbp_tenant_find_keys finds keys that do not begin with the tenant.
 */
void
dbp_tenant_find_keys(TenantChecked *checked)
{
	static const char *const keys[] = {FIND_KEYS};

	dbp_tenant_find(checked, keys, lengthof(keys));
}

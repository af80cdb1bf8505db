/*-------------------------------------------------------------------------
 *
 * clone_read.c
 *	  What a schema consists of, as commands that make it.
 *
 * The server's own deparsers write the definitions.  They qualify a name when it is
 * not found in search_path, so a schema is read with itself as the path, and the
 * commands are run with its clone as the path: names inside of the schema then mean
 * the clone's objects, all others what they meant.
 *
 * $1 is the schema.  A query returns the catalog and the OID of an object, and
 * commands in the order to run them.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/clone_read.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tenant/clone.h"

/* A collation that is not the type's own. */
#define COLLATION(collation, type) \
	"CASE WHEN " collation " <> 0 AND " collation " <> (SELECT ct.typcollation FROM pg_type ct WHERE ct.oid = " type ")" \
	" THEN ' COLLATE ' || " collation "::regcollation ELSE '' END"

/* Options of a relation c, and of its TOAST table, in parentheses after a word. */
#define OPTIONS \
	"coalesce((SELECT ' WITH (' || string_agg(o.name || '=' || quote_literal(o.value), ', ') || ')' FROM (" \
	"SELECT quote_ident(x.option_name), x.option_value FROM pg_options_to_table(c.reloptions) x" \
	" UNION ALL SELECT 'toast.' || quote_ident(x.option_name), x.option_value FROM pg_class t, pg_options_to_table(t.reloptions) x" \
	"  WHERE t.oid = c.reltoastrelid) o (name, value)), '')"

#define TABLESPACE \
	"coalesce((SELECT format(' TABLESPACE %I', s.spcname) FROM pg_tablespace s WHERE s.oid = c.reltablespace), '')"

#define SEQUENCE_OPTIONS \
	"format('START %s INCREMENT %s MINVALUE %s MAXVALUE %s CACHE %s%s', s.seqstart, s.seqincrement, s.seqmin, s.seqmax," \
	" s.seqcache, CASE WHEN s.seqcycle THEN ' CYCLE' ELSE '' END)"

/* Whether a relation c is an inheritance child, but no partition. */
#define INHERITS \
	"(NOT c.relispartition AND EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = c.oid))"

/* Whether an index i, x in pg_index, is of a partitioned table, and missing in partitions. */
#define PARTIAL_TREE \
	"(i.relkind = 'I' AND NOT x.indisvalid AND NOT EXISTS (SELECT FROM pg_constraint u WHERE u.conindid = i.oid))"

/* Columns of a table c, identity and what is computed included. */
#define TABLE_COLUMNS \
	"coalesce((SELECT string_agg(concat(quote_ident(a.attname), ' ', format_type(a.atttypid, a.atttypmod)," \
	"  " COLLATION("a.attcollation", "a.atttypid") "," \
	"  CASE a.attcompression WHEN 'p' THEN ' COMPRESSION pglz' WHEN 'l' THEN ' COMPRESSION lz4' END," \
	"  CASE WHEN a.attgenerated <> '' THEN (SELECT format(' GENERATED ALWAYS AS (%s) %s', pg_get_expr(d.adbin, d.adrelid)," \
	"   CASE a.attgenerated WHEN 's' THEN 'STORED' ELSE 'VIRTUAL' END) FROM pg_attrdef d" \
	"   WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum) END," \
	"  (SELECT format(' GENERATED %s AS IDENTITY (SEQUENCE NAME %I %s)', CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END," \
	"   q.relname, " SEQUENCE_OPTIONS ") FROM pg_depend d JOIN pg_sequence s ON s.seqrelid = d.objid JOIN pg_class q ON q.oid = d.objid" \
	"   WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum" \
	"   AND d.classid = 'pg_class'::regclass AND d.deptype = 'i')," \
	"  CASE WHEN a.attnotnull THEN coalesce((SELECT CASE WHEN n.conislocal OR NOT " INHERITS " THEN" \
	"    format(' CONSTRAINT %I NOT NULL%s', n.conname, CASE WHEN n.connoinherit THEN ' NO INHERIT' END) ELSE '' END FROM pg_constraint n" \
	"   WHERE n.conrelid = a.attrelid AND n.contype = 'n' AND n.conkey[1] = a.attnum), ' NOT NULL') END), ', ' ORDER BY a.attnum)" \
	" FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped" \
	" AND (a.attislocal OR NOT " INHERITS ")), '')"

#define TYPE	"'pg_type'::regclass::oid"
#define CLASS	"'pg_class'::regclass::oid"

/* Objects that may depend on each other in any order. */
const char *const dbp_clone_objects[] = {
	"SELECT " TYPE ", t.oid, CASE t.typtype"
	" WHEN 'e' THEN format('CREATE TYPE %I AS ENUM (%s)', t.typname,"
	"  (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid))"
	" WHEN 'c' THEN format('CREATE TYPE %I AS (%s)', t.typname, (SELECT string_agg(concat(quote_ident(a.attname), ' ',"
	"   format_type(a.atttypid, a.atttypmod), " COLLATION("a.attcollation", "a.atttypid") "), ', ' ORDER BY a.attnum)"
	"  FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped))"
	" ELSE concat('CREATE DOMAIN ', quote_ident(t.typname), ' AS ', format_type(t.typbasetype, t.typtypmod),"
	"  " COLLATION("t.typcollation", "t.typbasetype") ", ' DEFAULT ' || pg_get_expr(t.typdefaultbin, 0),"
	"  CASE WHEN t.typnotnull THEN coalesce((SELECT format(' CONSTRAINT %I', k.conname) FROM pg_constraint k"
	"   WHERE k.contypid = t.oid AND k.contype = 'n'), '') || ' NOT NULL' END,"
	"  (SELECT string_agg(format(' CONSTRAINT %I %s', k.conname, pg_get_constraintdef(k.oid)), '' ORDER BY k.oid)"
	"   FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c' AND k.convalidated)) END"
	" FROM pg_type t LEFT JOIN pg_class r ON r.oid = t.typrelid WHERE t.typnamespace = $1"
	" AND (t.typtype = ANY ('{e,d}') OR r.relkind = 'c')",

	/* CREATE DOMAIN takes no others. */
	"SELECT 'pg_constraint'::regclass::oid, k.oid, format('ALTER DOMAIN %I ADD CONSTRAINT %I %s', t.typname, k.conname,"
	"  pg_get_constraintdef(k.oid)) FROM pg_constraint k JOIN pg_type t ON t.oid = k.contypid"
	" WHERE t.typnamespace = $1 AND k.contype = 'c' AND NOT k.convalidated",

	"SELECT " CLASS ", c.oid, format('CREATE %sSEQUENCE %I AS %s %s', CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END,"
	"  c.relname, format_type(s.seqtypid, NULL), " SEQUENCE_OPTIONS ")"
	" FROM pg_class c JOIN pg_sequence s ON s.seqrelid = c.oid WHERE c.relnamespace = $1"
	" AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i')",

	"SELECT " CLASS ", c.oid, concat('CREATE ', CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' END, 'TABLE ', quote_ident(c.relname),"
	"  ' (', " TABLE_COLUMNS ", ')', CASE WHEN " INHERITS " THEN (SELECT format(' INHERITS (%s)',"
	"   string_agg(h.inhparent::regclass::text, ', ' ORDER BY h.inhseqno)) FROM pg_inherits h WHERE h.inhrelid = c.oid) END,"
	"  CASE c.relkind WHEN 'p' THEN ' PARTITION BY ' || pg_get_partkeydef(c.oid) END,"
	"  (SELECT format(' USING %I', m.amname) FROM pg_am m WHERE m.oid = c.relam), " OPTIONS ", " TABLESPACE ")"
	" FROM pg_class c WHERE c.relnamespace = $1 AND c.relkind = ANY ('{r,p}')",

	"SELECT 'pg_proc'::regclass::oid, p.oid, overlay(pg_get_functiondef(p.oid) PLACING 'CREATE ' || x.word || quote_ident(p.proname)"
	"  FROM 1 FOR length('CREATE OR REPLACE ' || x.word || quote_ident(n.nspname) || '.' || quote_ident(p.proname)))"
	" FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace,"
	" LATERAL (SELECT CASE p.prokind WHEN 'p' THEN 'PROCEDURE ' ELSE 'FUNCTION ' END) x (word)"
	" WHERE p.pronamespace = $1 AND p.prokind <> 'a'",

	"SELECT " CLASS ", c.oid, concat('CREATE ', CASE c.relkind WHEN 'm' THEN 'MATERIALIZED ' END, 'VIEW ', quote_ident(c.relname),"
	"  CASE c.relkind WHEN 'm' THEN (SELECT format(' USING %I', m.amname) FROM pg_am m WHERE m.oid = c.relam) END,"
	"  " OPTIONS ", CASE c.relkind WHEN 'm' THEN " TABLESPACE " END, ' AS ', rtrim(pg_get_viewdef(c.oid), ';'),"
	"  CASE c.relkind WHEN 'm' THEN ' WITH NO DATA' END)"
	" FROM pg_class c WHERE c.relnamespace = $1 AND c.relkind = ANY ('{v,m}')",

	"SELECT 'pg_constraint'::regclass::oid, k.oid, format('ALTER TABLE %I ADD CONSTRAINT %I %s', c.relname, k.conname,"
	"  pg_get_constraintdef(k.oid))"
	" FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE c.relnamespace = $1"
	" AND (k.contype = ANY ('{p,u,x}') OR (k.contype = 'c' AND (k.conislocal OR NOT " INHERITS ")))",
	NULL
};

/* Other names of these objects in pg_depend: catalog, OID, those of the object. */
const char *const dbp_clone_aliases =
"SELECT 'pg_rewrite'::regclass::oid, r.oid, " CLASS ", r.ev_class FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class"
"  WHERE c.relnamespace = $1 AND r.rulename = '_RETURN'"
" UNION ALL SELECT " TYPE ", t.oid, " CLASS ", c.oid FROM pg_class c JOIN pg_type t ON t.oid = c.reltype"
"  WHERE c.relnamespace = $1 AND c.relkind <> 'c'"
" UNION ALL SELECT " TYPE ", t.typarray, " CLASS ", c.oid FROM pg_class c JOIN pg_type t ON t.oid = c.reltype"
"  WHERE c.relnamespace = $1 AND c.relkind <> 'c'"
" UNION ALL SELECT " TYPE ", t.typarray, " TYPE ", t.oid FROM pg_type t WHERE t.typnamespace = $1 AND t.typarray <> 0"
" UNION ALL SELECT " CLASS ", t.typrelid, " TYPE ", t.oid FROM pg_type t JOIN pg_class c ON c.oid = t.typrelid"
"  WHERE c.relnamespace = $1 AND c.relkind = 'c'"
" UNION ALL SELECT 'pg_attrdef'::regclass::oid, d.oid, " CLASS ", d.adrelid FROM pg_attrdef d"
"  JOIN pg_class c ON c.oid = d.adrelid JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum"
"  WHERE c.relnamespace = $1 AND a.attgenerated <> ''"
" UNION ALL SELECT 'pg_constraint'::regclass::oid, k.oid, " TYPE ", k.contypid FROM pg_constraint k"
"  JOIN pg_type t ON t.oid = k.contypid WHERE t.typnamespace = $1 AND k.convalidated"
" UNION ALL SELECT " CLASS ", k.conindid, 'pg_constraint'::regclass::oid, k.oid FROM pg_constraint k"
"  JOIN pg_class c ON c.oid = k.conrelid WHERE c.relnamespace = $1 AND k.contype = ANY ('{p,u,x}')";

/* What needs all of that, in the order in which it is made. */
const char *const dbp_clone_rest[] = {
	/* After all tables, lest children inherit them. */
	"SELECT 'pg_attrdef'::regclass::oid, d.oid, format('ALTER %s %I ALTER COLUMN %I SET DEFAULT %s',"
	"  CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE ONLY' END, c.relname, a.attname, pg_get_expr(d.adbin, d.adrelid))"
	" FROM pg_attrdef d JOIN pg_class c ON c.oid = d.adrelid"
	" JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum"
	" WHERE c.relnamespace = $1 AND a.attgenerated = ''",

	"SELECT " CLASS ", i.oid, CASE WHEN k.oid IS NULL THEN pg_get_indexdef(i.oid, 0, true)"
	"  ELSE (SELECT format('ALTER INDEX %I SET (%s)', i.relname, string_agg(quote_ident(o.option_name) || '=' || quote_literal(o.option_value), ', '))"
	"   FROM pg_options_to_table(i.reloptions) o HAVING count(*) > 0) END"
	" FROM pg_class i JOIN pg_index x ON x.indexrelid = i.oid JOIN pg_class c ON c.oid = x.indrelid"
	" LEFT JOIN pg_constraint k ON k.conindid = i.oid AND k.contype = ANY ('{p,u,x}') AND k.conrelid = c.oid"
	" WHERE c.relnamespace = $1 AND c.relkind = ANY ('{r,p,m}') AND NOT " PARTIAL_TREE,

	"SELECT " CLASS ", i.oid, format('ALTER INDEX %I SET TABLESPACE %I', i.relname, s.spcname)"
	" FROM pg_class i JOIN pg_tablespace s ON s.oid = i.reltablespace"
	" WHERE i.relnamespace = $1 AND i.relkind = ANY ('{i,I}')",

	"SELECT 'pg_statistic_ext'::regclass::oid, s.oid, overlay(pg_get_statisticsobjdef(s.oid) PLACING 'CREATE STATISTICS ' || quote_ident(s.stxname)"
	"  FROM 1 FOR length(format('CREATE STATISTICS %I.%I', n.nspname, s.stxname)))"
	" FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE s.stxnamespace = $1",
	"SELECT 'pg_statistic_ext'::regclass::oid, s.oid, format('ALTER STATISTICS %I SET STATISTICS %s', s.stxname, s.stxstattarget)"
	" FROM pg_statistic_ext s WHERE s.stxnamespace = $1 AND s.stxstattarget >= 0",

	"SELECT " CLASS ", c.oid, format('ALTER TABLE %s ATTACH PARTITION %I %s', h.inhparent::regclass, c.relname,"
	"  pg_get_expr(c.relpartbound, c.oid))"
	" FROM pg_class c JOIN pg_inherits h ON h.inhrelid = c.oid WHERE c.relnamespace = $1 AND c.relispartition"
	" AND c.relkind = ANY ('{r,p}')",

	/* Made before, partitions would get what is missing. */
	"SELECT " CLASS ", i.oid, pg_get_indexdef(i.oid, 0, true)"
	" FROM pg_class i JOIN pg_index x ON x.indexrelid = i.oid WHERE i.relnamespace = $1 AND " PARTIAL_TREE,
	"SELECT " CLASS ", p.oid, format('ALTER INDEX %I ATTACH PARTITION %I', i.relname, p.relname)"
	" FROM pg_class i JOIN pg_index x ON x.indexrelid = i.oid JOIN pg_inherits h ON h.inhparent = i.oid"
	" JOIN pg_class p ON p.oid = h.inhrelid WHERE i.relnamespace = $1 AND " PARTIAL_TREE,

	"SELECT 'pg_constraint'::regclass::oid, k.oid, format('ALTER TABLE %I ADD CONSTRAINT %I %s', c.relname, k.conname,"
	"  pg_get_constraintdef(k.oid)) FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid"
	" WHERE c.relnamespace = $1 AND k.contype = 'f' AND k.conparentid = 0",

	"SELECT " CLASS ", c.oid, format('ALTER SEQUENCE %I OWNED BY %s.%I', c.relname, d.refobjid::regclass, a.attname)"
	" FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'a'"
	" JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid"
	" WHERE c.relnamespace = $1 AND c.relkind = 'S' AND d.refclassid = 'pg_class'::regclass",
	NULL
};

/*
 * What comes then.  The server plans no query for it and computes no expression, so that who
 * calls can do it, with rights on functions elsewhere.
 */
const char *const dbp_clone_late[] = {
	"SELECT 'pg_rewrite'::regclass::oid, r.oid, rtrim(pg_get_ruledef(r.oid, true), ';')"
	" FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE c.relnamespace = $1 AND r.rulename <> '_RETURN'",
	"SELECT 'pg_rewrite'::regclass::oid, r.oid, format('ALTER TABLE %I %s RULE %I', c.relname,"
	"  CASE r.ev_enabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, r.rulename)"
	" FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE c.relnamespace = $1 AND r.ev_enabled <> 'O'",

	"SELECT 'pg_trigger'::regclass::oid, t.oid, pg_get_triggerdef(t.oid, true)"
	" FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = $1 AND NOT t.tgisinternal AND t.tgparentid = 0",
	"SELECT 'pg_trigger'::regclass::oid, t.oid, format('ALTER TABLE %I %s TRIGGER %I', c.relname,"
	"  CASE t.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE' END, t.tgname)"
	" FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = $1 AND NOT t.tgisinternal"
	" AND (t.tgenabled <> 'O' OR t.tgparentid <> 0) AND c.relkind <> 'v'",

	"SELECT 'pg_policy'::regclass::oid, p.oid, concat(format('CREATE POLICY %I ON %I AS %s FOR %s TO %s', p.polname, c.relname,"
	"  CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,"
	"  CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,"
	"  (SELECT string_agg(" ROLE_NAME("r.oid") ", ', ') FROM unnest(p.polroles) r (oid))),"
	"  ' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')"
	" FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE c.relnamespace = $1 AND p.polname <> 'dbpatterns_tenant_schema'",

	"SELECT " CLASS ", c.oid, format('ALTER TABLE %I %s ROW LEVEL SECURITY', c.relname, x.word)"
	" FROM pg_class c, LATERAL (SELECT 'ENABLE' WHERE c.relrowsecurity UNION ALL SELECT 'FORCE' WHERE c.relforcerowsecurity) x (word)"
	" WHERE c.relnamespace = $1",

	"SELECT " CLASS ", c.oid, format('ALTER %s %I ALTER COLUMN %s %s',"
	"  CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'i' THEN 'INDEX' WHEN 'I' THEN 'INDEX' ELSE 'TABLE ONLY' END, c.relname,"
	"  CASE WHEN c.relkind = ANY ('{i,I}') THEN a.attnum::text ELSE quote_ident(a.attname) END, x.word)"
	" FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
	" JOIN pg_type t ON t.oid = a.atttypid,"
	/* Options that the server keeps there for itself begin with pg_. */
	" LATERAL (SELECT 'SET STORAGE ' || CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END"
	"   WHERE a.attstorage <> t.typstorage AND c.relkind = ANY ('{r,p,m}')"
	"  UNION ALL SELECT 'SET STATISTICS ' || a.attstattarget WHERE a.attstattarget >= 0"
	"  UNION ALL SELECT 'SET NOT NULL' WHERE a.attnotnull AND NOT a.attislocal AND NOT EXISTS (SELECT FROM pg_constraint n"
	"   WHERE n.conrelid = a.attrelid AND n.contype = 'n' AND n.conkey[1] = a.attnum AND NOT n.conislocal)"
	"  UNION ALL SELECT format('SET (%s)', string_agg(quote_ident(o.option_name) || '=' || quote_literal(o.option_value), ', '))"
	"   FROM pg_options_to_table(a.attoptions) o WHERE o.option_name !~ '^pg_' AND c.relkind = ANY ('{r,p,m}')"
	"   HAVING count(*) > 0) x (word)"
	" WHERE c.relnamespace = $1 AND c.relkind = ANY ('{r,p,m,i,I}')",

	"SELECT " CLASS ", c.oid, format('ALTER TABLE %I REPLICA IDENTITY %s', c.relname, CASE c.relreplident WHEN 'n' THEN 'NOTHING' WHEN 'f' THEN 'FULL'"
	"  ELSE (SELECT format('USING INDEX %I', i.relname) FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid"
	"   WHERE x.indrelid = c.oid AND x.indisreplident) END)"
	" FROM pg_class c WHERE c.relnamespace = $1 AND c.relkind = ANY ('{r,p}') AND c.relreplident <> 'd'",
	"SELECT " CLASS ", c.oid, format('ALTER TABLE %I CLUSTER ON %I', c.relname, i.relname)"
	" FROM pg_class c JOIN pg_index x ON x.indrelid = c.oid AND x.indisclustered JOIN pg_class i ON i.oid = x.indexrelid"
	" WHERE c.relnamespace = $1 AND c.relkind = ANY ('{r,m}')",
	NULL
};

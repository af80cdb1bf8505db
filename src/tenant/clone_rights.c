/*-------------------------------------------------------------------------
 *
 * clone_rights.c
 *	  Owners, rights and comments of a schema's objects; and what cannot be cloned.
 *
 * $1 is the schema, $2 the name of its clone.  Commands are as in clone_read.c.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/clone_rights.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tenant/clone.h"

/*
 * Objects with an owner: catalog, OID, what ALTER and GRANT call them, name, owner, who has
 * rights in the clone from default privileges of its maker, and the rights to have.
 */
#define OBJECTS \
	"WITH u (classid, objid, word, rights, name, owner, acl) AS (" \
	"SELECT 'pg_namespace'::regclass::oid, n.oid, 'SCHEMA', 'SCHEMA', quote_ident($2), n.nspowner, n.nspacl" \
	"  FROM pg_namespace n WHERE n.oid = $1" \
	" UNION ALL SELECT 'pg_class'::regclass::oid, c.oid, CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'" \
	"   WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END," \
	"   quote_ident(c.relname), c.relowner, c.relacl" \
	"  FROM pg_class c WHERE c.relnamespace = $1 AND c.relkind = ANY ('{r,p,v,m,S}')" \
	" UNION ALL SELECT 'pg_type'::regclass::oid, t.oid, CASE t.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, 'TYPE'," \
	"   quote_ident(t.typname), t.typowner, t.typacl FROM pg_type t LEFT JOIN pg_class r ON r.oid = t.typrelid" \
	"  WHERE t.typnamespace = $1 AND (t.typtype = ANY ('{e,d}') OR r.relkind = 'c')" \
	" UNION ALL SELECT 'pg_proc'::regclass::oid, p.oid, 'ROUTINE', 'ROUTINE', p.oid::regprocedure::text, p.proowner, p.proacl" \
	"  FROM pg_proc p WHERE p.pronamespace = $1" \
	" UNION ALL SELECT 'pg_statistic_ext'::regclass::oid, s.oid, 'STATISTICS', NULL, quote_ident(s.stxname), s.stxowner, NULL" \
	"  FROM pg_statistic_ext s WHERE s.stxnamespace = $1)," \
	" o AS (SELECT u.classid, u.objid, u.word, u.rights, u.name, u.owner, f.grantees," \
	"  coalesce(u.acl, CASE WHEN f.type IS NOT NULL THEN acldefault(CASE f.type WHEN 'S' THEN 's' ELSE f.type END, u.owner) END) AS acl" \
	"  FROM u LEFT JOIN (SELECT f.defaclobjtype, string_agg(DISTINCT ', ' || " ROLE_NAME("a.grantee") ", '')" \
	"   FROM pg_default_acl f LEFT JOIN aclexplode(f.defaclacl) a ON true" \
	"   WHERE f.defaclnamespace = 0 AND pg_get_userbyid(f.defaclrole) = current_user GROUP BY 1) f (type, grantees)" \
	"  ON f.type = CASE u.rights WHEN 'TABLE' THEN 'r' WHEN 'SEQUENCE' THEN 'S' WHEN 'ROUTINE' THEN 'f' WHEN 'TYPE' THEN 'T'" \
	"   WHEN 'SCHEMA' THEN 'n' END) "

#define GRANT(list, object, name) \
	"format('GRANT %s%s ON %s %s TO %s%s', a.privilege_type, " list ", " object ", " name ", " \
	ROLE_NAME("a.grantee") ", CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)"

const char *const dbp_clone_rights[] = {
	/* Functions that find their objects by search_path. */
	"SELECT 'pg_proc'::regclass::oid, p.oid, format('ALTER ROUTINE %s SET search_path TO %s', p.oid::regprocedure,"
	"  (SELECT string_agg(CASE WHEN m[1] IN (quote_ident(n.nspname), quote_literal(n.nspname), '\"' || replace(n.nspname, '\"', '\"\"') || '\"')"
	"    OR lower(m[1]) = n.nspname THEN quote_ident($2) ELSE m[1] END, ', ' ORDER BY i)"
	"   FROM regexp_matches(substr(s, length('search_path=') + 1), '\"(?:[^\"]|\"\")*\"|[^\\s,]+', 'g') WITH ORDINALITY x (m, i)))"
	" FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace, unnest(p.proconfig) s"
	" WHERE p.pronamespace = $1 AND s ~ '^search_path=' AND position(n.nspname in replace(s, '\"\"', '\"')) > 0",

	/* Who shall own something needs rights in the schema. */
	OBJECTS "SELECT o.classid, CASE o.word WHEN 'SCHEMA' THEN 0 ELSE o.objid END,"
	"  format('ALTER %s %s OWNER TO %I', o.word, o.name, pg_get_userbyid(o.owner)) FROM o"
	" WHERE pg_get_userbyid(o.owner) <> current_user AND NOT EXISTS (SELECT FROM pg_depend d"
	"  WHERE d.classid = 'pg_class'::regclass AND d.objid = o.objid AND o.word = 'SEQUENCE' AND d.deptype = ANY ('{a,i}')"
	"  AND d.refclassid = 'pg_class'::regclass)",

	OBJECTS "SELECT o.classid, o.objid, format('REVOKE ALL ON %s %s FROM PUBLIC, %I%s', o.rights, o.name,"
	"  pg_get_userbyid(o.owner), o.grantees)"
	" FROM o WHERE o.acl IS NOT NULL",
	OBJECTS "SELECT o.classid, o.objid, " GRANT("''", "o.rights", "o.name") " FROM o, aclexplode(o.acl) a WHERE o.acl IS NOT NULL",
	"SELECT 'pg_class'::regclass::oid, c.oid, " GRANT("format(' (%I)', t.attname)", "'TABLE'", "quote_ident(c.relname)")
	" FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid AND t.attacl IS NOT NULL, aclexplode(t.attacl) a"
	" WHERE c.relnamespace = $1",
	"SELECT 'pg_default_acl'::regclass::oid, f.oid, format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I %s',"
	"  pg_get_userbyid(f.defaclrole), $2, " GRANT("''", "CASE f.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES'"
												  "   WHEN 'f' THEN 'FUNCTIONS' ELSE 'TYPES' END", "''") ")"
	" FROM pg_default_acl f, aclexplode(f.defaclacl) a WHERE f.defaclnamespace = $1",

	OBJECTS "SELECT d.classoid, d.objoid, format('COMMENT ON %s IS %L', x.what, d.description) FROM ("
	"SELECT o.classid, o.objid, 0, o.word || ' ' || o.name FROM o"
	" UNION ALL SELECT 'pg_class'::regclass, c.oid, a.attnum::int, format('COLUMN %I.%I', c.relname, a.attname)"
	"  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
	"  WHERE c.relnamespace = $1 AND c.relkind = ANY ('{r,p,v,m,c}')"
	" UNION ALL SELECT 'pg_class'::regclass, c.oid, 0, format('INDEX %I', c.relname) FROM pg_class c"
	"  WHERE c.relnamespace = $1 AND c.relkind = ANY ('{i,I}')"
	" UNION ALL SELECT 'pg_constraint'::regclass, k.oid, 0, format('CONSTRAINT %I ON %s', k.conname,"
	"   CASE WHEN k.conrelid <> 0 THEN k.conrelid::regclass::text ELSE 'DOMAIN ' || k.contypid::regtype END)"
	"  FROM pg_constraint k WHERE k.connamespace = $1"
	" UNION ALL SELECT 'pg_trigger'::regclass, t.oid, 0, format('TRIGGER %I ON %I', t.tgname, c.relname)"
	"  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = $1 AND NOT t.tgisinternal"
	" UNION ALL SELECT 'pg_policy'::regclass, p.oid, 0, format('POLICY %I ON %I', p.polname, c.relname)"
	"  FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE c.relnamespace = $1"
	" UNION ALL SELECT 'pg_rewrite'::regclass, r.oid, 0, format('RULE %I ON %I', r.rulename, c.relname)"
	"  FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE c.relnamespace = $1 AND r.rulename <> '_RETURN'"
	") x (classid, objid, part, what) JOIN pg_description d ON d.classoid = x.classid AND d.objoid = x.objid AND d.objsubid = x.part",

	/* Those of which others are made come first. */
	"WITH RECURSIVE m (oid, level) AS (SELECT c.oid, 0 FROM pg_class c WHERE c.relnamespace = $1 AND c.relkind = 'm'"
	" UNION SELECT r.ev_class, m.level + 1 FROM m JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = m.oid"
	"  JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid WHERE r.ev_class <> m.oid AND m.level < 100)"
	" SELECT 'pg_class'::regclass::oid, max(m.level)::oid, format('REFRESH MATERIALIZED VIEW %I', c.relname)"
	" FROM m JOIN pg_class c ON c.oid = m.oid WHERE c.relnamespace = $1 AND c.relkind = 'm' AND c.relispopulated GROUP BY c.oid, c.relname",
	NULL
};

/* Whether a text names the schema n: before a dot, or in quotes. */
#define NAMES_SCHEMA(body) \
	"replace(" body ", '\"\"', '\"') ~* (SELECT concat('(^|[^[:alnum:]_$])', x, '\\s*\\.|\"', x, '\"|''\"?', x, '\"?''') FROM" \
	" (SELECT regexp_replace(n.nspname, '([^[:alnum:]_])', '\\\\\\1', 'g')) r (x))"

/* What there is no way to clone: descriptions. */
const char *const dbp_clone_refused =
"SELECT pg_describe_object(d.classid, d.objid, 0) FROM pg_depend d"
" LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid"
" LEFT JOIN pg_type t ON d.classid = 'pg_type'::regclass AND t.oid = d.objid"
" LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid"
" WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = $1 AND d.deptype = 'n'"
" AND coalesce(c.relkind = ANY ('{r,p,v,m,S,c}'), t.typtype = ANY ('{e,d,c}'), p.prokind <> 'a',"
"  d.classid = 'pg_statistic_ext'::regclass) IS NOT TRUE"
" UNION SELECT format('%s, which belongs to an extension', pg_describe_object(d.classid, d.objid, 0)) FROM pg_depend d"
"  JOIN pg_depend m ON m.classid = d.classid AND m.objid = d.objid AND m.deptype = 'e'"
"  WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = $1 AND d.deptype = 'n'"
" UNION SELECT format('table %s, a table of a type', c.oid::regclass) FROM pg_class c"
"  WHERE c.relnamespace = $1 AND c.reloftype <> 0"
" UNION SELECT format('table %s, a partition of %s', c.oid::regclass, p.oid::regclass) FROM pg_class c"
"  JOIN pg_inherits h ON h.inhrelid = c.oid JOIN pg_class p ON p.oid = h.inhparent"
"  WHERE c.relnamespace = $1 AND c.relispartition AND p.relkind = 'p' AND p.relnamespace <> $1"
" UNION SELECT format('table %s, which inherits from %s', c.oid::regclass, p.oid::regclass) FROM pg_class c"
"  JOIN pg_inherits h ON h.inhrelid = c.oid JOIN pg_class p ON p.oid = h.inhparent"
"  WHERE c.relnamespace = $1 AND NOT c.relispartition AND c.relkind = 'r' AND p.relnamespace <> $1"
" UNION SELECT format('table %s, one of whose partitions is %s', p.oid::regclass, c.oid::regclass) FROM pg_class c"
"  JOIN pg_inherits h ON h.inhrelid = c.oid JOIN pg_class p ON p.oid = h.inhparent"
"  WHERE p.relnamespace = $1 AND c.relispartition AND p.relkind = 'p' AND c.relnamespace <> $1"
/* A command that names them would be about the system's. */
" UNION SELECT format('%s, which has a name of the system''s', pg_describe_object(u.classid, u.objid, 0)) FROM ("
"SELECT 'pg_class'::regclass, c.oid FROM pg_class c JOIN pg_class s ON s.relname = c.relname WHERE c.relnamespace = $1"
"  AND s.relnamespace = 'pg_catalog'::regnamespace"
" UNION ALL SELECT 'pg_type'::regclass, t.oid FROM pg_type t JOIN pg_type s ON s.typname = t.typname"
"  LEFT JOIN pg_class r ON r.oid = t.typrelid WHERE t.typnamespace = $1 AND s.typnamespace = 'pg_catalog'::regnamespace"
"  AND (t.typtype = ANY ('{e,d}') OR r.relkind = 'c')"
" UNION ALL SELECT 'pg_proc'::regclass, p.oid FROM pg_proc p JOIN pg_proc s ON s.proname = p.proname"
"  AND s.proargtypes = p.proargtypes WHERE p.pronamespace = $1 AND s.pronamespace = 'pg_catalog'::regnamespace) u (classid, objid)"
" UNION SELECT format('function %s, whose body names the schema', p.oid::regprocedure) FROM pg_proc p"
"  JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.pronamespace = $1 AND p.prosqlbody IS NULL"
"  AND " NAMES_SCHEMA("p.prosrc") " ORDER BY 1";

/* Which commands have a string that names something of the schema.  $2: commands. */
const char *const dbp_clone_named =
"SELECT c FROM pg_namespace n, unnest($2) c, regexp_matches(c, '''(?:[^'']|'''')*''|\"(?:[^\"]|\"\")*\"', 'g') m"
" WHERE n.oid = $1 AND m[1] ~ '^''' AND replace(m[1], '\"\"', '\"') ~*"
" (SELECT concat('(^|[^[:alnum:]_$])', x, '\"?\\s*\\.') FROM (SELECT regexp_replace(n.nspname, '([^[:alnum:]_])', '\\\\\\1', 'g')) r (x))";

/* All that is in a schema, and parts of it. */
#define MEMBERS(name, schema) \
	name " (classid, objid) AS (SELECT d.classid, d.objid FROM pg_depend d" \
	"  WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = " schema \
	" UNION SELECT d.classid, d.objid FROM " name " m JOIN pg_depend d ON d.refclassid = m.classid AND d.refobjid = m.objid" \
	"  WHERE d.deptype = ANY ('{a,i,P,S}'))"

/* What in a clone ($2, by OID) still depends on the schema. */
const char *const dbp_clone_left_over =
"WITH RECURSIVE " MEMBERS("theirs", "$1") ", " MEMBERS("ours", "$2")
" SELECT DISTINCT pg_describe_object(o.classid, o.objid, 0) FROM ours o"
" JOIN pg_depend d ON d.classid = o.classid AND d.objid = o.objid"
" WHERE (d.refclassid = 'pg_namespace'::regclass AND d.refobjid = $1)"
" OR EXISTS (SELECT FROM theirs t WHERE t.classid = d.refclassid AND t.objid = d.refobjid)"
" UNION SELECT pg_describe_object('pg_proc'::regclass, p.oid, 0) FROM pg_proc p JOIN pg_namespace n ON n.oid = $1"
" WHERE p.pronamespace = $2 AND " NAMES_SCHEMA("array_to_string(p.proconfig, ';')") " ORDER BY 1";

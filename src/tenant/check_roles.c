/*-------------------------------------------------------------------------
 *
 * check_roles.c
 *	  Roles, rights and servers that make policies void.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/check_roles.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tenant/check.h"

static const char *const roles[] = {
	"SELECT 'error', r.rolname, CASE WHEN r.rolsuper THEN 'the role is a superuser: no policy applies to it'"
	"  ELSE 'the role bypasses row-level security' END,"
	" format('ALTER ROLE %I %s;', r.rolname, CASE WHEN r.rolsuper THEN 'NOSUPERUSER NOBYPASSRLS' ELSE 'NOBYPASSRLS' END)"
	" FROM pg_roles r WHERE r.oid = ANY ($10) AND (r.rolsuper OR r.rolbypassrls) ORDER BY 2",

	"SELECT 'error', r.rolname, CASE WHEN r.rolreplication THEN 'the role may read all that the server writes'"
	"  ELSE 'the role may give itself other roles' END,"
	" format('ALTER ROLE %I NOREPLICATION NOCREATEROLE;', r.rolname)"
	" FROM pg_roles r WHERE r.oid = ANY ($10) AND (r.rolreplication OR r.rolcreaterole) ORDER BY 2",

	/* Direct members only: what they lead to is what their remedy takes away. */
	"SELECT 'error', r.rolname,"
	" format('the role can become %s, which %s', string_agg(DISTINCT quote_ident(g.rolname), ', '),"
	"  CASE WHEN bool_or(g.rolsuper OR g.rolbypassrls) THEN 'bypasses row-level security'"
	"   WHEN bool_or(g.rolname ~ '^pg_') THEN 'reads and writes files of the server'"
	"   WHEN bool_or(g.rolname = current_setting('dbpatterns.tenant_admin_role', true)) THEN 'administers tenants'"
	"   ELSE 'owns isolated tables' END),"
	" format('REVOKE %I FROM %I;', m.rolname, r.rolname)"
	" FROM pg_roles r JOIN pg_auth_members a ON a.member = r.oid JOIN pg_roles m ON m.oid = a.roleid"
	" JOIN pg_roles g ON pg_has_role(m.oid, g.oid, 'MEMBER')"
	" WHERE r.oid = ANY ($10) AND NOT r.rolsuper AND g.oid <> r.oid"
	" AND (g.rolsuper OR g.rolbypassrls OR EXISTS (SELECT FROM pg_class c WHERE c.oid = ANY ($1) AND c.relowner = g.oid)"
	"  OR g.rolname = ANY ('{pg_read_server_files,pg_write_server_files,pg_execute_server_program}')"
	"  OR g.rolname = current_setting('dbpatterns.tenant_admin_role', true))"
	" AND (NOT m.rolsuper OR g.oid = m.oid)"
	" GROUP BY r.rolname, m.rolname ORDER BY 2, 4",

	"SELECT 'error', c.oid::regclass, format('the application''s role %I owns the table, and could end its isolation', r.rolname),"
	" format('ALTER TABLE %s OWNER TO CURRENT_USER;', c.oid::regclass)"
	" FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE c.oid = ANY ($1) AND r.oid = ANY ($10) AND NOT r.rolsuper ORDER BY 2",

	"SELECT 'error', p.parname, format('%s may set the parameter', string_agg(DISTINCT " ROLE_NAME("a.grantee") ", ', ')),"
	" format('REVOKE ALL ON PARAMETER %s FROM %s CASCADE;', p.parname, string_agg(DISTINCT " ROLE_NAME("a.grantee") ", ', '))"
	" FROM pg_parameter_acl p, aclexplode(p.paracl) a LEFT JOIN pg_roles r ON r.oid = a.grantee"
	" WHERE p.parname ~ '^(dbpatterns\\.|session_replication_role$)' AND NOT coalesce(r.rolsuper, false)"
	" GROUP BY p.parname ORDER BY 2",

	"SELECT CASE WHEN p.proname = 'tenant_set' THEN 'warning' ELSE 'error' END, p.oid::regprocedure,"
	" format('the application''s role %I may call it, and so be any tenant', r.rolname),"
	" format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC, %I CASCADE;', p.oid::regprocedure, r.rolname)"
	" FROM pg_proc p JOIN pg_roles r ON r.oid = ANY ($10) AND NOT r.rolsuper"
	" WHERE p.pronamespace = 'dbpatterns'::regnamespace"
	" AND p.proname = ANY ('{tenant_set,tenant_token,tenant_key_create,tenant_key_drop,tenant_admin_begin}')"
	" AND has_function_privilege(r.oid, p.oid, 'EXECUTE') ORDER BY 2, 3",

	/* Nobody but their owner reads or writes tables of ours. */
	"SELECT 'error', c.oid::regclass, 'others have rights on a table that isolation rests on', " REVOKE_ALL
	" FROM pg_class c, " GRANTS " WHERE c.relkind = 'r' AND cardinality($1) > 0 AND (c.oid = 'dbpatterns.tenant'::regclass"
	"  OR c.oid IN (SELECT t.oid FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace"
	"   WHERE n.nspname = '_dbpatterns' AND t.relname ~ '^(tenant_|registry$|pattern$)'))"
	" GROUP BY c.oid ORDER BY 2",

	"SELECT 'error', e.evtname, 'the event trigger is off: new partitions are not isolated',"
	" format('ALTER EVENT TRIGGER %I ENABLE;', e.evtname)"
	" FROM pg_event_trigger e WHERE cardinality($1) > 0 AND e.evtname ~ '^dbpatterns_' AND e.evtenabled = ANY ('{D,R}')"
	" ORDER BY 2",

	/* Releases that mend how row-level security is planned or estimated. */
	"SELECT 'warning', 'PostgreSQL ' || current_setting('server_version'),"
	" 'the release has known flaws of row-level security (the last is CVE-2025-8713)',"
	" '-- install the current minor release'"
	" FROM (SELECT current_setting('server_version_num')::int AS v) s WHERE cardinality($1) > 0"
	" AND s.v < CASE s.v / 10000 WHEN 15 THEN 150014 WHEN 16 THEN 160010 WHEN 17 THEN 170006 ELSE 0 END",

	"SELECT 'info', 'dbpatterns.tenant_setting', 'whoever can send SQL can change the tenant: a setting names it',"
	" 'ALTER SYSTEM RESET dbpatterns.tenant_setting; -- or where it is set: the database, the role'"
	" WHERE cardinality($1) > 0 AND (current_setting('dbpatterns.tenant_setting', true) <> ''"
	"  OR EXISTS (SELECT FROM pg_db_role_setting s, unnest(s.setconfig) c"
	"   WHERE s.setdatabase IN (0, (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))"
	"   AND c ~ '^dbpatterns\\.tenant_setting=.'))",

	"SELECT 'info', 'dbpatterns.tenant_application_roles', 'applications are not named: they are guessed from rights on tables',"
	" '-- name their roles, then call dbpatterns.tenant_enable again'"
	" WHERE cardinality($1) > 0 AND 'public' = ANY ($9)"
};

/*
 * dbp_tenant_find_roles finds them.
 */
void
dbp_tenant_find_roles(TenantChecked *checked)
{
	dbp_tenant_find(checked, roles, lengthof(roles));
}

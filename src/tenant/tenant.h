/*-------------------------------------------------------------------------
 *
 * tenant.h
 *	  Tenant isolation: what its files share.
 *
 *	context.c	the tenant of this transaction, and who asks for it
 *	token.c		signed tokens: JSON Web Tokens with HMAC-SHA256
 *	mint.c		tokens made in the database
 *	keys.c		the keys they are signed with
 *	used.c		tokens that were used, in shared memory
 *	admin.c		the way in for administrators, and its log
 *	residue.c	what another tenant may have left in this session
 *	settings.c	the module's settings
 *
 *	spec.c		how a table is isolated
 *	script.c	commands that are shown, or carried out
 *	policy.c	what a table needs: policies, default, index, rights
 *	rights.c	rights that policies do not look at
 *	unique.c	keys that begin with the tenant
 *	enable.c	switching isolation of tables on and off
 *	follow.c	new tables, and what is taken from isolated ones
 *	check.c		what breaks isolation
 *
 *	life.c		tenants
 *	admit.c		which of them may have a context
 *	limits.c	limits of their transactions
 *	belongings.c	all that belongs to one, found and counted
 *	purge.c		deleted
 *	export.c	and taken along
 *	schema.c	tenants that have a schema of their own
 *	database.c	tenants that have a database of their own
 *	migrate.c	migrations over all of these
 *	clone.c		cloning a schema
 *	clone_read.c	what a schema consists of
 *	clone_rights.c	owners, rights and comments of that
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/tenant.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_TENANT_H
#define DBP_TENANT_H

#include "core/owner.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#define TENANT_MAC_SIZE		32	/* of HMAC-SHA256 */
#define TENANT_SECRET_MIN	32	/* bytes of a key, as RFC 7518 asks */
#define TENANT_TOKEN_MAX	8192	/* characters */

/* A role, 0 for all, as it is written in GRANT and REVOKE, in SQL. */
#define ROLE_NAME(role) \
	"CASE WHEN " role " = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(" role ")) END"

/* ---- tenant.c ---- */
extern void dbp_tenant_enter_ours(DbpOwnerScope *scope);
extern void dbp_tenant_init(void);

/* ---- context.c ---- */

/* What a token, or tenant_set, says. */
typedef struct TenantClaims
{
	char	   *tenant;
	char	   *user;			/* NULL: none */
	char	   *claims;			/* all claims of the token, a JSON object;
								 * NULL: there was no token */
} TenantClaims;

extern void dbp_tenant_context_init(void);
extern void dbp_tenant_require_unset(const char *function);
extern void dbp_tenant_pin(const TenantClaims *said, bool admin);
extern bool dbp_tenant_is_admin(void);

/* ---- keys.c ---- */
typedef struct TenantKey
{
	char	   *kid;
	int			length;
	uint8	   *secret;
} TenantKey;

extern void dbp_tenant_keys_init(void);
extern const TenantKey *dbp_tenant_key(const char *kid);

/* ---- token.c ---- */
extern TenantClaims *dbp_tenant_verify(const char *token, int length);
extern void dbp_tenant_sign(const TenantKey *key, const char *text, int length, uint8 *mac);
extern char *dbp_tenant_encode(const uint8 *data, int length);
extern uint8 *dbp_tenant_decode(const char *data, int length, int *decoded);

/* ---- used.c ---- */
extern void dbp_tenant_used_init(void);
extern bool dbp_tenant_used_available(void);
extern TimestampTz dbp_tenant_used_since(void);
extern bool dbp_tenant_use(const uint8 *mac, TimestampTz expires);

/* ---- residue.c ---- */
extern void dbp_tenant_require_no_residue(void);

/* ---- settings.c ---- */
typedef enum TenantNewTables
{
	TENANT_NEW_OFF,
	TENANT_NEW_WARN,
	TENANT_NEW_PROTECT,
	TENANT_NEW_REJECT
} TenantNewTables;

extern int	dbp_tenant_new_tables;	/* TenantNewTables */
extern bool dbp_tenant_strict_pool;
extern char *dbp_tenant_setting;
extern char *dbp_tenant_key_file;
extern int	dbp_tenant_token_slots;

extern List *dbp_tenant_application_roles(void);
extern char *dbp_tenant_admin_role(void);
extern void dbp_tenant_settings_init(void);

/* ---- spec.c ---- */

/* How a table is isolated. */
typedef struct TenantSpec
{
	Oid			relid;			/* as read */
	char	   *column;
	char	   *type;			/* of the getter: uuid, bigint, integer, text */
	char	   *user_column;	/* NULL: none */
	char	   *user_type;
	bool		on_missing_error;	/* otherwise: no rows */
	bool		bare;			/* the getter is called in place, not in a
								 * subquery */
	List	   *roles;			/* names; "public" for all */
	char	   *admin;			/* NULL: none */
	bool		had_rls;		/* before */
	bool		had_force;
} TenantSpec;

extern void dbp_tenant_complete_spec(TenantSpec *spec, Relation rel, const char *form);
extern bool dbp_tenant_read_spec(Oid relid, TenantSpec *spec);
extern TenantSpec *dbp_tenant_read_specs(int *n);
extern char *dbp_tenant_spec_options(const TenantSpec *spec);
extern char *dbp_tenant_getter(const TenantSpec *spec);
extern char *dbp_tenant_equality(const TenantSpec *spec);
extern char *dbp_tenant_user_equality(const TenantSpec *spec);

/* ---- script.c ---- */

typedef struct TenantScript
{
	bool		dry_run;		/* nothing is carried out */
	bool		fix_keys;		/* keys will begin with the tenant */
	List	   *commands;		/* strings */
	int			ndone;
	MemoryContext cxt;
} TenantScript;

extern void dbp_tenant_add(TenantScript *script, const char *format,...) pg_attribute_printf(2, 3);
extern void dbp_tenant_carry_out(TenantScript *script);

/* ---- policy.c ---- */
typedef struct TenantPolicy
{
	const char *name;
	bool		permissive;
	List	   *roles;
	const char *condition;		/* NULL: there shall be no such policy */
} TenantPolicy;

extern void dbp_tenant_make_policy(TenantScript *script, Relation rel, const TenantPolicy *policy);
extern void dbp_tenant_let_pass(TenantScript *script, Relation rel, List *roles);
extern void dbp_tenant_protect(TenantScript *script, const TenantSpec *spec, Oid relid,
							   bool is_root);
extern void dbp_tenant_unprotect(TenantScript *script, const TenantSpec *spec, Oid relid);

/* ---- rights.c ---- */
extern void dbp_tenant_revoke(TenantScript *script, const TenantSpec *spec, Relation rel);

/* ---- unique.c ---- */
extern void dbp_tenant_fix_keys(TenantScript *script, List *relids, const char *column);
extern void dbp_tenant_report_keys(List *relids, const char *column);

/* ---- enable.c ---- */
extern void dbp_tenant_apply(TenantScript *script, TenantSpec *spec, Oid relid, List *tree);
extern bool dbp_tenant_is_exempt(Oid relid);

/* ---- follow.c ---- */
extern bool dbp_tenant_pause_following(bool pause);
extern void dbp_tenant_follow_init(void);

/* ---- clone.c ---- */
extern void dbp_tenant_clone(Oid original, const char *name);

/* ---- schema.c ---- */
extern void dbp_tenant_protect_schema(Oid schema, const char *tenant);

/* ---- migrate.c ---- */
extern void dbp_tenant_inherit_versions(const char *model, const char *template,
										const char *clone);
extern void dbp_tenant_forget_versions(const char *model, const char *place);

/* ---- life.c ---- */
extern void dbp_tenant_check_limits(Jsonb *limits);

/* ---- belongings.c ---- */

/* Tables in schemas of tenants that are neither isolated nor exempt. */
#define UNCLASSIFIED_TABLES \
	"SELECT c.oid FROM pg_class c" \
	" WHERE c.relkind = ANY ('{r,p}') AND NOT c.relispartition AND c.relpersistence <> 't'" \
	" AND c.relnamespace IN (SELECT n.oid FROM pg_namespace n JOIN _dbpatterns.tenant_schema s ON s.schema = n.nspname" \
	"  UNION SELECT t.relnamespace FROM _dbpatterns.registry g JOIN pg_class t ON t.oid = g.target WHERE g.pattern = 'tenant')" \
	" AND NOT EXISTS (SELECT FROM _dbpatterns.tenant_exempt x WHERE x.target = c.oid)" \
	" AND c.oid NOT IN (WITH RECURSIVE b (relid) AS (SELECT target::oid FROM _dbpatterns.registry WHERE pattern = 'tenant'" \
	"  UNION SELECT i.inhrelid FROM b JOIN pg_inherits i ON i.inhparent = b.relid) SELECT relid FROM b)" \
	" AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')" \
	" AND NOT EXISTS (SELECT FROM _dbpatterns.hierarchy h WHERE h.storage = c.oid" \
	"  OR c.relname = (SELECT r.relname || '_counts' FROM pg_class r WHERE r.oid = h.storage))"

/* ---- admit.c ---- */
extern void dbp_tenant_admit(const char *tenant);
extern void dbp_tenant_admit_init(void);

/* ---- limits.c ---- */
#define TENANT_LIMIT_SIZE	32	/* of the value of a setting */

typedef struct TenantLimits
{
	char		statement_timeout[TENANT_LIMIT_SIZE];	/* empty: no limit */
	char		work_mem[TENANT_LIMIT_SIZE];
	int64		max_rows;		/* 0: no limit */
} TenantLimits;

extern void dbp_tenant_limit(const TenantLimits *limits);

#endif							/* DBP_TENANT_H */

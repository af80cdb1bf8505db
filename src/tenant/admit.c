/*-------------------------------------------------------------------------
 *
 * admit.c
 *	  Which tenants may have a context, and within which limits.
 *
 * Asked at the beginning of each transaction, so answers are kept: those of the
 * table dbpatterns.tenant, until a statement changes it, whose trigger tells all
 * backends.  While that table is empty it is not used, and every tenant is
 * admitted.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/admit.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "core/owner.h"
#include "core/sql.h"
#include "miscadmin.h"
#include "tenant/tenant.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#define KEPT		1024		/* answers, at most */
#define KEY_SIZE	64			/* of ids; longer ones are asked anew each
								 * time */

typedef struct Answer
{
	char		tenant[KEY_SIZE];	/* the key; must be first */
	bool		known;
	bool		active;
	bool		deleting;
	TenantLimits limits;
	NameData	schema;			/* of its own; empty: none */
} Answer;

static HTAB *answers = NULL;
static Oid	tenant_table = InvalidOid;
static bool valid = false;		/* what is kept */
static bool unused = false;		/* the table is empty */

static void
forget_answers(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == tenant_table)
		valid = false;
}

static void
empty(void)
{
	HASHCTL		ctl = {0};

	if (answers != NULL)
		hash_destroy(answers);
	ctl.keysize = KEY_SIZE;
	ctl.entrysize = sizeof(Answer);
	ctl.hcxt = CacheMemoryContext;
	answers = hash_create("dbpatterns tenants", 64, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	tenant_table = get_relname_relid("tenant", get_namespace_oid("dbpatterns", false));
	/* Set first, so that a change meanwhile makes it invalid again. */
	valid = true;
}

/*
 * ask reads what the table says of a tenant.
 */
static void
ask(const char *tenant, Answer *answer)
{
	DbpParam	param = DBP_PARAM(TEXTOID, CStringGetTextDatum(tenant));
	DbpOwnerScope scope;

	memset(answer, 0, sizeof(Answer));
	SPI_connect();
	dbp_tenant_enter_ours(&scope);
	answer->known = dbp_sql_query_latest("SELECT state, limits ->> 'statement_timeout', limits ->> 'work_mem',"
										 " (limits ->> 'max_rows')::bigint, CASE model WHEN 'schema' THEN place ELSE '' END"
										 " FROM dbpatterns.tenant WHERE id = $1",
										 1, &param) > 0;
	if (answer->known)
	{
		char	   *timeout = dbp_sql_text(0, 1);
		char	   *work_mem = dbp_sql_text(0, 2);
		bool		isnull;
		Datum		rows = dbp_sql_value(0, 3, &isnull);

		answer->active = strcmp(dbp_sql_text(0, 0), "active") == 0;
		answer->deleting = strcmp(dbp_sql_text(0, 0), "deleting") == 0;
		namestrcpy(&answer->schema, dbp_sql_text(0, 4));
		strlcpy(answer->limits.statement_timeout, timeout ? timeout : "", TENANT_LIMIT_SIZE);
		strlcpy(answer->limits.work_mem, work_mem ? work_mem : "", TENANT_LIMIT_SIZE);
		answer->limits.max_rows = isnull ? 0 : DatumGetInt64(rows);
	}
	else
		unused = dbp_sql_query_latest("SELECT FROM dbpatterns.tenant LIMIT 1", 0, NULL) == 0;
	dbp_leave_owner(&scope);
	SPI_finish();
}

/*
 * look_up returns what is known of a tenant, from what is kept if it can be; room is for
 * what cannot be kept.
 */
static const Answer *
look_up(const char *tenant, Answer *room)
{
	Answer	   *kept;
	bool		found;

	/* A change of this transaction may be rolled back again. */
	if (strlen(tenant) >= KEY_SIZE || IsSubTransaction())
	{
		ask(tenant, room);
		return room;
	}
	/* The transaction may have begun before the tenant was suspended. */
	AcceptInvalidationMessages();
	if (!valid || hash_get_num_entries(answers) >= KEPT)
		empty();
	kept = hash_search(answers, tenant, HASH_FIND, NULL);
	if (kept == NULL)
	{
		ask(tenant, room);
		/* Another tenant's transaction must not find what an error left. */
		kept = hash_search(answers, tenant, HASH_ENTER, &found);
		memcpy((char *) kept + KEY_SIZE, (char *) room + KEY_SIZE, sizeof(Answer) - KEY_SIZE);
	}
	return kept;
}

/*
 * find_schema_first lets names mean what they do in the tenant's schema, until the
 * transaction ends.
 */
static void
find_schema_first(const char *schema)
{
	char	   *path = psprintf("%s%s%s", quote_identifier(schema),
								namespace_search_path[0] != '\0' ? ", " : "", namespace_search_path);

	/* Otherwise names would mean what they do in other schemas. */
	(void) get_namespace_oid(schema, false);
	(void) set_config_option("search_path", path, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL,
							 true, 0, false);
}

/*
 * dbp_tenant_admit raises 28000 unless a tenant may have a context now, and sets
 * its limits, and the way to its schema, for this transaction.
 */
void
dbp_tenant_admit(const char *tenant)
{
	Answer		room;
	const Answer *answer = look_up(tenant, &room);

	if (!answer->known && unused)
		return;
	if (!answer->known)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("there is no tenant \"%s\"", tenant),
				 errhint("List it with dbpatterns.tenant_create.")));
	if (answer->deleting)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("tenant \"%s\" has been deleted", tenant),
				 errhint("dbpatterns.tenant_drop takes it off the list.")));
	if (!answer->active)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("tenant \"%s\" is suspended", tenant),
				 errhint("dbpatterns.tenant_resume admits it again.")));
	dbp_tenant_limit(&answer->limits);
	if (NameStr(answer->schema)[0] != '\0')
		find_schema_first(NameStr(answer->schema));
}

/*
 * dbp_tenant_admit_init prepares this backend.
 */
void
dbp_tenant_admit_init(void)
{
	CacheRegisterRelcacheCallback(forget_answers, (Datum) 0);
}

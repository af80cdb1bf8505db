/*-------------------------------------------------------------------------
 *
 * txn.c
 *	  Who and when: the facts about a transaction.
 *
 * They are taken when an entry is captured, as they can change inside a
 * transaction: SET ROLE, another context, another statement's query id.  Facts
 * that were written hold for the transaction's entries with greater numbers,
 * until others are written (see write.c); if the savepoint they were written
 * under is rolled back, they hold no longer.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/txn.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "audit/audit.h"
#include "compat/compat.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/inet.h"
#include "utils/memutils.h"
#include "utils/xid8.h"

PG_FUNCTION_INFO_V1(dbpatterns_audit_set_context);

/* Setting dbpatterns.audit_context, parsed; NULL when there is none. */
static char *context_string = NULL;
static Jsonb *context = NULL;
static int64 context_serial = 0;

static int64 txn = 0;			/* 0: this transaction has no number yet */
static int	in_force_level = 0; /* nesting level of in_force; 0: there are
								 * none */
static AuditFacts in_force;		/* facts written last */

/* This backend's client address, found once; inet */
static bool have_client_addr = false;
static inet *client_addr = NULL;

static void
get_roles(Oid roles[4])
{
	roles[0] = MyProc->roleId;
	roles[1] = GetSessionUserId();
	roles[2] = GetOuterUserId();
	roles[3] = GetUserId();
}

/*
 * set_role_names finds the names of roles.  When facts are written the roles
 * may be gone, or have others.
 */
static void
set_role_names(AuditFacts *facts)
{
	for (int i = 0; i < lengthof(facts->roles); i++)
	{
		char	   *name;

		if (i > 0 && facts->roles[i] == facts->roles[i - 1])
		{
			strlcpy(facts->role_names[i], facts->role_names[i - 1], NAMEDATALEN);
			continue;
		}
		name = GetUserNameFromId(facts->roles[i], true);
		if (name != NULL)
			strlcpy(facts->role_names[i], name, NAMEDATALEN);
		else
			snprintf(facts->role_names[i], NAMEDATALEN, "%u", facts->roles[i]);
	}
}

/*
 * dbp_audit_txn_facts returns the facts as they are now, in cxt.
 */
AuditFacts *
dbp_audit_txn_facts(MemoryContext cxt)
{
	AuditFacts *facts = MemoryContextAllocZero(cxt, sizeof(AuditFacts));

	get_roles(facts->roles);
	set_role_names(facts);
	facts->query_id = (int64) pgstat_get_my_query_id();
	facts->context_serial = context_serial;
	if (context != NULL)
	{
		facts->context = MemoryContextAlloc(cxt, VARSIZE(context));
		memcpy(facts->context, context, VARSIZE(context));
	}
	strlcpy(facts->application_name, application_name ? application_name : "",
			NAMEDATALEN);
	return facts;
}

/*
 * dbp_audit_txn_facts_hold tells whether facts are still what they were.
 */
bool
dbp_audit_txn_facts_hold(const AuditFacts *facts)
{
	Oid			roles[4];

	get_roles(roles);
	return memcmp(facts->roles, roles, sizeof(roles)) == 0 &&
		facts->query_id == (int64) pgstat_get_my_query_id() &&
		facts->context_serial == context_serial &&
		strncmp(facts->application_name, application_name ? application_name : "",
				NAMEDATALEN - 1) == 0;
}

/*
 * dbp_audit_txn_copy_facts copies facts to cxt.
 */
AuditFacts *
dbp_audit_txn_copy_facts(const AuditFacts *facts, MemoryContext cxt)
{
	AuditFacts *copy = MemoryContextAlloc(cxt, sizeof(AuditFacts));

	*copy = *facts;
	if (facts->context != NULL)
	{
		copy->context = MemoryContextAlloc(cxt, VARSIZE(facts->context));
		memcpy(copy->context, facts->context, VARSIZE(facts->context));
	}
	return copy;
}

/*
 * dbp_audit_txn_same_facts tells whether facts are equal.
 */
bool
dbp_audit_txn_same_facts(const AuditFacts *a, const AuditFacts *b)
{
	if (a == b)
		return true;
	return memcmp(a->roles, b->roles, sizeof(a->roles)) == 0 &&
		a->query_id == b->query_id &&
		a->context_serial == b->context_serial &&
		strcmp(a->application_name, b->application_name) == 0;
}

static inet *
find_client_addr(void)
{
	LOCAL_FCINFO(fcinfo, 0);
	Datum		value;

	if (have_client_addr)
		return client_addr;

	InitFunctionCallInfoData(*fcinfo, NULL, 0, InvalidOid, NULL, NULL);
	value = inet_client_addr(fcinfo);
	if (!fcinfo->isnull)
	{
		inet	   *address = DatumGetInetPP(value);

		client_addr = MemoryContextAlloc(CacheMemoryContext, VARSIZE_ANY(address));
		memcpy(client_addr, address, VARSIZE_ANY(address));
	}
	have_client_addr = true;
	return client_addr;
}

/*
 * dbp_audit_txn_fill sets the columns of the log that say who and when.
 */
void
dbp_audit_txn_fill(const AuditFacts *facts, Datum *values, bool *isnull)
{
	inet	   *address = find_client_addr();

	memset(isnull, 0, AUDIT_WHO_COLUMNS * sizeof(bool));
	values[0] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	values[1] = Int64GetDatum(facts->query_id);
	isnull[1] = (facts->query_id == 0);
	values[2] = Int32GetDatum(MyProcPid);
	values[3] = PointerGetDatum(address);
	isnull[3] = (address == NULL);
	for (int i = 0; i < lengthof(facts->roles); i++)
		values[4 + i] = CStringGetTextDatum(facts->role_names[i]);
	values[8] = CStringGetTextDatum(facts->application_name);
	isnull[8] = (facts->application_name[0] == '\0');
	values[9] = PointerGetDatum(facts->context);
	isnull[9] = (facts->context == NULL);
}

/*
 * dbp_audit_txn_begin numbers the transaction by the first number it draws.
 */
void
dbp_audit_txn_begin(int64 first_id)
{
	if (txn == 0)
		txn = first_id;
}

/*
 * dbp_audit_txn_in_force tells whether an entry written now needs no facts:
 * those written last are the same.
 */
bool
dbp_audit_txn_in_force(const AuditFacts *facts)
{
	return in_force_level > 0 && dbp_audit_txn_same_facts(facts, &in_force);
}

/*
 * dbp_audit_txn_set_in_force remembers facts that are about to be written.
 */
void
dbp_audit_txn_set_in_force(const AuditFacts *facts)
{
	in_force = *facts;
	in_force_level = GetCurrentTransactionNestLevel();
}

/*
 * dbp_audit_txn_current returns the number of this transaction, 0 if it has none.
 */
int64
dbp_audit_txn_current(void)
{
	return txn;
}

/*
 * dbp_audit_txn_end forgets the transaction.
 */
void
dbp_audit_txn_end(void)
{
	txn = 0;
	in_force_level = 0;
}

/*
 * dbp_audit_txn_subabort forgets what was written at nestlevel or deeper.
 */
void
dbp_audit_txn_subabort(int nestlevel)
{
	if (in_force_level >= nestlevel)
		in_force_level = 0;
}

/*
 * dbp_audit_txn_subcommit hands what was written at nestlevel to the parent.
 */
void
dbp_audit_txn_subcommit(int nestlevel)
{
	if (in_force_level == nestlevel)
		in_force_level--;
}

/*
 * A context is valid when it is empty or a JSON object that jsonb can hold.
 * It is parsed here, once; what the audit writes later cannot fail on it.
 */
static bool
check_context(char **newval, void **extra, GucSource source)
{
	MemoryContext cxt = CurrentMemoryContext;
	Jsonb	   *volatile value = NULL;
	Jsonb	   *copy;

	*extra = NULL;
	if (*newval == NULL || (*newval)[0] == '\0')
		return true;

	PG_TRY();
	{
		value = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(*newval)));
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(cxt);
		error = CopyErrorData();
		if (!dbp_error_lasts(error->sqlerrcode))
			PG_RE_THROW();
		FlushErrorState();
		GUC_check_errdetail("%s", error->detail ? error->detail : error->message);
		FreeErrorData(error);
		return false;
	}
	PG_END_TRY();

	if (!JB_ROOT_IS_OBJECT((Jsonb *) value))
	{
		GUC_check_errdetail("It must be a JSON object.");
		return false;
	}

	copy = guc_malloc(LOG, VARSIZE((Jsonb *) value));
	if (copy == NULL)
		return false;
	memcpy(copy, (Jsonb *) value, VARSIZE((Jsonb *) value));
	*extra = copy;
	return true;
}

static void
assign_context(const char *newval, void *extra)
{
	context = extra;
	context_serial++;
}

/*
 * audit_set_context(context jsonb) attaches application facts to the audit
 * entries of this transaction.
 *
 * context: a JSON object, or NULL for none; a second call replaces the first.
 * It ends with the transaction, so that a pooled connection never carries it
 * to the next client; a rollback to a savepoint restores the one before.
 * Raises 22023 when context is not an object.  Takes no lock; runs as the
 * caller.
 */
Datum
dbpatterns_audit_set_context(PG_FUNCTION_ARGS)
{
	char	   *value = "";

	if (!PG_ARGISNULL(0))
	{
		Jsonb	   *object = PG_GETARG_JSONB_P(0);

		value = JsonbToCString(NULL, &object->root, VARSIZE(object));
	}
	(void) set_config_option("dbpatterns.audit_context", value,
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL,
							 true, 0, false);
	PG_RETURN_VOID();
}

/*
 * dbp_audit_txn_init prepares this backend.
 */
void
dbp_audit_txn_init(void)
{
	DefineCustomStringVariable("dbpatterns.audit_context",
							   "Application facts for the audit entries of this session, a JSON object.",
							   "Set it for one transaction with dbpatterns.audit_set_context(jsonb).",
							   &context_string, "", PGC_USERSET, 0,
							   check_context, assign_context, NULL);
}

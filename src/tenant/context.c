/*-------------------------------------------------------------------------
 *
 * context.c
 *	  The tenant of this transaction.
 *
 * The context is the value of the setting dbpatterns.tenant_context, set locally to
 * the transaction: so the server itself ends it with the transaction, follows
 * savepoints, and carries it to parallel workers.  What makes it safe is the
 * check of that value: none is accepted but from the functions here, or when a
 * worker takes over what its leader has.  Whatever else would set it (SET,
 * set_config, ALTER ROLE, a function's SET clause, options of a connection)
 * meets that check, whoever does it; resetting it leaves no tenant.
 *
 * A context is set once in a transaction.  Rolling back to a savepoint
 * before that takes it away, and none can be set again.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/context.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "compat/compat.h"
#include "core/target.h"
#include "fmgr.h"
#include "tenant/tenant.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(dbpatterns_tenant_begin);
PG_FUNCTION_INFO_V1(dbpatterns_tenant_set);
PG_FUNCTION_INFO_V1(dbpatterns_current_claim);

/* An id, of a tenant or a user, with what it is in other types. */
typedef struct Id
{
	const char *data;			/* NULL: there is none */
	int			length;
	bool		is_bigint;
	bool		is_uuid;
	int64		bigint_value;
	pg_uuid_t	uuid_value;
} Id;

/* What the value of the setting says; strings are in it. */
typedef struct Context
{
	Id			tenant;
	Id			user;
	Id			claims;
	bool		admin;
} Context;

static char *context_string = NULL;
static const Context *context = NULL;	/* NULL: there is none */
static bool setting_context = false;	/* dbp_tenant_pin is at it */
static bool was_set = false;	/* in this transaction */

/* The claims, parsed when first asked for. */
static MemoryContext claims_cxt = NULL;
static Jsonb *claims = NULL;

/* ---- ids ---- */

/* A number as it is shown: 02 is not another name of 2, which may be suspended. */
static void
parse_bigint(Id *id)
{
	const char *digits = id->data + (id->data[0] == '-');
	char	   *end;

	if (digits[0] == '0' && id->length > 1)
		return;
	if (id->length == 0 || id->length > 20 || strspn(id->data, "-0123456789") < id->length)
		return;
	errno = 0;
	id->bigint_value = strtoll(id->data, &end, 10);
	id->is_bigint = errno == 0 && end == id->data + id->length;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A uuid as it is shown: 8-4-4-4-12 digits. */
static void
parse_uuid(Id *id)
{
	int			n = 0;

	if (id->length != 36)
		return;
	for (int i = 0; i < 36; i++)
	{
		int			digit = hex_digit(id->data[i]);

		if (i == 8 || i == 13 || i == 18 || i == 23)
		{
			if (id->data[i] != '-')
				return;
			continue;
		}
		if (digit < 0)
			return;
		if (n % 2 == 0)
			id->uuid_value.data[n / 2] = digit << 4;
		else
			id->uuid_value.data[n / 2] |= digit;
		n++;
	}
	id->is_uuid = true;
}

/* What follows the id in data is no digit. */
static void
parse_id(Id *id, const char *data, int length)
{
	memset(id, 0, sizeof(Id));
	id->data = data;
	id->length = length;
	parse_bigint(id);
	parse_uuid(id);
}

/* ---- the setting ---- */

/*
 * The value is a row of strings, each as its length, a colon, its bytes and a
 * comma; one that is not there is a comma alone.
 */
static void
put_string(StringInfo value, const char *string)
{
	if (string != NULL)
		appendStringInfo(value, "%zu:%s", strlen(string), string);
	appendStringInfoChar(value, ',');
}

static bool
take_string(const char **value, Id *id)
{
	char	   *end;
	long		length;

	memset(id, 0, sizeof(Id));
	if (**value == ',')
	{
		(*value)++;
		return true;
	}
	length = strtol(*value, &end, 10);
	if (*end != ':' || length < 0 || length > strlen(end + 1) || end[1 + length] != ',')
		return false;
	parse_id(id, end + 1, length);
	*value = end + 1 + length + 1;
	return true;
}

static bool
check_context(char **newval, void **extra, GucSource source)
{
	const char *value = *newval;
	Context    *parsed;
	Id			admin;

	*extra = NULL;
	if (value == NULL || value[0] == '\0')
		return true;
	if (!setting_context && !InitializingParallelWorker)
	{
		GUC_check_errcode(ERRCODE_INSUFFICIENT_PRIVILEGE);
		GUC_check_errmsg("setting \"dbpatterns.tenant_context\" cannot be set by hand");
		GUC_check_errhint("Call dbpatterns.tenant_begin or dbpatterns.tenant_set.");
		return false;
	}
	parsed = guc_malloc(LOG, sizeof(Context));
	if (parsed == NULL)
		return false;
	*extra = parsed;
	if (!take_string(&value, &parsed->tenant) || !take_string(&value, &parsed->user) ||
		!take_string(&value, &parsed->claims) || !take_string(&value, &admin))
		return false;
	parsed->admin = admin.data != NULL;
	return true;
}

static void
assign_context(const char *newval, void *extra)
{
	context = extra;
	claims = NULL;
}

/*
 * dbp_tenant_require_unset raises 25P01 outside of a transaction block, and 55000
 * when this transaction has, or had, a context.
 */
void
dbp_tenant_require_unset(const char *function)
{
	if (!IsTransactionBlock())
		ereport(ERROR,
				(errcode(ERRCODE_NO_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s can only be called in a transaction block", function),
				 errhint("A context ends with its transaction: begin one first.")));
	if (was_set)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this transaction has its tenant"),
				 errhint("Each transaction has one tenant. Begin another transaction.")));
}

/*
 * dbp_tenant_pin sets the context, until the transaction ends.  Caller: has called
 * dbp_tenant_require_unset.
 */
void
dbp_tenant_pin(const TenantClaims *said, bool admin)
{
	StringInfoData value;

	initStringInfo(&value);
	put_string(&value, said->tenant);
	put_string(&value, said->user);
	put_string(&value, said->claims);
	put_string(&value, admin ? "" : NULL);

	was_set = true;
	setting_context = true;
	PG_TRY();
	{
		(void) set_config_option("dbpatterns.tenant_context", value.data, PGC_SUSET,
								 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	}
	PG_FINALLY();
	{
		setting_context = false;
	}
	PG_END_TRY();
}

static void
on_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		was_set = false;
}

/* ---- setting it ---- */

/*
 * tenant_begin(token text) makes the tenant, the user and the claims of a token
 * those of this transaction.
 *
 * token: a JSON Web Token; see token.c.  Ends with the transaction, whatever its
 * end; a rollback to a savepoint before it ends it, too.  A second call in one
 * transaction is refused.  Raises 25P01 outside of a transaction block, 55000
 * when there is a context or used tokens cannot be remembered, 22004 for NULL,
 * 28000 for what is wrong with the token and for a tenant that is unknown or
 * suspended, 53400 when too many tokens are in use.  Takes no lock.
 */
Datum
dbpatterns_tenant_begin(PG_FUNCTION_ARGS)
{
	text	   *token;
	TenantClaims *said;

	dbp_tenant_require_unset("tenant_begin");
	dbp_require_argument(fcinfo, 0, "token", "Give a token that dbpatterns.tenant_token, or the application, made.");
	token = PG_GETARG_TEXT_PP(0);
	said = dbp_tenant_verify(VARDATA_ANY(token), VARSIZE_ANY_EXHDR(token));
	dbp_tenant_require_no_residue();
	dbp_tenant_admit(said->tenant);
	dbp_tenant_pin(said, false);
	PG_RETURN_VOID();
}

/*
 * tenant_set(tenant text, user_id text) sets them for this transaction, for login roles
 * that are trusted to name a tenant: who is granted EXECUTE.
 *
 * user_id: NULL for none.  Raises 25P01 and 55000 as tenant_begin does, 22004 for a
 * NULL tenant, 22023 for an empty one, 28000 for one that is unknown or
 * suspended.  Takes no lock.
 */
Datum
dbpatterns_tenant_set(PG_FUNCTION_ARGS)
{
	TenantClaims said = {0};

	dbp_tenant_require_unset("tenant_set");
	dbp_require_words(fcinfo, 0, "tenant", "Name the tenant.");
	said.tenant = text_to_cstring(PG_GETARG_TEXT_PP(0));
	said.user = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	dbp_tenant_require_no_residue();
	dbp_tenant_admit(said.tenant);
	dbp_tenant_pin(&said, false);
	PG_RETURN_VOID();
}

/* ---- reading it ---- */

/*
 * find_tenant returns the tenant of this transaction: of its context or, for want of
 * one, what the setting of the application says, parsed into room.
 */
static const Id *
find_tenant(Id *room)
{
	const char *value;

	if (context != NULL)
		return &context->tenant;
	room->data = NULL;
	if (dbp_tenant_setting[0] == '\0')
		return room;
	value = GetConfigOption(dbp_tenant_setting, true, false);
	if (value != NULL && value[0] != '\0')
		parse_id(room, value, strlen(value));
	return room;
}

static const Id *
find_required(Id *room)
{
	const Id   *tenant = find_tenant(room);

	if (tenant->data == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("this transaction has no tenant"),
				 errhint("Call dbpatterns.tenant_begin or dbpatterns.tenant_set first.")));
	return tenant;
}

static const Id *
find_user(Id *room)
{
	if (context != NULL)
		return &context->user;
	room->data = NULL;
	return room;
}

static Datum
id_to_text(const Id *id)
{
	return PointerGetDatum(cstring_to_text_with_len(id->data, id->length));
}

static void
refuse_type(const Id *id, const char *type)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("the context's id \"%s\" is no %s", pnstrdup(id->data, id->length), type),
			 errhint("Ids must be of the type of the columns that they are compared with.")));
}

static Datum
id_to_uuid(const Id *id)
{
	pg_uuid_t  *value = palloc(sizeof(pg_uuid_t));

	if (!id->is_uuid)
		refuse_type(id, "uuid");
	*value = id->uuid_value;
	return UUIDPGetDatum(value);
}

static Datum
id_to_bigint(const Id *id)
{
	if (!id->is_bigint)
		refuse_type(id, "bigint");
	return Int64GetDatum(id->bigint_value);
}

static Datum
id_to_int(const Id *id)
{
	if (!id->is_bigint || id->bigint_value != (int32) id->bigint_value)
		refuse_type(id, "integer");
	return Int32GetDatum((int32) id->bigint_value);
}

/*
 * The getters.  current_tenant() and its like return the tenant of this
 * transaction, NULL if there is none; require_tenant() and its like raise 42501
 * then.  current_user_id() and its like return the user, NULL if there is none.
 * All raise 22P02 for an id that is none of the type.  Take no lock.
 */
#define dbp_getter(name, find, convert) \
	PG_FUNCTION_INFO_V1(name); \
	Datum \
	name(PG_FUNCTION_ARGS) \
	{ \
		Id			room; \
		const Id   *id = find(&room); \
		\
		if (id->data == NULL) \
			PG_RETURN_NULL(); \
		return convert(id); \
	}

/* *INDENT-OFF* */
dbp_getter(dbpatterns_current_tenant, find_tenant, id_to_text)
dbp_getter(dbpatterns_current_tenant_uuid, find_tenant, id_to_uuid)
dbp_getter(dbpatterns_current_tenant_bigint, find_tenant, id_to_bigint)
dbp_getter(dbpatterns_current_tenant_int, find_tenant, id_to_int)
dbp_getter(dbpatterns_require_tenant, find_required, id_to_text)
dbp_getter(dbpatterns_require_tenant_uuid, find_required, id_to_uuid)
dbp_getter(dbpatterns_require_tenant_bigint, find_required, id_to_bigint)
dbp_getter(dbpatterns_require_tenant_int, find_required, id_to_int)
dbp_getter(dbpatterns_current_user_id, find_user, id_to_text)
dbp_getter(dbpatterns_current_user_id_uuid, find_user, id_to_uuid)
dbp_getter(dbpatterns_current_user_id_bigint, find_user, id_to_bigint)
dbp_getter(dbpatterns_current_user_id_int, find_user, id_to_int)
/* *INDENT-ON* */

/*
 * claim_text returns a value as text, NULL for null.
 */
static text *
claim_text(JsonbValue *value)
{
	Datum		number;

	switch (value->type)
	{
		case jbvNull:
			return NULL;
		case jbvString:
			return cstring_to_text_with_len(value->val.string.val, value->val.string.len);
		case jbvBool:
			return cstring_to_text(value->val.boolean ? "true" : "false");
		case jbvNumeric:
			number = DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric));
			return cstring_to_text(DatumGetCString(number));
		default:
			Assert(value->type == jbvBinary);
			return cstring_to_text(JsonbToCString(NULL, value->val.binary.data,
												  value->val.binary.len));
	}
}

/*
 * current_claim(key text) returns a claim of the token, as ->> does; NULL if
 * there is none.  Takes no lock.
 */
Datum
dbpatterns_current_claim(PG_FUNCTION_ARGS)
{
	text	   *key = PG_GETARG_TEXT_PP(0);
	text	   *result;
	JsonbValue	value;

	if (context == NULL || context->claims.data == NULL)
		PG_RETURN_NULL();
	if (claims == NULL)
	{
		MemoryContext oldcxt;
		char	   *string = pnstrdup(context->claims.data, context->claims.length);
		Datum		parsed = DirectFunctionCall1(jsonb_in, CStringGetDatum(string));

		if (claims_cxt == NULL)
			claims_cxt = AllocSetContextCreate(CacheMemoryContext, "dbpatterns tenant claims",
											   ALLOCSET_SMALL_SIZES);
		MemoryContextReset(claims_cxt);
		oldcxt = MemoryContextSwitchTo(claims_cxt);
		claims = DatumGetJsonbPCopy(parsed);
		MemoryContextSwitchTo(oldcxt);
	}
	if (getKeyJsonValueFromContainer(&claims->root, VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key),
									 &value) == NULL || (result = claim_text(&value)) == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(result);
}

/*
 * dbp_tenant_is_admin tells whether this transaction has called
 * tenant_admin_begin.
 */
bool
dbp_tenant_is_admin(void)
{
	return context != NULL && context->admin;
}

/*
 * dbp_tenant_context_init prepares this backend.
 */
void
dbp_tenant_context_init(void)
{
	DefineCustomStringVariable("dbpatterns.tenant_context",
							   "The tenant of this transaction.",
							   "Set by dbpatterns.tenant_begin and dbpatterns.tenant_set alone.",
							   &context_string, "", PGC_SUSET,
							   GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE | GUC_NO_SHOW_ALL |
							   GUC_SUPERUSER_ONLY,
							   check_context, assign_context, NULL);
	RegisterXactCallback(on_transaction, NULL);
}

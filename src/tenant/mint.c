/*-------------------------------------------------------------------------
 *
 * mint.c
 *	  Tokens made in the database.
 *
 * For who keeps the key in the database, and for tests.  An application that
 * holds the key itself makes its tokens without asking the database.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/mint.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "core/target.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "tenant/tenant.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/numeric.h"

PG_FUNCTION_INFO_V1(dbpatterns_tenant_token);

static void
put_key(JsonbParseState **state, const char *name)
{
	JsonbValue	key;

	key.type = jbvString;
	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	pushJsonbValue(state, WJB_KEY, &key);
}

static void
put_string(JsonbParseState **state, const char *name, const char *string)
{
	JsonbValue	value;

	put_key(state, name);
	value.type = jbvString;
	value.val.string.val = unconstify(char *, string);
	value.val.string.len = strlen(string);
	pushJsonbValue(state, WJB_VALUE, &value);
}

/* Seconds since 1970. */
static void
put_time(JsonbParseState **state, const char *name, TimestampTz time)
{
	int64		micros = time + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	JsonbValue	value;

	put_key(state, name);
	value.type = jbvNumeric;
	value.val.numeric = int64_div_fast_to_numeric(micros, 6);
	pushJsonbValue(state, WJB_VALUE, &value);
}

/* Claims of the caller's own come first; those of ours replace them. */
static void
put_claims(JsonbParseState **state, Jsonb *claims)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(claims))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"claims\" must be a JSON object"),
				 errhint("Give each claim a name, as in {\"role\": \"editor\"}.")));
	it = JsonbIteratorInit(&claims->root);
	token = JsonbIteratorNext(&it, &value, true);
	Assert(token == WJB_BEGIN_OBJECT);
	while ((token = JsonbIteratorNext(&it, &value, true)) == WJB_KEY || token == WJB_VALUE)
		pushJsonbValue(state, token, &value);
}

static char *
text_argument(FunctionCallInfo fcinfo, int argno)
{
	return PG_ARGISNULL(argno) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argno));
}

static char *
encode_json(const char *json)
{
	char	   *utf8 = pg_server_to_any(json, strlen(json), PG_UTF8);

	return dbp_tenant_encode((uint8 *) utf8, strlen(utf8));
}

/*
 * make_payload returns the claims of a token, a JSON object in text.
 */
static char *
make_payload(FunctionCallInfo fcinfo, const char *tenant)
{
	char	   *user = text_argument(fcinfo, 1);
	char	   *nonce = text_argument(fcinfo, 4);
	TimestampTz now = GetCurrentTimestamp();
	JsonbParseState *state = NULL;
	uint8		id[15];
	Jsonb	   *json;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (!PG_ARGISNULL(2))
		put_claims(&state, PG_GETARG_JSONB_P(2));
	put_string(&state, "tenant", tenant);
	if (user != NULL)
		put_string(&state, "sub", user);
	put_string(&state, "aud", get_database_name(MyDatabaseId));
	put_time(&state, "iat", now);
	put_time(&state, "exp",
			 DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
													 TimestampTzGetDatum(now),
													 PG_GETARG_DATUM(3))));
	if (nonce != NULL)
		put_string(&state, "nonce", nonce);
	if (!pg_strong_random(id, sizeof(id)))
		elog(ERROR, "could not make a random id");
	put_string(&state, "jti", dbp_tenant_encode(id, sizeof(id)));
	json = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	return JsonbToCString(NULL, &json->root, VARSIZE(json));
}

/*
 * tenant_token(tenant text, user_id text, claims jsonb, valid interval,
 * nonce text, kid text) returns a token for tenant_begin in this database.
 *
 * tenant: not NULL.  user_id: NULL for none.  claims: more of them, a JSON object; those
 * that a token has anyway are replaced.  valid: how long from now, up to an
 * hour.  nonce: an answer to tenant_challenge(), NULL for none.  kid: the key to sign
 * with.  Raises 22004 for a NULL tenant, valid or kid, 22023 for claims that are
 * no object, 42704 when there is no such key.  Who may call it can be any tenant:
 * nobody is granted it.  Takes no lock.
 */
Datum
dbpatterns_tenant_token(PG_FUNCTION_ARGS)
{
	const TenantKey *key;
	StringInfoData token;
	StringInfoData header;
	char	   *kid;
	uint8		mac[TENANT_MAC_SIZE];

	dbp_require_argument(fcinfo, 0, "tenant", "Name the tenant that the token is for.");
	dbp_require_argument(fcinfo, 3, "valid", "Say how long the token is valid.");
	dbp_require_argument(fcinfo, 5, "kid", "Name the key, as dbpatterns.tenant_key_create made it.");
	kid = text_argument(fcinfo, 5);
	key = dbp_tenant_key(kid);
	if (key == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no key \"%s\"", kid),
				 errhint("Make one with dbpatterns.tenant_key_create.")));

	initStringInfo(&header);
	appendStringInfoString(&header, "{\"alg\": \"HS256\", \"typ\": \"JWT\", \"kid\": ");
	escape_json(&header, kid);
	appendStringInfoChar(&header, '}');
	initStringInfo(&token);
	appendStringInfo(&token, "%s.%s", encode_json(header.data),
					 encode_json(make_payload(fcinfo, text_argument(fcinfo, 0))));
	dbp_tenant_sign(key, token.data, token.len, mac);
	appendStringInfo(&token, ".%s", dbp_tenant_encode(mac, TENANT_MAC_SIZE));
	PG_RETURN_TEXT_P(cstring_to_text(token.data));
}

/*-------------------------------------------------------------------------
 *
 * token.c
 *	  Signed tokens: JSON Web Tokens with HMAC-SHA256 (RFC 7519, RFC 7515).
 *
 * Nothing of a token is looked at before its signature was found right, but for
 * the name of the key in its header; and no message shows any part of it.
 * What is wrong with a signed token may be said: only who has the key makes one.
 *
 * A token works once: it is remembered in shared memory (used.c), or it answers
 * the challenge of one session, which is forgotten when it is answered.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/token.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "common/base64.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "compat/compat.h"
#include "core/sql.h"
#include "core/target.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "tenant/tenant.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(dbpatterns_tenant_challenge);

#define LONGEST_VALID	(INT64CONST(3600) * USECS_PER_SEC)
#define CLOCK_SKEW		(INT64CONST(60) * USECS_PER_SEC)
#define CHALLENGE_BYTES	18
#define HEADER_KEPT		256		/* characters, at most */

/* What this session's next token must answer; empty: nothing was asked. */
static char challenge[CHALLENGE_BYTES / 3 * 4 + 1];

/*
 * dbp_tenant_encode returns bytes in base64url, without padding.
 */
char *
dbp_tenant_encode(const uint8 *data, int length)
{
	int			room = pg_b64_enc_len(length) + 1;
	char	   *out = palloc(room);
	int			n = pg_b64_encode(data, length, out, room);

	if (n < 0)
		elog(ERROR, "could not encode %d bytes", length);
	while (n > 0 && out[n - 1] == '=')
		n--;
	out[n] = '\0';
	for (char *c = out; *c != '\0'; c++)
		*c = *c == '+' ? '-' : *c == '/' ? '_' : *c;
	return out;
}

/*
 * dbp_tenant_decode returns what base64url stands for, NULL if it is none.  A
 * byte 0 follows what it returns.
 */
uint8 *
dbp_tenant_decode(const char *data, int length, int *decoded)
{
	int			padded = (length + 3) / 4 * 4;
	char	   *out = palloc(padded + 1);
	uint8	   *bytes = palloc(pg_b64_dec_len(padded) + 1);

	for (int i = 0; i < padded; i++)
	{
		char		c = i < length ? data[i] : '=';

		if (i < length && (c == '+' || c == '/' || c == '='))
			return NULL;
		out[i] = c == '-' ? '+' : c == '_' ? '/' : c;
	}
	*decoded = pg_b64_decode(out, padded, bytes, pg_b64_dec_len(padded));
	if (*decoded < 0)
		return NULL;
	bytes[*decoded] = 0;
	return bytes;
}

/* The same for all that does not come from who has the key. */
static void
refuse_token(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
			 errmsg("token is not valid"),
			 errhint("It must be a JSON Web Token with alg HS256, signed with a key of this database.")));
}

static void
refuse_claim(const char *why, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
			 errmsg("token %s", why),
			 errhint("%s", hint)));
}

/*
 * parse returns a part of a token, a JSON object in base64url, and what it was
 * parsed from.
 */
static Jsonb *
parse(const char *part, int length, char **source)
{
	MemoryContext cxt = CurrentMemoryContext;
	Jsonb	   *volatile json = NULL;
	int			decoded;
	uint8	   *bytes = dbp_tenant_decode(part, length, &decoded);

	if (bytes == NULL || (int) strlen((char *) bytes) != decoded)
		refuse_token();
	PG_TRY();
	{
		*source = pg_any_to_server((char *) bytes, decoded, PG_UTF8);
		json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(*source)));
	}
	PG_CATCH();
	{
		ErrorData  *error;

		/* Its text shows the token. */
		MemoryContextSwitchTo(cxt);
		error = CopyErrorData();
		if (!dbp_error_lasts(error->sqlerrcode))
			PG_RE_THROW();
		FlushErrorState();
		FreeErrorData(error);
	}
	PG_END_TRY();
	if (json == NULL || !JB_ROOT_IS_OBJECT((Jsonb *) json))
		refuse_token();
	return (Jsonb *) json;
}

static char *
get_string(Jsonb *json, const char *name, JsonbValue *value)
{
	if (getKeyJsonValueFromContainer(&json->root, name, strlen(name), value) == NULL ||
		value->type != jbvString)
		return NULL;
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/*
 * get_claim returns a claim that is a string or, if numbers is true, a number;
 * NULL if there is none.
 */
static char *
get_claim(Jsonb *payload, const char *name, bool numbers)
{
	JsonbValue	value = {.type = jbvNull};
	char	   *string = get_string(payload, name, &value);

	if (string != NULL || value.type == jbvNull)
		return string;
	if (value.type == jbvNumeric && numbers)
		return DatumGetCString(DirectFunctionCall1(numeric_out,
												   NumericGetDatum(value.val.numeric)));
	refuse_claim(psprintf("has a claim \"%s\" of another type", name),
				 numbers ? "It must be a string or a number." : "It must be a string.");
	return NULL;
}

/*
 * get_time returns a claim that is a time, in seconds since 1970.
 */
static TimestampTz
get_time(Jsonb *payload, const char *name, TimestampTz missing)
{
	JsonbValue	value;
	float8		seconds;

	if (getKeyJsonValueFromContainer(&payload->root, name, strlen(name), &value) == NULL)
	{
		if (missing == DT_NOBEGIN)
			refuse_claim(psprintf("has no claim \"%s\"", name),
						 "It must say when it was issued (iat) and when it expires (exp).");
		return missing;
	}
	if (value.type != jbvNumeric)
		refuse_claim(psprintf("has a claim \"%s\" that is no time", name),
					 "A time is a number: seconds since 1970-01-01 00:00 UTC.");
	seconds = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
												 NumericGetDatum(value.val.numeric)));
	if (!(seconds > 0 && seconds < 1e11))
		refuse_claim(psprintf("has a claim \"%s\" that is no time", name),
					 "A time is a number: seconds since 1970-01-01 00:00 UTC.");
	return (TimestampTz) (seconds * USECS_PER_SEC) -
		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

/*
 * require_audience checks for which database a token is: aud, its name or an
 * array with its name in it.
 */
static void
require_audience(Jsonb *payload)
{
	char	   *database = get_database_name(MyDatabaseId);
	JsonbValue	name;
	JsonbValue	value;
	bool		found = false;

	name.type = jbvString;
	name.val.string.val = database;
	name.val.string.len = strlen(database);
	if (getKeyJsonValueFromContainer(&payload->root, "aud", 3, &value) != NULL)
	{
		if (value.type == jbvString)
			found = value.val.string.len == name.val.string.len &&
				memcmp(value.val.string.val, database, name.val.string.len) == 0;
		else if (value.type == jbvBinary && JsonContainerIsArray(value.val.binary.data))
			found = findJsonbValueFromContainer(value.val.binary.data, JB_FARRAY, &name) != NULL;
	}
	if (!found)
		refuse_claim("is for another database", "Its claim aud must be the name of this database.");
}

/* The time that two strings take to compare does not tell where they differ. */
static bool
same(const uint8 *a, const uint8 *b, int length)
{
	volatile uint8 difference = 0;

	for (int i = 0; i < length; i++)
		difference |= a[i] ^ b[i];
	return difference == 0;
}

/*
 * dbp_tenant_sign computes the signature of a text, TENANT_MAC_SIZE bytes.
 */
void
dbp_tenant_sign(const TenantKey *key, const char *text, int length, uint8 *mac)
{
	pg_hmac_ctx *ctx = pg_hmac_create(PG_SHA256);

	if (ctx == NULL ||
		pg_hmac_init(ctx, key->secret, key->length) < 0 ||
		pg_hmac_update(ctx, (const uint8 *) text, length) < 0 ||
		pg_hmac_final(ctx, mac, TENANT_MAC_SIZE) < 0)
	{
		pg_hmac_free(ctx);
		elog(ERROR, "could not compute a signature");
	}
	pg_hmac_free(ctx);
}

/*
 * key_id returns the name of the key that a header names, NULL if it is not one of a
 * token that we take.  Applications send the same header all the time, so the last one is
 * kept with what it says.
 */
static const char *
key_id(const char *header, int length)
{
	static char last[HEADER_KEPT];
	static int	last_length = 0;
	static char last_kid[HEADER_KEPT];
	JsonbValue	room;
	Jsonb	   *json;
	char	   *source;
	char	   *alg;
	char	   *kid;

	if (length == last_length && memcmp(header, last, length) == 0)
		return last_kid;
	json = parse(header, length, &source);
	alg = get_string(json, "alg", &room);
	kid = get_string(json, "kid", &room);
	if (alg == NULL || kid == NULL || strcmp(alg, "HS256") != 0)
		return NULL;
	if (length > 0 && length <= HEADER_KEPT && strlen(kid) < HEADER_KEPT)
	{
		strcpy(last_kid, kid);
		memcpy(last, header, length);
		last_length = length;
	}
	return kid;
}

/*
 * require_signature checks the signature of a token, and copies it to mac.  The
 * key is the one that the header names; the method is always the same, whatever
 * the header names.
 */
static void
require_signature(const char *token, const char *payload, const char *end, int length, uint8 *mac)
{
	const char *kid = key_id(token, payload - token - 1);
	const TenantKey *key = kid == NULL ? NULL : dbp_tenant_key(kid);
	int			decoded;
	uint8	   *given = dbp_tenant_decode(end + 1, length - (end + 1 - token), &decoded);

	if (key == NULL || given == NULL || decoded != TENANT_MAC_SIZE)
		refuse_token();
	dbp_tenant_sign(key, token, end - token, mac);
	if (!same(mac, given, TENANT_MAC_SIZE))
		refuse_token();
}

/*
 * use_once sees to it that a token is not taken again.
 */
static void
use_once(Jsonb *payload, const uint8 *mac, TimestampTz issued, TimestampTz expires)
{
	char	   *nonce = get_claim(payload, "nonce", false);

	if (nonce != NULL)
	{
		bool		answers = challenge[0] != '\0' &&
			strlen(nonce) == strlen(challenge) &&
			same((uint8 *) nonce, (uint8 *) challenge, strlen(challenge));

		challenge[0] = '\0';
		if (!answers)
			refuse_claim("does not answer the challenge of this session",
						 "Call dbpatterns.tenant_challenge() for each token, in the session that uses it.");
		return;
	}
	if (!dbp_tenant_used_available())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("used tokens cannot be remembered"),
				 errhint("Add dbpatterns to shared_preload_libraries, or answer dbpatterns.tenant_challenge() with the claim nonce.")));
	if (get_claim(payload, "jti", true) == NULL)
		refuse_claim("has no claim \"jti\"", "Give each token an id that is used once.");
	if (issued < dbp_tenant_used_since())
		refuse_claim("is older than the server's memory of used tokens", "Make a new one.");
	if (!dbp_tenant_use(mac, expires))
		refuse_claim("has been used", "Make a new one for each transaction.");
}

/*
 * dbp_tenant_verify returns what a token says, once.
 */
TenantClaims *
dbp_tenant_verify(const char *token, int length)
{
	const char *payload = memchr(token, '.', length);
	const char *end = payload == NULL ? NULL :
		memchr(payload + 1, '.', length - (payload + 1 - token));
	TimestampTz now = GetCurrentTimestamp();
	TenantClaims *claims = palloc0(sizeof(TenantClaims));
	uint8		mac[TENANT_MAC_SIZE];
	TimestampTz issued;
	TimestampTz expires;
	Jsonb	   *json;

	if (length > TENANT_TOKEN_MAX || end == NULL)
		refuse_token();
	payload++;
	require_signature(token, payload, end, length, mac);

	json = parse(payload, end - payload, &claims->claims);
	require_audience(json);
	issued = get_time(json, "iat", DT_NOBEGIN);
	expires = get_time(json, "exp", DT_NOBEGIN);
	if (expires <= now)
		refuse_claim("has expired", "Make a new one for each transaction.");
	if (expires > now + LONGEST_VALID)
		refuse_claim("is valid for too long", "Let it expire within an hour; half a minute is enough.");
	if (issued > now + CLOCK_SKEW || get_time(json, "nbf", issued) > now + CLOCK_SKEW)
		refuse_claim("is not valid yet", "Set the clocks of both machines.");
	claims->tenant = get_claim(json, "tenant", true);
	claims->user = get_claim(json, "sub", true);
	if (claims->tenant == NULL || claims->tenant[0] == '\0')
		refuse_claim("names no tenant", "Its claim tenant must be a string or a number.");
	use_once(json, mac, issued, expires);
	return claims;
}

/*
 * tenant_challenge() returns a random word that the next token of this session
 * must carry as its claim nonce.
 *
 * Valid for one token; a second call replaces it.  For servers that do not
 * preload the library, and where no token shall be worth anything outside of
 * its session.  Takes no lock.
 */
Datum
dbpatterns_tenant_challenge(PG_FUNCTION_ARGS)
{
	uint8		random[CHALLENGE_BYTES];

	if (!pg_strong_random(random, sizeof(random)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not make a random challenge"),
				 errhint("The server has no source of strong random numbers.")));
	strlcpy(challenge, dbp_tenant_encode(random, sizeof(random)), sizeof(challenge));
	PG_RETURN_TEXT_P(cstring_to_text(challenge));
}

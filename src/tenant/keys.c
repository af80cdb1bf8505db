/*-------------------------------------------------------------------------
 *
 * keys.c
 *	  Keys that tokens are signed with.
 *
 * A key is in the file that dbpatterns.tenant_key_file names, or in the table
 * _dbpatterns.tenant_key; the file counts first.  No role but superusers reads
 * either.  A backend keeps what it read: of the table until a statement changes
 * it, whose trigger invalidates the table in every backend; of the file until
 * it is another or has changed.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/keys.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "core/append.h"
#include "core/owner.h"
#include "core/sql.h"
#include "core/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "tenant/tenant.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(dbpatterns_tenant_key_create);
PG_FUNCTION_INFO_V1(dbpatterns_tenant_key_drop);
PG_FUNCTION_INFO_V1(dbpatterns_tenant_changed);

/* Keys of one source, in a memory context of their own. */
typedef struct KeySet
{
	MemoryContext cxt;
	List	   *keys;			/* TenantKey */
	bool		valid;
} KeySet;

static KeySet table_keys;
static KeySet file_keys;
static Oid	key_table = InvalidOid; /* that table_keys were read from */
static bool table_changed = false;	/* while it was read */

/* The file that file_keys were read from. */
static struct
{
	char		path[MAXPGPATH];
	struct stat st;
} key_file;

static void
empty(KeySet *set)
{
	set->valid = false;
	set->keys = NIL;
	if (set->cxt == NULL)
		set->cxt = AllocSetContextCreate(CacheMemoryContext, "dbpatterns tenant keys",
										 ALLOCSET_SMALL_SIZES);
	else
		MemoryContextReset(set->cxt);
}

static void
add_key(KeySet *set, const char *kid, const void *secret, int length)
{
	MemoryContext oldcxt = MemoryContextSwitchTo(set->cxt);
	TenantKey  *key = palloc(sizeof(TenantKey));

	key->kid = pstrdup(kid);
	key->length = length;
	key->secret = palloc(length);
	memcpy(key->secret, secret, length);
	set->keys = lappend(set->keys, key);
	MemoryContextSwitchTo(oldcxt);
}

static const TenantKey *
find_key(const KeySet *set, const char *kid)
{
	ListCell   *lc;

	foreach(lc, set->keys)
	{
		const TenantKey *key = lfirst(lc);

		if (strcmp(key->kid, kid) == 0)
			return key;
	}
	return NULL;
}

static void
read_table(void)
{
	DbpOwnerScope scope;
	uint64		rows;

	empty(&table_keys);
	key_table = dbp_own_relation("tenant_key");
	table_changed = false;
	SPI_connect();
	dbp_tenant_enter_ours(&scope);
	rows = dbp_sql_query_latest("SELECT kid, secret FROM _dbpatterns.tenant_key", 0, NULL);
	for (uint64 i = 0; i < rows; i++)
	{
		bytea	   *secret = DatumGetByteaPP(dbp_sql_value(i, 1, NULL));

		add_key(&table_keys, dbp_sql_text(i, 0), VARDATA_ANY(secret),
				VARSIZE_ANY_EXHDR(secret));
	}
	dbp_leave_owner(&scope);
	SPI_finish();

	/*
	 * Set last: a read that was cancelled must not count as one that found no
	 * key.
	 */
	table_keys.valid = !table_changed;
}

static void
refuse_file(const char *why, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONFIG_FILE_ERROR),
			 errmsg("key file of tenants %s", why),
			 errhint("%s", hint)));
}

/*
 * read_line takes a key from a line of the file: its name, blanks, its secret in
 * base64url.  Nothing of the line is ever shown.
 */
static void
read_line(char *line)
{
	char	   *rest;
	char	   *kid = strtok_r(line, " \t\r\n", &rest);
	char	   *secret;
	uint8	   *bytes;
	int			length = 0;

	if (kid == NULL || kid[0] == '#')
		return;
	secret = strtok_r(NULL, " \t\r\n", &rest);
	bytes = secret == NULL ? NULL : dbp_tenant_decode(secret, strlen(secret), &length);
	if (bytes == NULL || length < TENANT_SECRET_MIN || strtok_r(NULL, " \t\r\n", &rest) != NULL)
		refuse_file("has a line that is no key",
					"A line holds the name of a key and at least 32 bytes in base64url.");
	add_key(&file_keys, kid, bytes, length);
}

/*
 * read_file reads the key file again if it is not the one that was read.
 */
static void
read_file(void)
{
	struct stat st;
	char		line[1024];
	FILE	   *file;

	if (stat(dbp_tenant_key_file, &st) != 0)
		refuse_file("cannot be read", "See dbpatterns.tenant_key_file.");
	if (file_keys.valid && strcmp(key_file.path, dbp_tenant_key_file) == 0 &&
		st.st_ino == key_file.st.st_ino && st.st_size == key_file.st.st_size &&
		st.st_mtime == key_file.st.st_mtime && st.st_ctime == key_file.st.st_ctime)
		return;

	empty(&file_keys);
	if (!S_ISREG(st.st_mode) || (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		refuse_file("can be read by others",
					"It must be a file with permissions 0600 that belongs to the server's user.");
	file = AllocateFile(dbp_tenant_key_file, "r");
	if (file == NULL)
		refuse_file("cannot be read", "See dbpatterns.tenant_key_file.");
	while (fgets(line, sizeof(line), file) != NULL)
		read_line(line);
	explicit_bzero(line, sizeof(line));
	FreeFile(file);
	strlcpy(key_file.path, dbp_tenant_key_file, MAXPGPATH);
	key_file.	st = st;

	file_keys.valid = true;
}

/*
 * dbp_tenant_key returns a key by its name, or NULL.  It lasts until the next
 * call.
 */
const TenantKey *
dbp_tenant_key(const char *kid)
{
	const TenantKey *key = NULL;

	if (dbp_tenant_key_file[0] != '\0')
	{
		read_file();
		key = find_key(&file_keys, kid);
	}
	if (key == NULL)
	{
		/* The transaction may have begun before a key was dropped. */
		AcceptInvalidationMessages();
		if (!table_keys.valid)
			read_table();
		key = find_key(&table_keys, kid);
	}
	return key;
}

static void
forget_table_keys(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == key_table)
	{
		table_keys.valid = false;
		table_changed = true;
	}
}

/*
 * dbp_tenant_keys_init prepares this backend.
 */
void
dbp_tenant_keys_init(void)
{
	CacheRegisterRelcacheCallback(forget_table_keys, (Datum) 0);
}

/*
 * tenant_key_create(kid text) makes a key with a random secret of 32 bytes.
 *
 * kid: its name, which tokens carry; 1 to 64 characters, no blanks.  Raises 22004
 * for NULL, 22023 for another name, 23505 when there is one of that name.  Takes
 * ROW EXCLUSIVE on _dbpatterns.tenant_key; runs as the owner of that.
 */
Datum
dbpatterns_tenant_key_create(PG_FUNCTION_ARGS)
{
	char	   *kid = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	bytea	   *secret = palloc(VARHDRSZ + TENANT_SECRET_MIN);
	DbpOwnerScope scope;
	DbpParam	params[2];

	if (kid == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"kid\" must not be NULL"),
				 errhint("Give the key a name.")));
	if (kid[0] == '\0' || strlen(kid) > 64 || kid[0] == '#' || strpbrk(kid, " \t\r\n") != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid name of a key: \"%s\"", kid),
				 errhint("Give it 1 to 64 characters without blanks, not beginning with #.")));
	SET_VARSIZE(secret, VARHDRSZ + TENANT_SECRET_MIN);
	if (!pg_strong_random(VARDATA(secret), TENANT_SECRET_MIN))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not make a random key"),
				 errhint("The server has no source of strong random numbers.")));

	params[0] = DBP_PARAM(TEXTOID, CStringGetTextDatum(kid));
	params[1] = DBP_PARAM(BYTEAOID, PointerGetDatum(secret));
	SPI_connect();
	dbp_tenant_enter_ours(&scope);
	dbp_sql_query("INSERT INTO _dbpatterns.tenant_key (kid, secret) VALUES ($1, $2)", 2, params);
	dbp_leave_owner(&scope);
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * tenant_key_drop(kid text) deletes a key: from the commit on, what was signed with
 * it is refused.
 *
 * Raises 42704 when there is no such key in the database.  Takes ROW EXCLUSIVE
 * on _dbpatterns.tenant_key; runs as the owner of that.
 */
Datum
dbpatterns_tenant_key_drop(PG_FUNCTION_ARGS)
{
	DbpOwnerScope scope;
	DbpParam	param = DBP_PARAM_OR_NULL(TEXTOID, PG_ARGISNULL(0) ? (Datum) 0 : PG_GETARG_DATUM(0),
										  PG_ARGISNULL(0));
	uint64		rows;

	SPI_connect();
	dbp_tenant_enter_ours(&scope);
	rows = dbp_sql_query("DELETE FROM _dbpatterns.tenant_key WHERE kid = $1", 1, &param);
	dbp_leave_owner(&scope);
	SPI_finish();
	if (rows == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no key of this name"),
				 errhint("Keys in the key file are dropped by taking out their line.")));
	PG_RETURN_VOID();
}

/*
 * tenant_changed() is the trigger function that tells all backends that a table of
 * ours has changed: they read it again.
 *
 * Raises 39P01 when called otherwise.
 */
Datum
dbpatterns_tenant_changed(PG_FUNCTION_ARGS)
{
	TriggerData *data = dbp_trigger_data(fcinfo, "tenant_changed");

	CacheInvalidateRelcache(data->tg_relation);
	PG_RETURN_POINTER(NULL);
}

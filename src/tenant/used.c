/*-------------------------------------------------------------------------
 *
 * used.c
 *	  Tokens that were used.
 *
 * A token works once.  Its signature is kept in shared memory until it
 * expires, whatever becomes of the transaction that used it.  What a crash
 * makes the server forget is refused by age: no token is taken that is older
 * than this memory.
 *
 * Without preloading there is no such memory.  Then a token must answer a
 * challenge of its session (token.c).
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/used.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "tenant/tenant.h"
#include "utils/hsearch.h"

#define TRANCHE		"dbpatterns tenant tokens"

/* Half of a signature: as good as unique. */
typedef struct UsedToken
{
	uint8		mac[TENANT_MAC_SIZE / 2];	/* the key; must be first */
	TimestampTz expires;
} UsedToken;

typedef struct UsedShared
{
	LWLock	   *lock;
	TimestampTz since;			/* when this memory was new */
	TimestampTz next_expiry;	/* no token expires before; under the lock */
} UsedShared;

static UsedShared *shared = NULL;
static HTAB *tokens = NULL;
static shmem_request_hook_type previous_request = NULL;
static shmem_startup_hook_type previous_startup = NULL;

static void
request_memory(void)
{
	if (previous_request != NULL)
		previous_request();
	RequestAddinShmemSpace(add_size(MAXALIGN(sizeof(UsedShared)),
									hash_estimate_size(dbp_tenant_token_slots, sizeof(UsedToken))));
	RequestNamedLWLockTranche(TRANCHE, 1);
}

static void
attach_memory(void)
{
	HASHCTL		ctl = {0};
	bool		found;

	if (previous_startup != NULL)
		previous_startup();
	ctl.keysize = TENANT_MAC_SIZE / 2;
	ctl.entrysize = sizeof(UsedToken);
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct(TRANCHE, sizeof(UsedShared), &found);
	if (!found)
	{
		shared->lock = &(GetNamedLWLockTranche(TRANCHE))->lock;
		shared->since = GetCurrentTimestamp();
		shared->next_expiry = DT_NOEND;
	}
	tokens = ShmemInitHash("dbpatterns tenant token hash", dbp_tenant_token_slots,
						   dbp_tenant_token_slots, &ctl, HASH_ELEM | HASH_BLOBS);
	LWLockRelease(AddinShmemInitLock);
}

/*
 * dbp_tenant_used_init asks for the memory, when the library is preloaded.
 */
void
dbp_tenant_used_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	previous_request = shmem_request_hook;
	shmem_request_hook = request_memory;
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = attach_memory;
}

/*
 * dbp_tenant_used_available tells whether used tokens can be remembered.
 */
bool
dbp_tenant_used_available(void)
{
	return shared != NULL;
}

/*
 * dbp_tenant_used_since returns the time before which tokens may have been used
 * without being remembered.
 */
TimestampTz
dbp_tenant_used_since(void)
{
	return shared->since;
}

/* Caller: holds the lock. */
static void
forget_expired(TimestampTz now)
{
	HASH_SEQ_STATUS scan;
	UsedToken  *token;
	TimestampTz next = DT_NOEND;

	hash_seq_init(&scan, tokens);
	while ((token = hash_seq_search(&scan)) != NULL)
	{
		if (token->expires <= now)
			hash_search(tokens, token->mac, HASH_REMOVE, NULL);
		else
			next = Min(next, token->expires);
	}
	shared->next_expiry = next;
}

/*
 * dbp_tenant_use remembers a token by its signature, and returns false if it was
 * used before.  Raises 53400 when more tokens are in use than can be
 * remembered.
 */
bool
dbp_tenant_use(const uint8 *mac, TimestampTz expires)
{
	TimestampTz now = GetCurrentTimestamp();
	UsedToken  *token;
	bool		found;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (hash_get_num_entries(tokens) >= dbp_tenant_token_slots && shared->next_expiry <= now)
		forget_expired(now);
	(void) hash_search(tokens, mac, HASH_FIND, &found);
	token = NULL;
	if (!found && hash_get_num_entries(tokens) < dbp_tenant_token_slots)
		token = hash_search(tokens, mac, HASH_ENTER_NULL, NULL);
	if (token != NULL)
	{
		token->expires = expires;
		shared->next_expiry = Min(shared->next_expiry, expires);
	}
	LWLockRelease(shared->lock);

	if (!found && token == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many tokens that have not expired"),
				 errhint("Let tokens be valid for a shorter time, or raise dbpatterns.tenant_token_slots.")));
	return !found;
}

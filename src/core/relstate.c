/*-------------------------------------------------------------------------
 *
 * relstate.c
 *	  Per-relation state that relcache invalidation ends.
 *
 * A module builds, once per relation (and trigger), whatever its hot path
 * needs: column maps, encoders, OIDs of its own tables.  An invalidation only
 * marks the state; it is built anew when next asked for.  The hard part is
 * that the old one may be in use further up the stack (an output function can
 * run SQL that fires the same trigger), so it is not freed at once but at the
 * end of the transaction.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/relstate.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "core/relstate.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

typedef struct StateKey
{
	Oid			relid;
	Oid			variant;
} StateKey;

typedef struct StateEntry
{
	StateKey	key;			/* MUST BE FIRST */
	Oid			rootid;
	Oid			otherid;
	bool		valid;
	DbpRelState *state;
} StateEntry;

struct DbpRelStateCache
{
	const char *name;
	Size		size;
	DbpRelStateBuild build;
	MemoryContext cxt;			/* parent of all states */
	HTAB	   *entries;
	DbpRelStateCache *next;
};

static DbpRelStateCache *caches = NULL;

/* Contexts of replaced states, freed at the end of the transaction. */
static MemoryContext retired = NULL;

/* How often the callback ran, and whether it made anything stale. */
static uint64 invalidations = 0;
static bool have_stale = false;

static void
mark_stale(Datum arg, Oid relid)
{
	invalidations++;
	for (DbpRelStateCache *cache = caches; cache != NULL; cache = cache->next)
	{
		HASH_SEQ_STATUS seq;
		StateEntry *entry;

		hash_seq_init(&seq, cache->entries);
		while ((entry = hash_seq_search(&seq)) != NULL)
		{
			if (relid == InvalidOid || entry->key.relid == relid ||
				entry->rootid == relid || entry->otherid == relid)
			{
				entry->valid = false;
				have_stale = true;
			}
		}
	}
}

/* A renamed schema: states hold names, and plans of text with names. */
static void
mark_all_stale(Datum arg, int cacheid, uint32 hashvalue)
{
	mark_stale((Datum) 0, InvalidOid);
}

/*
 * drop_stale removes the entries nobody asked for again, such as those of
 * dropped tables.
 */
static void
drop_stale(DbpRelStateCache *cache)
{
	HASH_SEQ_STATUS seq;
	StateEntry *entry;

	hash_seq_init(&seq, cache->entries);
	while ((entry = hash_seq_search(&seq)) != NULL)
	{
		if (entry->valid)
			continue;
		if (entry->state != NULL)
			MemoryContextDelete(entry->state->cxt);
		hash_search(cache->entries, &entry->key, HASH_REMOVE, NULL);
	}
}

static void
free_retired(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE)
		return;

	MemoryContextDeleteChildren(retired);
	if (have_stale)
	{
		for (DbpRelStateCache *cache = caches; cache != NULL; cache = cache->next)
			drop_stale(cache);
		have_stale = false;
	}
}

/*
 * dbp_relstate_init prepares the caches of this backend.
 */
void
dbp_relstate_init(void)
{
	retired = AllocSetContextCreate(CacheMemoryContext,
									"dbpatterns retired states",
									ALLOCSET_SMALL_SIZES);
	CacheRegisterRelcacheCallback(mark_stale, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, mark_all_stale, (Datum) 0);
	RegisterXactCallback(free_retired, NULL);
}

/*
 * dbp_relstate_cache makes a cache for states of the given size.
 */
DbpRelStateCache *
dbp_relstate_cache(const char *name, Size size, DbpRelStateBuild build)
{
	DbpRelStateCache *cache;
	HASHCTL		ctl;

	cache = MemoryContextAllocZero(CacheMemoryContext, sizeof(*cache));
	cache->name = name;
	cache->size = size;
	cache->build = build;
	cache->cxt = AllocSetContextCreate(CacheMemoryContext,
									   "dbpatterns relation states",
									   ALLOCSET_SMALL_SIZES);

	ctl.keysize = sizeof(StateKey);
	ctl.entrysize = sizeof(StateEntry);
	ctl.hcxt = cache->cxt;
	cache->entries = hash_create(name, 32, &ctl,
								 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	cache->next = caches;
	caches = cache;
	return cache;
}

/*
 * dbp_relstate_get returns the state of rel and variant, building it when
 * there is none or the last one is stale.  It stays valid until the end of
 * the transaction, though not necessarily the newest.  arg goes to the build
 * function.
 */
DbpRelState *
dbp_relstate_get(DbpRelStateCache *cache, Relation rel, Oid variant, void *arg)
{
	StateKey	key = {RelationGetRelid(rel), variant};
	StateEntry *entry;
	bool		found;
	uint64		before;
	MemoryContext cxt;
	MemoryContext oldcxt;
	DbpRelState *state;

	entry = hash_search(cache->entries, &key, HASH_FIND, NULL);
	if (entry != NULL && entry->valid)
		return entry->state;

	/* A failed build leaves nothing behind: cxt is the caller's until then. */
	before = invalidations;
	cxt = AllocSetContextCreate(CurrentMemoryContext,
								"dbpatterns relation state",
								ALLOCSET_SMALL_SIZES);
	oldcxt = MemoryContextSwitchTo(cxt);
	state = palloc0(cache->size);
	state->relid = key.relid;
	state->variant = variant;
	state->rootid = key.relid;
	state->cxt = cxt;
	cache->build(state, rel, arg);
	MemoryContextSwitchTo(oldcxt);

	/*
	 * An invalidation that arrived during the build makes it stale at once.
	 * With debug_discard_caches there is one in every build, and the next one
	 * is near: that is enough there, or each row would build it anew.
	 */
	entry = hash_search(cache->entries, &key, HASH_ENTER, &found);
	if (found && entry->state != NULL)
		MemoryContextSetParent(entry->state->cxt, retired);
	MemoryContextSetParent(cxt, cache->cxt);
	entry->state = state;
	entry->rootid = state->rootid;
	entry->otherid = state->otherid;
	entry->valid = (invalidations == before || debug_discard_caches > 0);
	have_stale |= !entry->valid;
	return state;
}

/*
 * dbp_relstate_forget marks every state of a cache stale, for a module whose
 * states rest on something that was rolled back.
 */
void
dbp_relstate_forget(DbpRelStateCache *cache)
{
	HASH_SEQ_STATUS seq;
	StateEntry *entry;

	hash_seq_init(&seq, cache->entries);
	while ((entry = hash_seq_search(&seq)) != NULL)
		entry->valid = false;
	have_stale = true;
}

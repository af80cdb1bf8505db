/*-------------------------------------------------------------------------
 *
 * dropin_own.c
 *	  Rows that began their version in this transaction.
 *
 * What a transaction does to a version of its own makes no other one.  Mostly
 * xmin tells whose a version is.  It does not where updates that change nothing
 * are ignored: such an update leaves the version as it was, and its row is ours
 * by xmin all the same.  Of the next update, which does change something, xmin
 * would hide the version.
 *
 * So there the period counts, too: a version that began before every time that
 * this transaction has used is not of its making, and of those that did not, for
 * transactions do not begin in the order of their changes, those that were left
 * alone are remembered.  They are known by their beginning and content, which stay
 * as they are until the version ends.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/dropin_own.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "compat/compat.h"
#include "storage/proc.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "versioning/dropin.h"

/* A version that was left alone. */
typedef struct Kept
{
	TimestampTz began;
	uint64		content;		/* hash of the columns that the history has */
} Kept;

static LocalTransactionId current = InvalidLocalTransactionId;
static TimestampTz earliest;	/* time that this transaction has used */
static HTAB *kept = NULL;		/* beginnings of versions left alone since
								 * then */

static void
note_time(const DropinFiring *firing)
{
	TimestampTz now = dbp_dropin_now(firing);

	if (current != dbp_my_lxid())
	{
		current = dbp_my_lxid();
		earliest = now;
		kept = NULL;
	}
	earliest = Min(earliest, now);
}

static Kept
make_key(const DropinFiring *firing, TimestampTz began)
{
	DropinHistory *history = dbp_dropin_history(firing->rel, firing->data->tg_trigger,
												firing->table);
	TupleDesc	desc = RelationGetDescr(firing->rel);
	Kept		key = {began, 0};

	for (int i = 0; i < history->ncolumns; i++)
	{
		bool		isnull;
		Datum		value;
		Form_pg_attribute att = TupleDescAttr(desc, history->from[i] - 1);

		if (!history->watched[i])
			continue;
		value = heap_getattr(firing->old, history->from[i], desc, &isnull);
		key.content = key.content * 31 +
			(isnull ? 1 : datum_image_hash(value, att->attbyval, att->attlen));
	}
	return key;
}

static bool
was_left_alone(const DropinFiring *firing, TimestampTz began)
{
	Kept		key;

	if (kept == NULL)
		return false;
	key = make_key(firing, began);
	return hash_search(kept, &key, HASH_FIND, NULL) != NULL;
}

/*
 * dbp_dropin_is_own tells whether this transaction began the version that the
 * old row is.
 */
bool
dbp_dropin_is_own(const DropinFiring *firing)
{
	RangeBound	lower;
	TimestampTz began;
	bool		isnull;

	if (firing->table->ignore_unchanged)
		note_time(firing);
	if (!TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(firing->old->t_data)))
		return false;
	if (!firing->table->ignore_unchanged ||
		!dbp_dropin_read_period(firing, firing->old, &lower, &isnull))
		return true;
	if (lower.infinite)
		return false;
	began = DatumGetTimestampTz(lower.val);
	return began >= earliest && !was_left_alone(firing, began);
}

/*
 * dbp_dropin_leave_alone remembers the old row, a version of another transaction with
 * that beginning, which an update leaves as it is.
 */
void
dbp_dropin_leave_alone(const DropinFiring *firing, const RangeBound *lower)
{
	TimestampTz began = DatumGetTimestampTz(lower->val);
	Kept		key;

	if (lower->infinite || began < earliest)
		return;
	if (kept == NULL)
	{
		HASHCTL		ctl;

		ctl.keysize = sizeof(Kept);
		ctl.entrysize = sizeof(Kept);
		ctl.hcxt = TopTransactionContext;
		kept = hash_create("dbpatterns versions left alone", 64, &ctl,
						   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	key = make_key(firing, began);
	(void) hash_search(kept, &key, HASH_ENTER, NULL);
}

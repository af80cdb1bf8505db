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
 * transactions do not begin in the order of their changes, the beginnings of such
 * as were left alone are remembered.
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
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "versioning/dropin.h"

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
	return began >= earliest &&
		(kept == NULL || hash_search(kept, &began, HASH_FIND, NULL) == NULL);
}

/*
 * dbp_dropin_leave_alone remembers a version of another transaction, with that
 * beginning, that an update leaves as it is.
 */
void
dbp_dropin_leave_alone(const RangeBound *lower)
{
	TimestampTz began = DatumGetTimestampTz(lower->val);

	if (lower->infinite || began < earliest)
		return;
	if (kept == NULL)
	{
		HASHCTL		ctl;

		ctl.keysize = sizeof(TimestampTz);
		ctl.entrysize = sizeof(TimestampTz);
		ctl.hcxt = TopTransactionContext;
		kept = hash_create("dbpatterns versions left alone", 64, &ctl,
						   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	(void) hash_search(kept, &began, HASH_ENTER, NULL);
}

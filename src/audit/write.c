/*-------------------------------------------------------------------------
 *
 * write.c
 *	  From waiting entries to rows of the log.
 *
 * Entries get their numbers here, from a sequence that counts in batches, and
 * who made them is written: with the entry that is alone with its facts, in a
 * row of its own before several that share them.
 *
 * The hard part is the order of changes that were captured inside of another
 * command.  What ran in an AFTER trigger came after what the command around it,
 * numbered lower, did.  What ran in a BEFORE trigger, or in a function, came
 * before what that command did next, and has the higher number, too.  It can
 * concern the same row in one way only: it took the key away under which the
 * command around it then made a row.  Anything else the server refuses.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/write.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "audit/audit.h"
#include "commands/sequence.h"
#include "core/append.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* The rows of one writing. */
typedef struct Writing
{
	AuditEntry **rows;
	int			nrows;
	int64		next_id;
	int			numbers_left;
} Writing;

static DbpAppendTarget *target = NULL;
static DbpAppendTarget *sequence = NULL;

static void
fill_row(TupleTableSlot *slot, int row, void *arg)
{
	AuditEntry *entry = ((Writing *) arg)->rows[row];
	Datum	   *values = slot->tts_values;
	bool	   *isnull = slot->tts_isnull;

	memset(isnull, 0, AUDIT_WHO_FIRST * sizeof(bool));
	values[0] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	values[1] = Int64GetDatum(entry->id);
	values[2] = Int64GetDatum(dbp_audit_txn_current());
	values[3] = TimestampTzGetDatum(entry->statement_time);
	isnull[3] = (entry->statement_time == GetCurrentTransactionStartTimestamp());
	values[4] = Int64GetDatum((int64) entry->row_key);
	isnull[4] = !entry->has_key;
	values[5] = Int64GetDatum((int64) entry->old_row_key);
	isnull[5] = !entry->key_changed;
	values[6] = Int32GetDatum(entry->shape);
	values[7] = CharGetDatum(entry->op);
	values[8] = PointerGetDatum(entry->old);
	isnull[8] = (entry->old == NULL);
	values[9] = PointerGetDatum(entry->new);
	isnull[9] = (entry->new == NULL);
	if (entry->says_who)
		dbp_audit_txn_fill(entry->facts, values + AUDIT_WHO_FIRST, isnull + AUDIT_WHO_FIRST);
	else
		memset(isnull + AUDIT_WHO_FIRST, true, AUDIT_WHO_COLUMNS * sizeof(bool));
}

static int
compare_entries(const void *a, const void *b)
{
	const AuditEntry *ea = a;
	const AuditEntry *eb = b;

	if (ea->command != eb->command)
		return ea->command < eb->command ? -1 : 1;
	return ea->position - eb->position;
}

/*
 * makes_key tells whether an entry is of a row that began to have its key.
 */
static bool
makes_key(const AuditEntry *entry)
{
	return entry->has_key &&
		(entry->op == AUDIT_INSERT || (entry->op == AUDIT_UPDATE && entry->key_changed));
}

static bool
has_key(const AuditEntry *entry, uint64 key)
{
	return entry->has_key && entry->op != AUDIT_TRUNCATE && entry->op != AUDIT_MARKER &&
		(entry->row_key == key || (entry->key_changed && entry->old_row_key == key));
}

/*
 * sort_entries puts entries in the order of the changes.
 */
static void
sort_entries(AuditEntry *entries, int nentries)
{
	qsort(entries, nentries, sizeof(AuditEntry), compare_entries);
	for (int i = nentries - 2; i >= 0; i--)
	{
		AuditEntry	maker = entries[i];
		int			last = i;

		if (!makes_key(&maker))
			continue;

		/* What was captured first and did not change this row came first. */
		for (int j = i + 1; j < nentries && entries[j].command < maker.changed_by; j++)
		{
			if (entries[j].position < maker.position && has_key(&entries[j], maker.row_key))
				last = j;
		}
		memmove(&entries[i], &entries[i + 1], (last - i) * sizeof(AuditEntry));
		entries[last] = maker;
	}
}

static int64
next_number(Writing *writing)
{
	if (writing->numbers_left == 0)
	{
		/*
		 * Our transaction id must be known before the number is drawn: see
		 * seal.c.
		 */
		(void) GetTopFullTransactionId();
		writing->next_id = nextval_internal(dbp_append_relid(sequence), false);
		writing->numbers_left = AUDIT_BATCH_ROWS;
		dbp_audit_txn_begin(writing->next_id);
	}
	writing->numbers_left--;
	return writing->next_id++;
}

/*
 * add_who adds a row that says who made the entries from here on.
 */
static void
add_who(Writing *writing, AuditFacts *facts)
{
	AuditEntry *who = palloc0(sizeof(AuditEntry));

	who->id = next_number(writing);
	who->op = AUDIT_WHO;
	who->statement_time = GetCurrentTransactionStartTimestamp();
	who->has_key = true;
	who->row_key = AUDIT_WHO_KEY(dbp_audit_txn_current());
	who->facts = facts;
	who->says_who = true;
	writing->rows[writing->nrows++] = who;
	dbp_audit_txn_set_in_force(facts);
}

/*
 * log_exists tells whether the log an entry belongs to is still there, or has
 * been dropped with the extension; in one that was made anew since, tables and
 * shapes have other numbers.
 */
static bool
log_exists(const AuditEntry *entry, Oid *log)
{
	if (entry->log == *log)
		return true;
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(entry->log)))
		return false;
	*log = entry->log;
	return true;
}

/*
 * number_entries makes the rows to be written.  An entry that is alone with
 * its facts has them with it: most transactions change one row.
 */
static void
number_entries(AuditEntry *entries, int nentries, Writing *writing)
{
	Oid			log = InvalidOid;

	writing->rows = palloc(sizeof(AuditEntry *) * nentries * 2);
	for (int i = 0; i < nentries; i++)
	{
		AuditEntry *entry = &entries[i];
		bool		alone = (i + 1 == nentries ||
							 !dbp_audit_txn_same_facts(entry->facts, entry[1].facts));

		if (!log_exists(entry, &log))
			continue;
		entry->says_who = false;
		if (!dbp_audit_txn_in_force(entry->facts))
		{
			entry->says_who = alone;
			if (!alone)
				add_who(writing, entry->facts);
		}
		entry->id = next_number(writing);
		writing->rows[writing->nrows++] = entry;
	}
}

/*
 * dbp_audit_write_log returns the OID of the log.
 */
Oid
dbp_audit_write_log(void)
{
	return dbp_append_relid(target);
}

/*
 * dbp_audit_write writes entries to the log, at the current nesting level.
 * unordered: they have to be put in the order of commands first.  Changes may
 * be followed by SET TRANSACTION READ ONLY, which does not concern them.
 */
void
dbp_audit_write(AuditEntry *entries, int nentries, bool unordered)
{
	Writing		writing = {0};
	bool		pushed = false;
	bool		read_only = XactReadOnly;

	/* There is none at commit, nor in a procedure that has just committed. */
	if (!ActiveSnapshotSet())
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		pushed = true;
	}
	if (unordered)
		sort_entries(entries, nentries);

	/* An error ends the transaction or savepoint, and with it this setting. */
	XactReadOnly = false;
	number_entries(entries, nentries, &writing);
	if (writing.nrows > 0)
		dbp_append(target, GetCurrentTransactionStartTimestamp(), writing.nrows,
				   fill_row, &writing);
	XactReadOnly = read_only;
	if (pushed)
		PopActiveSnapshot();

	for (int i = 0; i < writing.nrows; i++)
	{
		if (writing.rows[i]->op == AUDIT_WHO)
			pfree(writing.rows[i]);
	}
	pfree(writing.rows);
}

/*
 * dbp_audit_write_init prepares this backend.
 */
void
dbp_audit_write_init(void)
{
	target = dbp_append_target("audit_log");
	sequence = dbp_append_target("audit_id");
}

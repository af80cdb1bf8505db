/*-------------------------------------------------------------------------
 *
 * replay.h
 *	  States of the past: what slots.c and replay.c share.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/replay.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_AUDIT_REPLAY_H
#define DBP_AUDIT_REPLAY_H

#include "audit/audit.h"
#include "utils/hsearch.h"
#include "utils/rel.h"

/* What is known of a key while entries are undone. */
typedef struct AuditSlot
{
	struct AuditSlot *next;		/* another key with the same hash */
	Jsonb	   *key;			/* under today's names */
	bool		done;			/* at the wanted time */
	bool		gone;			/* the present row was not there */
	bool		seen;			/* the present row has been read */
	TimestampTz unknown;		/* truncated then, unlogged; 0: no */
	Jsonb	   *overlay;		/* older values of the present row */
	List	   *rows;			/* images of rows that came back */
} AuditSlot;

typedef struct AuditSlotEntry
{
	uint64		hash;			/* hash key */
	AuditSlot  *first;
} AuditSlotEntry;

typedef struct AuditReplay
{
	AuditTrail *trail;
	Relation	root;
	TimestampTz at;
	bool	   *shown;			/* columns, by lasting number */
	AuditKeyDef *keydef;		/* today's */
	AuditProbe *probes;			/* one row, */
	AuditSlot  *only;			/* in this slot; or */
	HTAB	   *slots;			/* all rows */
	MemoryContext cxt;			/* owns slots and what they hold */

	/* for rows of the table */
	DbpCodec   *codec;
	bool	   *pick;			/* by attribute */
	Datum	   *values;
	bool	   *isnull;
} AuditReplay;

extern Jsonb *dbp_audit_overlay(Jsonb *base, Jsonb *top);
extern Jsonb *dbp_audit_replay_keep(AuditReplay *replay, Jsonb *image);
extern AuditSlot *dbp_audit_find_slot(AuditReplay *replay, Jsonb *key, uint64 hash, bool create);
extern bool dbp_audit_undo_entry(AuditRecord *record, void *arg);

#endif							/* DBP_AUDIT_REPLAY_H */

/*-------------------------------------------------------------------------
 *
 * append.h
 *	  Appending rows to tables of ours.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/append.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_APPEND_H
#define DBP_APPEND_H

#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "utils/rel.h"

typedef struct DbpAppendTarget DbpAppendTarget;

/* Fills slot->tts_values and slot->tts_isnull with row number row. */
typedef void (*DbpAppendRow) (TupleTableSlot *slot, int row, void *arg);

extern DbpAppendTarget *dbp_append_target(const char *table);
extern DbpAppendTarget *dbp_append_relation(Oid relid);
extern Oid	dbp_append_relid(DbpAppendTarget *target);
extern void dbp_append(DbpAppendTarget *target, TimestampTz partition_time,
					   int nrows, DbpAppendRow fill, void *arg);
extern void dbp_append_by_insert(Oid relid, int nrows, DbpAppendRow fill, void *arg);
extern bool dbp_append_is_plain(Relation rel);
extern Oid	dbp_own_relation(const char *name);
extern void dbp_append_init(void);

#endif							/* DBP_APPEND_H */

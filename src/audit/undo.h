/*-------------------------------------------------------------------------
 *
 * undo.h
 *	  Undoing a transaction: what undo.c and restore.c share.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/undo.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_AUDIT_UNDO_H
#define DBP_AUDIT_UNDO_H

#include "audit/audit.h"

/* A statement kept for entries that need the same one. */
typedef struct UndoPlan
{
	char	   *sql;			/* NULL: none yet */
	SPIPlanPtr	plan;
} UndoPlan;

/* A table whose changes are undone. */
typedef struct UndoTable
{
	Oid			relid;
	Relation	rel;			/* NULL: gone */
	char	   *name;			/* for statements, with ONLY */
	AuditTrail *trail;
	DbpCodec   *codec;			/* of today's layout */
	UndoPlan	find;
	UndoPlan	change;
} UndoTable;

/* restore.c */
extern char *dbp_audit_undo_insert(UndoTable *table, AuditRecord *record, char **sql);
extern char *dbp_audit_undo_update(UndoTable *table, AuditRecord *record, char **sql);
extern char *dbp_audit_undo_delete(UndoTable *table, AuditRecord *record, char **sql);

#endif							/* DBP_AUDIT_UNDO_H */

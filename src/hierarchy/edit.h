/*-------------------------------------------------------------------------
 *
 * edit.h
 *	  Editing a hierarchy by its nodes: what edit*.c share.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/edit.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_HIERARCHY_EDIT_H
#define DBP_HIERARCHY_EDIT_H

#include "hierarchy/rows.h"

/* How siblings are ordered. */
typedef enum EditOrder
{
	EDIT_UNORDERED,				/* by nothing that we could set */
	EDIT_INTEGER,
	EDIT_FLOAT,
	EDIT_NUMERIC
} EditOrder;

typedef struct Edit
{
	HierTable	table;
	HierSpec   *spec;
	Oid			storageid;
	Oid			owner;			/* of the table, and of its closure table */
	char	   *storage;		/* for statements */
	EditOrder	order;
	Oid			order_type;		/* base type */
	int32		order_typmod;
} Edit;

/* edit.c */
extern void dbp_edit_open(FunctionCallInfo fcinfo, Edit *edit, int closure_argno);
extern void dbp_edit_close(Edit *edit);
extern Datum *dbp_edit_key_argument(FunctionCallInfo fcinfo, int argno, Edit *edit,
									const char *argument, const Datum *scope);
extern Datum *dbp_edit_node_argument(FunctionCallInfo fcinfo, int argno, Edit *edit,
									 Datum **parent, bool lock);
extern Datum *dbp_edit_parent_argument(FunctionCallInfo fcinfo, int argno, Edit *edit,
									   const Datum *node);
extern void dbp_edit_require_same_scope(Edit *edit, const Datum *node, const Datum *parent);
extern void dbp_edit_raise_unknown(Edit *edit, const char *argument, const Datum *key);
extern void dbp_edit_refuse_hidden(Edit *edit, uint64 done, uint64 wanted);
extern uint64 dbp_edit_attach(Edit *edit, List *nodes, const Datum *parent,
							  const Datum *places);
extern int	dbp_edit_params(Edit *edit, DbpParam *params, const Datum *key);
extern char *dbp_edit_condition(Edit *edit, HierColumns columns, int from, int first_param);

/* edit_subtree.c */
extern HierRows *dbp_edit_subtree(Edit *edit, const Datum *node, int min_depth, int max_depth);

/* edit_order.c */
extern void dbp_edit_lock_siblings(Edit *edit, const Datum *scope, const Datum *parent);
extern char *dbp_edit_siblings(Edit *edit, const Datum *parent);
extern Datum *dbp_edit_places(Edit *edit, List *nodes, int n, const Datum *scope,
							  const Datum *parent, const Datum *before);

#endif							/* DBP_HIERARCHY_EDIT_H */

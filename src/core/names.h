/*-------------------------------------------------------------------------
 *
 * names.h
 *	  Names and quoting.
 *
 * SQL text is built from these and from nothing else.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/names.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_NAMES_H
#define DBP_NAMES_H

#include "utils/array.h"
#include "utils/rel.h"

extern char *dbp_relation_name(Relation rel);
extern char *dbp_relation_name_by_oid(Oid relid);
extern char *dbp_equality_operator(Oid type);
extern AttrNumber dbp_column_number(Relation rel, const char *column);
extern List *dbp_column_list(ArrayType *names, const char *argument);
extern bool dbp_list_has_name(List *names, const char *name);

#endif							/* DBP_NAMES_H */

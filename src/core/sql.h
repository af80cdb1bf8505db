/*-------------------------------------------------------------------------
 *
 * sql.h
 *	  Running SQL text from C.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/sql.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_SQL_H
#define DBP_SQL_H

#include "executor/spi.h"
#include "nodes/pg_list.h"
#include "utils/snapshot.h"

/* One parameter of a query: a value with its type, or NULL. */
typedef struct DbpParam
{
	Oid			type;
	Datum		value;
	bool		isnull;
} DbpParam;

#define DBP_PARAM(type_, value_)	((DbpParam) {(type_), (value_), false})
#define DBP_PARAM_OR_NULL(type_, value_, isnull_) \
	((DbpParam) {(type_), (value_), (isnull_)})

extern DbpParam dbp_texts_param(List *strings);
extern DbpParam dbp_oids_param(List *oids);
extern void dbp_sql_command(const char *format,...) pg_attribute_printf(1, 2);
extern void dbp_sql_silently(bool *silent, const char *format,...) pg_attribute_printf(2, 3);
extern uint64 dbp_sql_query(const char *sql, int nparams, const DbpParam *params);
extern uint64 dbp_sql_query_kept(const char *sql, SPIPlanPtr *plan);
extern uint64 dbp_sql_query_latest(const char *sql, int nparams,
								   const DbpParam *params);
extern SPIPlanPtr dbp_sql_prepare(const char *sql, int nparams, const Oid *types,
								  int options);
extern Datum dbp_sql_value(uint64 row, int column, bool *isnull);
extern char *dbp_sql_text(uint64 row, int column);

/* Work that may fail. */
typedef void (*DbpWork) (void *arg);

extern ErrorData *dbp_attempt(DbpWork work, void *arg, bool keep);
extern bool dbp_error_lasts(int sqlerrcode);

#endif							/* DBP_SQL_H */

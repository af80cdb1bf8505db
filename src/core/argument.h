/*-------------------------------------------------------------------------
 *
 * argument.h
 *	  Options in the argument of a trigger.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/argument.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_ARGUMENT_H
#define DBP_ARGUMENT_H

#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

/* An argument, and what is said when it is refused. */
typedef struct DbpArgument
{
	const char *text;
	const char *pattern;		/* whose trigger it is */
	const char *hint;
} DbpArgument;

/* Sets one option; false if it is not known or has a wrong value. */
typedef bool (*DbpOption) (const DbpArgument *argument, const char *name, JsonbValue *value,
						   void *options);

extern void dbp_argument_refuse(const DbpArgument *argument,
								const char *why);
extern void dbp_argument_read(const DbpArgument *argument, DbpOption set, void *options);
extern List *dbp_argument_names(const DbpArgument *argument, JsonbValue *value);
extern void dbp_argument_print_names(StringInfo out, const char *option, List *names);

#endif							/* DBP_ARGUMENT_H */

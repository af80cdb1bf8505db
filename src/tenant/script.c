/*-------------------------------------------------------------------------
 *
 * script.c
 *	  Commands that are shown, or carried out.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/script.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/sql.h"
#include "lib/stringinfo.h"
#include "tenant/tenant.h"

/*
 * dbp_tenant_add adds a command to a script.
 */
void
dbp_tenant_add(TenantScript *script, const char *format,...)
{
	MemoryContext oldcxt = MemoryContextSwitchTo(script->cxt);
	StringInfoData command;

	initStringInfo(&command);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&command, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&command, needed);
	}
	script->commands = lappend(script->commands, command.data);
	MemoryContextSwitchTo(oldcxt);
}

/*
 * dbp_tenant_carry_out runs the commands that were added since the last call, with
 * the caller's rights, unless it is a dry run.  Caller: SPI connected, search_path
 * pinned, and none of the tables open, for the server alters none that is.
 */
void
dbp_tenant_carry_out(TenantScript *script)
{
	while (script->ndone < list_length(script->commands))
	{
		char	   *command = list_nth(script->commands, script->ndone++);

		if (!script->dry_run)
			dbp_sql_command("%s", command);
	}
}

/*-------------------------------------------------------------------------
 *
 * probe.c
 *	  Keys as callers give them: which log entries speak of that row.
 *
 * A key is a JSON object by column name.  It is tried under every key the
 * table has or has had: names of today or of then, values read by the types
 * of then.  What fits is hashed as the row trigger hashed it, and that hash
 * finds the entries by an index; each entry found is then compared with the
 * key itself, since two keys may share a hash.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/probe.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "audit/audit.h"
#include "catalog/pg_type.h"
#include "core/names.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

/*
 * fits tells whether a key object has exactly the given names.
 */
static bool
fits(Jsonb *key, char **names, int n)
{
	JsonbValue	unused;

	if (JB_ROOT_COUNT(key) != n)
		return false;
	for (int i = 0; i < n; i++)
	{
		if (!dbp_audit_image_value(key, names[i], &unused))
			return false;
	}
	return true;
}

/*
 * rename_key returns the key object under the names the codec knows.
 */
static Jsonb *
rename_key(Jsonb *key, char **given, AuditKeyDef *def)
{
	JsonbParseState *state = NULL;
	JsonbValue	value;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < def->n; i++)
	{
		(void) dbp_audit_image_value(key, given[i], &value);
		dbp_audit_push_member(&state, def->names[i], &value);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* What fill_probe works on. */
typedef struct Filling
{
	AuditTrail *trail;
	Oid			owner;
	AuditKeyDef *def;
	Jsonb	   *key;
	AuditProbe *probe;
} Filling;

/*
 * fill_probe reads a key's values by their types, which gives them the form
 * they have in the log.
 */
static void
fill_probe(void *arg)
{
	Filling    *filling = arg;
	AuditKeyDef *def = filling->def;
	AuditProbe *probe = filling->probe;
	int		   *attnos = palloc(sizeof(int) * def->n);
	bool	   *present = palloc(sizeof(bool) * def->n);
	Jsonb	   *image;

	dbp_codec_decode(def->codec, filling->owner, filling->key, probe->values, probe->isnull,
					 present);
	for (int i = 0; i < def->n; i++)
	{
		attnos[i] = i;
		if (!present[i])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("value of key column \"%s\" is not a value", def->names[i]),
					 errhint("Redacted and omitted values cannot be searched for.")));
	}
	probe->hash = dbp_codec_hash(def->codec, probe->values, probe->isnull, attnos,
								 def->n, (uint64) filling->trail->relation);
	image = dbp_codec_encode(def->codec, probe->values, probe->isnull, NULL);
	for (int i = 0; i < def->n; i++)
		(void) dbp_audit_image_value(image, def->names[i], &probe->json[i]);
	probe->valid = true;
}

static char *
quoted_names(AuditKeyDef *def)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < def->n; i++)
		appendStringInfo(&text, "%s\"%s\"", i > 0 ? ", " : "", def->today[i]);
	return text.data;
}

static void
no_key_fits(AuditTrail *trail, Relation root)
{
	if (trail->nkeydefs == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the rows of table %s have no key in the audit log",
						dbp_relation_name(root)),
				 errhint("Add a primary key, or name columns in argument \"key\" of dbpatterns.audit_enable; until then use dbpatterns.audit_changes without a key.")));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("argument \"key\" does not have the key columns of table %s",
					dbp_relation_name(root)),
			 errhint("Give a JSON object with these names: %s.",
					 quoted_names(&trail->keydefs[trail->nkeydefs - 1]))));
}

/*
 * dbp_audit_probes reads a key under every key definition of the table; the
 * result has one probe for each.  Raises 55000 when the table never had a
 * key, 22023 when none has these names, and what the types raise when the
 * values fit none.
 */
AuditProbe *
dbp_audit_probes(AuditTrail *trail, Relation root, Jsonb *key)
{
	AuditProbe *probes = palloc0(sizeof(AuditProbe) * Max(trail->nkeydefs, 1));
	ErrorData  *error = NULL;
	Filling		filling = {trail, root->rd_rel->relowner};
	bool		any_fits = false;
	bool		any_valid = false;

	for (int i = trail->nkeydefs - 1; i >= 0 && JB_ROOT_IS_OBJECT(key); i--)
	{
		AuditKeyDef *def = &trail->keydefs[i];
		char	  **given = fits(key, def->today, def->n) ? def->today :
			fits(key, def->names, def->n) ? def->names : NULL;
		ErrorData  *failed = NULL;

		if (given == NULL || def->codec == NULL)
			continue;
		any_fits = true;
		probes[i].values = palloc(sizeof(Datum) * def->n);
		probes[i].isnull = palloc(sizeof(bool) * def->n);
		probes[i].json = palloc(sizeof(JsonbValue) * def->n);
		filling.def = def;
		filling.key = rename_key(key, given, def);
		filling.probe = &probes[i];

		/* Values may suit the types of one key and not those of another. */
		if (trail->nkeydefs == 1)
			fill_probe(&filling);
		else
			failed = dbp_attempt(fill_probe, &filling, true);
		if (failed != NULL && !dbp_error_lasts(failed->sqlerrcode))
			ReThrowError(failed);
		any_valid |= probes[i].valid;
		if (error == NULL)
			error = failed;
	}
	if (!any_fits)
		no_key_fits(trail, root);
	if (!any_valid)
		ReThrowError(error);
	return probes;
}

/*
 * dbp_audit_same_value tells whether two values of images are the same.
 */
bool
dbp_audit_same_value(JsonbValue *a, JsonbValue *b)
{
	if (a->type != b->type)
		return false;
	switch (a->type)
	{
		case jbvNull:
			return true;
		case jbvString:
			return a->val.string.len == b->val.string.len &&
				memcmp(a->val.string.val, b->val.string.val, a->val.string.len) == 0;
		case jbvNumeric:
			return DatumGetBool(DirectFunctionCall2(numeric_eq,
													NumericGetDatum(a->val.numeric),
													NumericGetDatum(b->val.numeric)));
		case jbvBool:
			return a->val.boolean == b->val.boolean;
		case jbvBinary:
			return compareJsonbContainers(a->val.binary.data, b->val.binary.data) == 0;
		default:
			return false;
	}
}

/*
 * dbp_audit_record_is_of tells whether an entry speaks of the row of the probes:
 * as the row was after the change (new_side) or before it.  Entries of the
 * whole table speak of no row.
 */
bool
dbp_audit_record_is_of(AuditTrail *trail, AuditRecord *record, AuditProbe *probes,
					   bool new_side)
{
	AuditShape *shape = record->shape;
	AuditProbe *probe;
	Jsonb	   *image;

	if (record->op == AUDIT_TRUNCATE || record->op == AUDIT_MARKER || shape->keydef < 0)
		return false;
	probe = &probes[shape->keydef];
	if (!probe->valid ||
		probe->hash != ((new_side || !record->key_changed) ? record->row_key : record->old_row_key))
		return false;

	/* Unless the key changed, a difference has it in the new image only. */
	image = (record->new != NULL && (new_side || !record->key_changed)) ? record->new : record->old;
	if (image == NULL)
		return true;			/* erased: the hash is all there is */
	for (int i = 0; i < shape->nkeys; i++)
	{
		char	   *name = shape->columns[shape->keys[i]];
		JsonbValue	value;

		if (!dbp_audit_image_value(image, name, &value) ||
			!dbp_audit_same_value(&value, &probe->json[i]))
			return false;
	}
	return true;
}

/*-------------------------------------------------------------------------
 *
 * names.c
 *	  Names and quoting.
 *
 * Everything that turns an object into SQL text, or a column name a user gave
 * into a column, does it here, so that each error is worded once.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/names.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/names.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

/*
 * dbp_relation_name returns the quoted, schema-qualified name of a relation.
 */
char *
dbp_relation_name(Relation rel)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
									  RelationGetRelationName(rel));
}

/*
 * dbp_relation_name_by_oid does the same for a relation that is not open.
 * The caller holds a lock, or can live with an error for a dropped one.
 */
char *
dbp_relation_name_by_oid(Oid relid)
{
	char	   *name = get_rel_name(relid);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid),
				 errhint("It may have been dropped by another session; try again.")));
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
									  name);
}

/*
 * dbp_equality_operator returns the operator by which values of a type are equal, in the form
 * that needs no search_path.
 */
char *
dbp_equality_operator(Oid type)
{
	TypeCacheEntry *cache = lookup_type_cache(getBaseType(type), TYPECACHE_EQ_OPR);
	char	   *name = OidIsValid(cache->eq_opr) ? get_opname(cache->eq_opr) : NULL;
	Oid			nsp;

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("values of type %s cannot be compared", format_type_be(type)),
				 errhint("Use a type with an equality operator in the key.")));
	nsp = get_func_namespace(get_opcode(cache->eq_opr));
	return psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(nsp)), name);
}

/*
 * dbp_column_number returns the attribute number of a user column, or raises
 * 42703.
 */
AttrNumber
dbp_column_number(Relation rel, const char *column)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && namestrcmp(&att->attname, column) == 0)
			return att->attnum;
	}

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of table %s does not exist",
					column, dbp_relation_name(rel)),
			 errhint("Column names are case-sensitive here and are given without quotes.")));
	return InvalidAttrNumber;	/* keep the compiler quiet */
}

/*
 * dbp_column_list turns a name[] argument into a list of C strings; NULL and
 * '{}' give NIL.  argument is the parameter's name, for error messages.
 */
List *
dbp_column_list(ArrayType *names, const char *argument)
{
	List	   *result = NIL;
	Datum	   *values;
	bool	   *isnull;
	int			count;

	if (names == NULL)
		return NIL;

	deconstruct_array(names, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR,
					  &values, &isnull, &count);
	for (int i = 0; i < count; i++)
	{
		char	   *name;

		if (isnull[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not contain NULL", argument),
					 errhint("Give column names only.")));
		name = pstrdup(NameStr(*DatumGetName(values[i])));
		if (dbp_list_has_name(result, name))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("argument \"%s\" names column \"%s\" twice",
							argument, name),
					 errhint("Name each column once.")));
		result = lappend(result, name);
	}
	return result;
}

/*
 * dbp_list_has_name tells whether a list of C strings contains name.
 */
bool
dbp_list_has_name(List *names, const char *name)
{
	ListCell   *lc;

	foreach(lc, names)
	{
		if (strcmp((char *) lfirst(lc), name) == 0)
			return true;
	}
	return false;
}

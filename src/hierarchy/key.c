/*-------------------------------------------------------------------------
 *
 * key.c
 *	  Keys of nodes: comparing, hashing, copying and printing them.
 *
 * A key is an array of values, one for each of its columns, none of them NULL.
 * Two keys are the same if the default btree class of each column's type says
 * so under the column's collation, which is what the unique index on the base
 * table says; so 1 and 1.0, or texts that a collation takes for equal, are one
 * node.  Integers are compared without calling anything.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/key.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "core/names.h"
#include "hierarchy/hierarchy.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

static void
column_type(HierColumn *column, Relation rel, AttrNumber attnum)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	TypeCacheEntry *cache;

	column->typmod = att->atttypmod;
	column->type = getBaseTypeAndTypmod(att->atttypid, &column->typmod);
	column->collation = att->attcollation;
	column->typlen = att->attlen;
	column->typbyval = att->attbyval;

	cache = lookup_type_cache(column->type, TYPECACHE_EQ_OPR_FINFO |
							  TYPECACHE_CMP_PROC_FINFO | TYPECACHE_HASH_PROC_FINFO);
	if (!OidIsValid(cache->eq_opr_finfo.fn_oid) || !OidIsValid(cache->cmp_proc_finfo.fn_oid) ||
		!OidIsValid(cache->hash_proc_finfo.fn_oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("column \"%s\" of table %s cannot be part of a key",
						NameStr(att->attname), dbp_relation_name(rel)),
				 errdetail("Type %s lacks a default btree or hash operator class.",
						   format_type_be(att->atttypid)),
				 errhint("Choose a key of another type.")));
	fmgr_info_copy(&column->eq, &cache->eq_opr_finfo, CurrentMemoryContext);
	fmgr_info_copy(&column->cmp, &cache->cmp_proc_finfo, CurrentMemoryContext);
	fmgr_info_copy(&column->hash, &cache->hash_proc_finfo, CurrentMemoryContext);
}

/*
 * dbp_key_type looks up what is needed for keys in columns of rel, in
 * CurrentMemoryContext.  Raises 42883 for a type without the operators.
 */
void
dbp_key_type(HierKeyType *type, Relation rel, const AttrNumber *attnums, int n)
{
	memset(type, 0, sizeof(*type));
	type->n = n;
	for (int i = 0; i < n; i++)
		column_type(&type->col[i], rel, attnums[i]);
	type->integer = n == 1 && (type->col[0].type == INT2OID || type->col[0].type == INT4OID ||
							   type->col[0].type == INT8OID);
}

/*
 * dbp_key_hash hashes a key.
 */
uint32
dbp_key_hash(HierKeyType *type, const Datum *key)
{
	uint32		hash = 0;

	if (type->integer)
		return murmurhash32((uint32) key[0] ^ (uint32) ((uint64) key[0] >> 32));
	for (int i = 0; i < type->n; i++)
		hash = hash_combine(hash, DatumGetUInt32(FunctionCall1Coll(&type->col[i].hash,
																   type->col[i].collation,
																   key[i])));
	return hash;
}

/*
 * dbp_key_equal tells whether two keys are the same.
 */
bool
dbp_key_equal(HierKeyType *type, const Datum *a, const Datum *b)
{
	if (type->integer)
		return a[0] == b[0];
	for (int i = 0; i < type->n; i++)
	{
		if (!DatumGetBool(FunctionCall2Coll(&type->col[i].eq, type->col[i].collation,
											a[i], b[i])))
			return false;
	}
	return true;
}

/*
 * dbp_key_compare orders keys as an index on their columns does.
 */
int
dbp_key_compare(HierKeyType *type, const Datum *a, const Datum *b)
{
	/* Integers of less than 64 bits are kept with their sign. */
	if (type->integer)
		return (int64) a[0] < (int64) b[0] ? -1 : (int64) a[0] > (int64) b[0];
	for (int i = 0; i < type->n; i++)
	{
		int			order = DatumGetInt32(FunctionCall2Coll(&type->col[i].cmp,
															type->col[i].collation, a[i], b[i]));

		if (order != 0)
			return order;
	}
	return 0;
}

static void
copy_values(HierKeyType *type, Datum *to, const Datum *from)
{
	for (int i = 0; i < type->n; i++)
	{
		HierColumn *column = &type->col[i];

		if (column->typbyval)
			to[i] = from[i];
		else if (column->typlen == -1)
			to[i] = PointerGetDatum(PG_DETOAST_DATUM_COPY(from[i]));
		else
			to[i] = datumCopy(from[i], false, column->typlen);
	}
}

/*
 * dbp_key_copy copies a key, without references to TOAST values.
 */
Datum *
dbp_key_copy(HierKeyType *type, const Datum *key)
{
	Datum	   *copy = palloc(sizeof(Datum) * type->n);

	copy_values(type, copy, key);
	return copy;
}

/*
 * dbp_value_to_text returns a value as its type prints it.
 */
char *
dbp_value_to_text(Oid type, Datum value)
{
	Oid			out;
	bool		is_varlena;

	getTypeOutputInfo(type, &out, &is_varlena);
	return OidOutputFunctionCall(out, value);
}

/*
 * dbp_value_from_text reads a value of a column of a key.  With the column's
 * typmod it is what the column would store; with -1, to look for it, what no
 * row can have is not rounded to what one has.
 */
Datum
dbp_value_from_text(const HierColumn *column, const char *text, int32 typmod)
{
	Oid			in;
	Oid			param;

	getTypeInputInfo(column->type, &in, &param);
	return OidInputFunctionCall(in, unconstify(char *, text), param, typmod);
}

/*
 * dbp_key_text prints a key for people: 5, or (1, 5).
 */
char *
dbp_key_text(HierKeyType *type, const Datum *key)
{
	StringInfoData text;

	initStringInfo(&text);
	if (type->n > 1)
		appendStringInfoChar(&text, '(');
	for (int i = 0; i < type->n; i++)
		appendStringInfo(&text, "%s%s", i > 0 ? ", " : "",
						 dbp_value_to_text(type->col[i].type, key[i]));
	if (type->n > 1)
		appendStringInfoChar(&text, ')');
	return text.data;
}

/*
 * dbp_key_shape tells what columns must be like to hold keys of a hierarchy.
 */
void
dbp_key_shape(HierState *state, HierKeyShape *shape)
{
	memset(shape, 0, sizeof(*shape));
	shape->n = state->type.n;
	shape->nscope = state->spec.nscope;
	for (int i = 0; i < shape->n; i++)
	{
		shape->types[i] = state->type.col[i].type;
		shape->collations[i] = state->type.col[i].collation;
	}
}

/*
 * dbp_key_fits tells whether columns of a storage are like that.
 */
bool
dbp_key_fits(HierKeyType *type, Relation storage, const AttrNumber *attnums)
{
	for (int i = 0; i < type->n; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(storage), attnums[i] - 1);

		if (getBaseType(att->atttypid) != type->col[i].type ||
			att->attcollation != type->col[i].collation)
			return false;
	}
	return true;
}

/*
 * dbp_key_refuse_storage raises 55000 for a storage that they are not like.
 */
void
dbp_key_refuse_storage(HierState *state, Relation storage)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table %s cannot hold the keys of %s", dbp_relation_name(storage),
					dbp_relation_name_by_oid(state->head.rootid)),
			 errdetail("Its columns have other types, collations or places."),
			 errhint("Disable the hierarchy, drop that table, and enable it again.")));
}

/* ---- maps ---------------------------------------------------------------- */

/* Entries are made in blocks: they are small and many. */
#define BLOCK_ENTRIES	256
#define FIRST_ENTRIES	8

typedef struct MapSlot
{
	HierMapEntry *entry;
	uint32		hash;
	char		status;
} MapSlot;

struct HierMap
{
	HierKeyType *type;
	MemoryContext cxt;
	Size		entry_size;		/* with the array of the key's values */
	char	   *block;
	int			used;			/* entries of block */
	int			size;			/* entries it has room for */
	struct slots_hash *slots;
};

/* While a key is looked up, the slot's entry is this one. */
#define SH_PREFIX slots
#define SH_ELEMENT_TYPE MapSlot
#define SH_KEY_TYPE HierMapEntry *
#define SH_KEY entry
#define SH_HASH_KEY(tb, key) ((key)->hash)
#define SH_EQUAL(tb, a, b) \
	dbp_key_equal(((HierMap *) (tb)->private_data)->type, (a)->key, (b)->key)
#define SH_SCOPE static inline
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) ((a)->hash)
#define SH_DEFINE
#define SH_DECLARE
#include "lib/simplehash.h"

/*
 * dbp_map_create makes an empty map from keys to entries.
 */
HierMap *
dbp_map_create(HierKeyType *type, Size entry_size, MemoryContext cxt)
{
	HierMap    *map = MemoryContextAllocZero(cxt, sizeof(HierMap));

	map->type = type;
	map->cxt = cxt;
	map->entry_size = MAXALIGN(entry_size) + sizeof(Datum) * type->n;
	map->slots = slots_create(cxt, FIRST_ENTRIES, map);
	return map;
}

/*
 * dbp_map_find returns the entry of a key, or NULL.
 */
void *
dbp_map_find(HierMap *map, const Datum *key)
{
	HierMapEntry probe = {unconstify(Datum *, key), dbp_key_hash(map->type, key)};
	MapSlot    *slot = slots_lookup(map->slots, &probe);

	return slot != NULL ? slot->entry : NULL;
}

static HierMapEntry *
new_entry(HierMap *map, const Datum *key, uint32 hash)
{
	MemoryContext oldcxt = MemoryContextSwitchTo(map->cxt);
	HierMapEntry *entry;

	if (map->used == map->size)
	{
		map->size = map->block == NULL ? FIRST_ENTRIES : BLOCK_ENTRIES;
		map->block = palloc0(map->entry_size * map->size);
		map->used = 0;
	}
	entry = (HierMapEntry *) (map->block + map->entry_size * map->used++);
	entry->key = (Datum *) ((char *) entry + map->entry_size - sizeof(Datum) * map->type->n);
	entry->hash = hash;
	copy_values(map->type, entry->key, key);
	MemoryContextSwitchTo(oldcxt);
	return entry;
}

/*
 * dbp_map_enter returns the entry of a key, made and zeroed if there is none.
 */
void *
dbp_map_enter(HierMap *map, const Datum *key, bool *found)
{
	HierMapEntry probe = {unconstify(Datum *, key), dbp_key_hash(map->type, key)};
	MapSlot    *slot = slots_insert(map->slots, &probe, found);

	if (!*found)
		slot->entry = new_entry(map, key, probe.hash);
	return slot->entry;
}

/*
 * dbp_map_count returns the number of entries.
 */
int
dbp_map_count(HierMap *map)
{
	return map->slots->members;
}

/*
 * dbp_map_iterate starts to go through the entries.
 */
void
dbp_map_iterate(HierMap *map, HierMapIterator *iterator)
{
	iterator->next = 0;
}

/*
 * dbp_map_next returns the next entry, or NULL.
 */
void *
dbp_map_next(HierMap *map, HierMapIterator *iterator)
{
	while (iterator->next < map->slots->size)
	{
		MapSlot    *slot = &map->slots->data[iterator->next++];

		if (slot->status == slots_SH_IN_USE)
			return slot->entry;
	}
	return NULL;
}

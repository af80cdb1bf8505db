/*-------------------------------------------------------------------------
 *
 * trail.c
 *	  What readers know of a table: the layouts it has had.
 *
 * A log entry speaks of columns by the names they had when it was written;
 * readers speak of them by today's.  Between the two stand the lasting column
 * numbers of the table's shapes.  A column that is gone keeps its last name,
 * with an addition where another column bears that name today: two columns
 * are never mixed.
 *
 * Trails are kept per relation.  An ALTER ends one through relcache
 * invalidation, but a shape may be recorded later than the ALTER it stems
 * from, so the number of shapes is looked up at each use.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/trail.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "audit/audit.h"
#include "catalog/pg_type.h"
#include "compat/compat.h"
#include "core/append.h"
#include "core/owner.h"
#include "core/version.h"
#include "parser/parse_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

static DbpRelStateCache *trails = NULL;

/* What a shape's row holds besides what AuditShape keeps. */
typedef struct ShapeRow
{
	int64		table_oid;
	int16	   *attnums;
} ShapeRow;

static char **
name_array(uint64 row, int column, int *count)
{
	Datum	   *values;
	char	  **names;

	deconstruct_array(DatumGetArrayTypeP(dbp_sql_value(row, column, NULL)),
					  NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &values, NULL, count);
	names = palloc(sizeof(char *) * Max(*count, 1));
	for (int i = 0; i < *count; i++)
		names[i] = pstrdup(NameStr(*DatumGetName(values[i])));
	return names;
}

static int16 *
number_array(uint64 row, int column)
{
	Datum	   *values;
	int16	   *numbers;
	int			count;

	deconstruct_array(DatumGetArrayTypeP(dbp_sql_value(row, column, NULL)),
					  INT2OID, 2, true, TYPALIGN_SHORT, &values, NULL, &count);
	numbers = palloc(sizeof(int16) * Max(count, 1));
	for (int i = 0; i < count; i++)
		numbers[i] = DatumGetInt16(values[i]);
	return numbers;
}

static char **
text_array(uint64 row, int column)
{
	Datum	   *values;
	char	  **texts;
	int			count;

	deconstruct_array(DatumGetArrayTypeP(dbp_sql_value(row, column, NULL)),
					  TEXTOID, -1, false, TYPALIGN_INT, &values, NULL, &count);
	texts = palloc(sizeof(char *) * Max(count, 1));
	for (int i = 0; i < count; i++)
		texts[i] = TextDatumGetCString(values[i]);
	return texts;
}

static int
column_position(AuditShape *shape, const char *name)
{
	for (int i = 0; i < shape->ncolumns; i++)
	{
		if (strcmp(shape->columns[i], name) == 0)
			return i;
	}
	elog(ERROR, "shape %d has no column \"%s\"", shape->shape, name);
}

/*
 * read_shapes reads the shapes of a relation, those of this very table only
 * when it is temporary: another session's may have had the same name.
 */
static ShapeRow *
read_shapes(AuditTrail *trail, Relation rel)
{
	bool		temporary = (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP);
	DbpParam	params[2];
	ShapeRow   *rows;
	MemoryContext oldcxt;

	params[0] = DBP_PARAM(INT4OID, Int32GetDatum(trail->relation));
	params[1] = DBP_PARAM(INT8OID, Int64GetDatum(temporary ? (int64) RelationGetRelid(rel) : 0));
	trail->nshapes = dbp_sql_query_latest("SELECT shape, columns, numbers, key, since,"
										  " table_oid, types, attnums"
										  " FROM _dbpatterns.audit_shape"
										  " WHERE relation = $1 AND $2 IN (0, table_oid)"
										  " ORDER BY shape", 2, params);

	/* SPI leaves its own context behind. */
	oldcxt = MemoryContextSwitchTo(trail->head.cxt);
	trail->shapes = palloc0(sizeof(AuditShape) * Max(trail->nshapes, 1));
	rows = palloc(sizeof(ShapeRow) * Max(trail->nshapes, 1));
	for (int i = 0; i < trail->nshapes; i++)
	{
		AuditShape *shape = &trail->shapes[i];
		char	  **key;

		shape->shape = DatumGetInt32(dbp_sql_value(i, 0, NULL));
		shape->columns = name_array(i, 1, &shape->ncolumns);
		shape->numbers = number_array(i, 2);
		key = name_array(i, 3, &shape->nkeys);
		shape->since = DatumGetTimestampTz(dbp_sql_value(i, 4, NULL));
		shape->keys = palloc(sizeof(int) * Max(shape->nkeys, 1));
		for (int k = 0; k < shape->nkeys; k++)
			shape->keys[k] = column_position(shape, key[k]);
		rows[i].table_oid = DatumGetInt64(dbp_sql_value(i, 5, NULL));
		shape->types = text_array(i, 6);
		rows[i].attnums = number_array(i, 7);
	}
	MemoryContextSwitchTo(oldcxt);
	return rows;
}

static bool
name_taken(AuditTrail *trail, const char *name, int but)
{
	for (int i = 0; i < trail->ncolumns; i++)
	{
		if (i != but && trail->columns[i].name != NULL &&
			strcmp(trail->columns[i].name, name) == 0)
			return true;
	}
	return false;
}

/*
 * find_columns finds out what has become of each column.  While the table
 * lives its attribute numbers tell; after a restore names do.
 */
static void
find_columns(AuditTrail *trail, Relation rel, ShapeRow *rows)
{
	TupleDesc	desc = RelationGetDescr(rel);
	AuditShape *last = &trail->shapes[trail->nshapes - 1];
	ShapeRow   *lastrow = &rows[trail->nshapes - 1];
	bool		same_life = lastrow->table_oid == (int64) RelationGetRelid(rel);
	char	  **dropped;

	for (int s = 0; s < trail->nshapes; s++)
	{
		for (int i = 0; i < trail->shapes[s].ncolumns; i++)
			trail->ncolumns = Max(trail->ncolumns, trail->shapes[s].numbers[i] + 1);
	}
	trail->columns = palloc0(sizeof(AuditColumn) * Max(trail->ncolumns, 1));
	dropped = palloc0(sizeof(char *) * Max(trail->ncolumns, 1));

	for (int i = 0; i < last->ncolumns; i++)
	{
		AuditColumn *column = &trail->columns[last->numbers[i]];

		for (int a = 0; a < desc->natts; a++)
		{
			Form_pg_attribute att = TupleDescAttr(desc, a);

			if (!att->attisdropped &&
				(same_life ? att->attnum == lastrow->attnums[i]
				 : namestrcmp(&att->attname, last->columns[i]) == 0))
			{
				column->attno = att->attnum;
				column->name = pstrdup(NameStr(att->attname));
			}
		}
	}

	for (int s = 0; s < trail->nshapes; s++)
	{
		AuditShape *shape = &trail->shapes[s];

		for (int i = 0; i < shape->ncolumns; i++)
			dropped[shape->numbers[i]] = shape->columns[i];
	}
	for (int n = 0; n < trail->ncolumns; n++)
	{
		char	   *name = dropped[n];

		if (trail->columns[n].attno != 0 || name == NULL)
			continue;
		while (name_taken(trail, name, n))
			name = psprintf("%s (dropped)", name);
		trail->columns[n].name = name;
	}
}

/*
 * key_codec makes the codec of a key as it was in some shape.  A type that
 * has been renamed since is taken from today's column.
 */
static DbpCodec *
key_codec(AuditTrail *trail, Relation rel, AuditShape *shape, AuditKeyDef *def)
{
	TupleDesc	desc = CreateTemplateTupleDesc(shape->nkeys);

	for (int k = 0; k < shape->nkeys; k++)
	{
		int			column = shape->keys[k];
		Oid			type;
		int32		typmod;

		if (!dbp_parse_type(shape->types[column], &type, &typmod))
		{
			AttrNumber	attno = trail->columns[shape->numbers[column]].attno;

			if (attno == 0)
				return NULL;
			type = TupleDescAttr(RelationGetDescr(rel), attno - 1)->atttypid;
			typmod = TupleDescAttr(RelationGetDescr(rel), attno - 1)->atttypmod;
		}
		/* Without the checks of a domain, which may run anybody's code. */
		type = getBaseTypeAndTypmod(type, &typmod);
		def->types[k] = type;
		TupleDescInitEntry(desc, k + 1, shape->columns[column], type, typmod, 0);
	}
	return dbp_codec_create(desc, NULL, NULL, CurrentMemoryContext);
}

static bool
same_key(AuditShape *a, AuditShape *b)
{
	if (a->nkeys != b->nkeys)
		return false;
	for (int k = 0; k < a->nkeys; k++)
	{
		int			i = a->keys[k];
		int			j = b->keys[k];

		if (a->numbers[i] != b->numbers[j] || strcmp(a->columns[i], b->columns[j]) != 0 ||
			strcmp(a->types[i], b->types[j]) != 0)
			return false;
	}
	return true;
}

/*
 * find_keydefs finds the different keys among the shapes.
 */
static void
find_keydefs(AuditTrail *trail, Relation rel)
{
	trail->keydefs = palloc0(sizeof(AuditKeyDef) * Max(trail->nshapes, 1));
	for (int s = 0; s < trail->nshapes; s++)
	{
		AuditShape *shape = &trail->shapes[s];
		AuditKeyDef *def;

		shape->keydef = -1;
		if (shape->nkeys == 0)
			continue;
		for (int p = 0; p < s && shape->keydef < 0; p++)
		{
			if (same_key(shape, &trail->shapes[p]))
				shape->keydef = trail->shapes[p].keydef;
		}
		if (shape->keydef >= 0)
			continue;

		shape->keydef = trail->nkeydefs++;
		def = &trail->keydefs[shape->keydef];
		def->n = shape->nkeys;
		def->names = palloc(sizeof(char *) * def->n);
		def->today = palloc(sizeof(char *) * def->n);
		def->types = palloc(sizeof(Oid) * def->n);
		def->numbers = palloc(sizeof(int16) * def->n);
		for (int k = 0; k < def->n; k++)
		{
			def->names[k] = shape->columns[shape->keys[k]];
			def->numbers[k] = shape->numbers[shape->keys[k]];
			def->today[k] = trail->columns[def->numbers[k]].name;
		}
		def->codec = key_codec(trail, rel, shape, def);
	}
}

static void
build_trail(DbpRelState *head, Relation rel, void *arg)
{
	AuditTrail *trail = (AuditTrail *) head;
	DbpOwnerScope scope;
	ShapeRow   *rows;
	MemoryContext oldcxt;

	dbp_check_version();
	SPI_connect();
	dbp_enter_owner(&scope, dbp_audit_log_owner());
	trail->relation = dbp_audit_relation_number(rel);
	if (trail->relation != 0)
	{
		rows = read_shapes(trail, rel);
		oldcxt = MemoryContextSwitchTo(head->cxt);
		if (trail->nshapes > 0)
		{
			find_columns(trail, rel, rows);
			find_keydefs(trail, rel);
		}
		for (int s = 0; s < trail->nshapes; s++)
		{
			AuditShape *shape = &trail->shapes[s];

			for (int i = 0; i < shape->ncolumns; i++)
				shape->renamed |= strcmp(shape->columns[i],
										 trail->columns[shape->numbers[i]].name) != 0;
		}
		MemoryContextSwitchTo(oldcxt);
	}
	dbp_leave_owner(&scope);
	SPI_finish();
}

/*
 * is_complete tells whether a trail has all shapes recorded by now.
 */
static bool
is_complete(AuditTrail *trail, Relation rel)
{
	Relation	shapes = table_open(dbp_own_relation("audit_shape"), AccessShareLock);
	Relation	index = index_open(dbp_own_relation("audit_shape_relation"), AccessShareLock);
	bool		temporary = (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	int			count = 0;
	bool		complete = true;

	ScanKeyInit(&key, 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(trail->relation));
	scan = systable_beginscan_ordered(shapes, index, NULL, 1, &key);
	while ((tuple = systable_getnext_ordered(scan, ForwardScanDirection)) != NULL)
	{
		bool		isnull;
		Datum		shape = heap_getattr(tuple, 1, RelationGetDescr(shapes), &isnull);

		if (temporary)
			complete &= dbp_audit_shape_by_number(trail, DatumGetInt32(shape)) != NULL ||
				DatumGetInt64(heap_getattr(tuple, 5, RelationGetDescr(shapes), &isnull)) !=
				(int64) RelationGetRelid(rel);
		else
			complete &= (count < trail->nshapes &&
						 trail->shapes[count].shape == DatumGetInt32(shape));
		count++;
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(shapes, AccessShareLock);
	return complete && (temporary || count == trail->nshapes);
}

/*
 * dbp_audit_trail returns what is known of a table, a root of partitions where
 * there are any.  It stays valid to the end of the transaction.
 */
AuditTrail *
dbp_audit_trail(Relation root)
{
	AuditTrail *trail = (AuditTrail *) dbp_relstate_get(trails, root, InvalidOid, NULL);

	if (trail->relation == 0 || !is_complete(trail, root))
	{
		dbp_relstate_forget(trails);
		trail = (AuditTrail *) dbp_relstate_get(trails, root, InvalidOid, NULL);
	}
	return trail;
}

/*
 * dbp_audit_shape_by_number returns a shape of the table, or NULL.
 */
AuditShape *
dbp_audit_shape_by_number(AuditTrail *trail, int shape)
{
	int			low = 0;
	int			high = trail->nshapes - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;

		if (trail->shapes[middle].shape == shape)
			return &trail->shapes[middle];
		if (trail->shapes[middle].shape < shape)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return NULL;
}

/*
 * dbp_audit_has_key tells whether a shape's key is made of the same columns.
 */
bool
dbp_audit_has_key(const AuditShape *shape, const AuditKeyDef *def)
{
	bool		same = (shape->nkeys == def->n);

	for (int k = 0; k < def->n && same; k++)
		same = shape->numbers[shape->keys[k]] == def->numbers[k];
	return same;
}

/*
 * dbp_audit_shape_numbers returns the numbers of a table's shapes; int[].
 */
Datum
dbp_audit_shape_numbers(AuditTrail *trail)
{
	Datum	   *numbers = palloc(sizeof(Datum) * trail->nshapes);

	for (int s = 0; s < trail->nshapes; s++)
		numbers[s] = Int32GetDatum(trail->shapes[s].shape);
	return PointerGetDatum(construct_array(numbers, trail->nshapes, INT4OID, 4, true,
										   TYPALIGN_INT));
}

/*
 * dbp_audit_trail_init prepares this backend.
 */
void
dbp_audit_trail_init(void)
{
	trails = dbp_relstate_cache("dbpatterns audit trail", sizeof(AuditTrail), build_trail);
}

/*-------------------------------------------------------------------------
 *
 * leaf.c
 *	  Rows of the log in the order and in the bytes that are hashed.
 *
 * The bytes must come out the same after a dump and restore, on another
 * machine and in another version: numbers are big-endian, times are
 * microseconds, JSONB is its text (whose key order is fixed by length and
 * bytes of the keys), text is UTF-8 with its length before it, and a value
 * that may be NULL has a byte before it that tells.
 *
 *		fixed: xact_time, txn, id, statement_time, op, SHA256 of the shape, and
 *			1, xid, pid, query_id, client_addr, login_role, session_role,
 *			set_role, effective_role, application_name, context; or 0
 *		payload: row_key, old_row_key, old, new
 *
 * The hashes of a row's key belong to the payload since they tell the key of
 * an erased row to whoever can guess it.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/leaf.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "audit/seal.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#define FETCH_ROWS 500

/* The columns of leaves_query. */
enum
{
	COL_RELID,
	COL_XACT_TIME,
	COL_TXN,
	COL_ID,
	COL_STATEMENT_TIME,
	COL_OP,
	COL_SHAPE,
	COL_ROW_KEY,
	COL_OLD_ROW_KEY,
	COL_OLD,
	COL_NEW,
	COL_XID,
	COL_PID,
	COL_QUERY_ID,
	COL_CLIENT_ADDR,
	COL_LOGIN_ROLE,
	COL_SESSION_ROLE,
	COL_SET_ROLE,
	COL_EFFECTIVE_ROLE,
	COL_APPLICATION_NAME,
	COL_CONTEXT,
	NCOLUMNS
};

static const char leaves_query[] =
"SELECT tableoid, xact_time, txn, id,"
" coalesce(statement_time, xact_time), op, shape, row_key, old_row_key, old, new,"
" xid, pid, query_id, client_addr::text, login_role, session_role,"
" set_role, effective_role, application_name, context"
" FROM _dbpatterns.audit_log"
" WHERE txn >= $1 AND txn <= $3 AND id >= $5 AND id <= $6"
" AND (txn, id) > ($1, $2) AND (txn, id) <= ($3, $4)"
" ORDER BY txn, id";

/* Hash of a shape, kept while a reader is open. */
typedef struct ShapeHash
{
	int			shape;
	AuditHash	hash;
} ShapeHash;

struct AuditLeaves
{
	Portal		portal;
	SPITupleTable *rows;		/* NULL at the start */
	uint64		nrows;
	uint64		next;
	bool		loaded;			/* leaf is that of rows[next] */
	Datum		values[NCOLUMNS];	/* of rows[next] */
	bool		isnull[NCOLUMNS];
	AuditLeaf	leaf;
	MemoryContext row_cxt;
	HTAB	   *shapes;
	pg_cryptohash_ctx *ctx;
};

/*
 * dbp_audit_position_cmp compares places of leaves.
 */
int
dbp_audit_position_cmp(AuditPosition a, AuditPosition b)
{
	if (a.txn != b.txn)
		return a.txn < b.txn ? -1 : 1;
	return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}

/*
 * end_text makes UTF-8 of the text that was appended since its length was to
 * be written at start, and writes that length.
 */
static void
end_text(StringInfo buf, int start)
{
	char	   *text = buf->data + start + sizeof(uint32);
	uint32		length = buf->len - start - sizeof(uint32);

	/* What SQL_ASCII means is unknown: its bytes stay as they are. */
	if (GetDatabaseEncoding() != PG_UTF8 && GetDatabaseEncoding() != PG_SQL_ASCII)
	{
		char	   *utf8 = pg_server_to_any(text, length, PG_UTF8);

		if (utf8 != text)
		{
			buf->len = start + sizeof(uint32);
			appendStringInfoString(buf, utf8);
			length = strlen(utf8);
		}
	}
	length = pg_hton32(length);
	memcpy(buf->data + start, &length, sizeof(length));
}

static void
put_text(StringInfo buf, const text *string)
{
	int			start = buf->len;

	pq_sendint32(buf, 0);
	appendBinaryStringInfo(buf, VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string));
	end_text(buf, start);
}

static void
put_jsonb(StringInfo buf, Jsonb *json)
{
	int			start;

	pq_sendbyte(buf, json != NULL);
	if (json == NULL)
		return;
	start = buf->len;
	pq_sendint32(buf, 0);
	(void) JsonbToCString(buf, &json->root, VARSIZE(json));
	end_text(buf, start);
}

static void
put_int64(StringInfo buf, const int64 *value)
{
	pq_sendbyte(buf, value != NULL);
	if (value != NULL)
		pq_sendint64(buf, *value);
}

/*
 * dbp_audit_entry_payload makes the bytes of an entry that an erasure may change.
 */
void
dbp_audit_entry_payload(StringInfo buf, const int64 *row_key, const int64 *old_row_key,
						Jsonb *old, Jsonb *new)
{
	resetStringInfo(buf);
	put_int64(buf, row_key);
	put_int64(buf, old_row_key);
	put_jsonb(buf, old);
	put_jsonb(buf, new);
}

/*
 * A shape is hashed as JSONB text, too.  One that is missing has the hash of
 * nothing, as it had when entries that belong to no table were sealed.
 */
static const AuditHash *
shape_hash(AuditLeaves *leaves, int shape)
{
	ShapeHash  *entry = hash_search(leaves->shapes, &shape, HASH_FIND, NULL);

	if (entry == NULL)
	{
		DbpParam	param = DBP_PARAM(INT4OID, Int32GetDatum(shape));
		StringInfoData buf;
		AuditHash	hash;

		initStringInfo(&buf);
		if (dbp_audit_seal_read("SELECT jsonb_build_array(shape, relation, schema_name, table_name,"
								" table_oid, columns, types, attnums, numbers, key)"
								" FROM _dbpatterns.audit_shape WHERE shape = $1", 1, &param) > 0)
			put_jsonb(&buf, DatumGetJsonbP(dbp_sql_value(0, 0, NULL)));
		dbp_audit_buffer_hash(leaves->ctx, &buf, &hash);
		SPI_freetuptable(SPI_tuptable);
		entry = hash_search(leaves->shapes, &shape, HASH_ENTER, NULL);
		entry->hash = hash;
	}
	return &entry->hash;
}

/*
 * dbp_audit_leaves_open starts to read leaves after from up to and including
 * upto.  Caller: SPI connected, see dbp_audit_seal_enter.
 */
AuditLeaves *
dbp_audit_leaves_open(AuditPosition from, AuditPosition upto)
{
	AuditLeaves *leaves = palloc0(sizeof(AuditLeaves));
	Oid			types[6] = {INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID};
	Datum		values[6];
	bool		inside = (from.txn == upto.txn);
	HASHCTL		ctl;

	values[0] = Int64GetDatum(from.txn);
	values[1] = Int64GetDatum(from.id);
	values[2] = Int64GetDatum(upto.txn);
	values[3] = Int64GetDatum(upto.id);

	/* Inside one transaction the index on numbers narrows it down, too. */
	values[4] = Int64GetDatum(inside ? from.id : PG_INT64_MIN);
	values[5] = Int64GetDatum(inside ? upto.id : PG_INT64_MAX);
	leaves->portal = SPI_cursor_open_with_args(NULL, leaves_query, 6, types, values,
											   NULL, true, 0);

	ctl.keysize = sizeof(int);
	ctl.entrysize = sizeof(ShapeHash);
	ctl.hcxt = CurrentMemoryContext;
	leaves->shapes = hash_create("dbpatterns audit shapes", 32, &ctl,
								 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	leaves->row_cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns audit leaf",
											ALLOCSET_DEFAULT_SIZES);
	leaves->ctx = dbp_audit_sha256_create();
	initStringInfo(&leaves->leaf.fixed);
	initStringInfo(&leaves->leaf.payload);
	return leaves;
}

static Datum
value(AuditLeaves *leaves, int number)
{
	return leaves->values[number];
}

static Jsonb *
jsonb_or_null(AuditLeaves *leaves, int number)
{
	return leaves->isnull[number] ? NULL : DatumGetJsonbP(value(leaves, number));
}

static int64 *
int64_or_null(AuditLeaves *leaves, int number, int64 *space)
{
	if (leaves->isnull[number])
		return NULL;
	*space = DatumGetInt64(value(leaves, number));
	return space;
}

static void
put_who(AuditLeaves *leaves)
{
	StringInfo	buf = &leaves->leaf.fixed;
	int64		query_id;

	pq_sendbyte(buf, !leaves->isnull[COL_XID]);
	if (leaves->isnull[COL_XID])
		return;
	pq_sendint64(buf, U64FromFullTransactionId(DatumGetFullTransactionId(value(leaves, COL_XID))));
	pq_sendint32(buf, DatumGetInt32(value(leaves, COL_PID)));
	put_int64(buf, int64_or_null(leaves, COL_QUERY_ID, &query_id));
	for (int i = COL_CLIENT_ADDR; i <= COL_APPLICATION_NAME; i++)
	{
		pq_sendbyte(buf, !leaves->isnull[i]);
		if (!leaves->isnull[i])
			put_text(buf, DatumGetTextPP(value(leaves, i)));
	}
	put_jsonb(buf, jsonb_or_null(leaves, COL_CONTEXT));
}

static void
load_leaf(AuditLeaves *leaves)
{
	AuditLeaf  *leaf = &leaves->leaf;
	MemoryContext oldcxt = MemoryContextSwitchTo(leaves->row_cxt);
	const AuditHash *shape;
	int64		key;
	int64		old_key;

	heap_deform_tuple(leaves->rows->vals[leaves->next], leaves->rows->tupdesc,
					  leaves->values, leaves->isnull);
	leaf->relid = DatumGetObjectId(value(leaves, COL_RELID));
	leaf->xact_time = DatumGetTimestampTz(value(leaves, COL_XACT_TIME));
	leaf->at.txn = DatumGetInt64(value(leaves, COL_TXN));
	leaf->at.id = DatumGetInt64(value(leaves, COL_ID));
	leaf->op = DatumGetChar(value(leaves, COL_OP));

	resetStringInfo(&leaf->fixed);
	pq_sendint64(&leaf->fixed, leaf->xact_time);
	pq_sendint64(&leaf->fixed, leaf->at.txn);
	pq_sendint64(&leaf->fixed, leaf->at.id);
	pq_sendint64(&leaf->fixed, DatumGetTimestampTz(value(leaves, COL_STATEMENT_TIME)));
	pq_sendbyte(&leaf->fixed, leaf->op);
	shape = shape_hash(leaves, DatumGetInt32(value(leaves, COL_SHAPE)));
	appendBinaryStringInfo(&leaf->fixed, (const char *) shape->bytes, sizeof(shape->bytes));
	put_who(leaves);
	dbp_audit_entry_payload(&leaf->payload,
							int64_or_null(leaves, COL_ROW_KEY, &key),
							int64_or_null(leaves, COL_OLD_ROW_KEY, &old_key),
							jsonb_or_null(leaves, COL_OLD),
							jsonb_or_null(leaves, COL_NEW));

	MemoryContextSwitchTo(oldcxt);
	MemoryContextReset(leaves->row_cxt);
	leaves->loaded = true;
}

/*
 * dbp_audit_leaves_peek returns the current leaf, NULL after the last.  It is
 * valid until the next call of dbp_audit_leaves_advance.
 */
AuditLeaf *
dbp_audit_leaves_peek(AuditLeaves *leaves)
{
	if (!leaves->loaded)
	{
		if (leaves->next >= leaves->nrows)
		{
			if (leaves->rows != NULL)
				SPI_freetuptable(leaves->rows);
			SPI_cursor_fetch(leaves->portal, true, FETCH_ROWS);
			leaves->rows = SPI_tuptable;
			leaves->nrows = SPI_processed;
			leaves->next = 0;
			CHECK_FOR_INTERRUPTS();
			if (leaves->nrows == 0)
				return NULL;
		}
		load_leaf(leaves);
	}
	return &leaves->leaf;
}

/*
 * dbp_audit_leaves_advance goes on to the next leaf.
 */
void
dbp_audit_leaves_advance(AuditLeaves *leaves)
{
	leaves->next++;
	leaves->loaded = false;
}

/*
 * dbp_audit_leaves_close ends the reading.
 */
void
dbp_audit_leaves_close(AuditLeaves *leaves)
{
	if (leaves->rows != NULL)
		SPI_freetuptable(leaves->rows);
	SPI_cursor_close(leaves->portal);
	hash_destroy(leaves->shapes);
	pg_cryptohash_free(leaves->ctx);
	MemoryContextDelete(leaves->row_cxt);
	pfree(leaves->leaf.fixed.data);
	pfree(leaves->leaf.payload.data);
	pfree(leaves);
}

/*-------------------------------------------------------------------------
 *
 * codec.h
 *	  Rows to JSONB images and back; change test and identity of values.
 *
 * A codec is made once per row type and used for many rows.  The documented
 * mapping is docs/reference/codec.md; an image does not depend on any setting
 * of the session that writes it, and decodes to the same values.
 *
 * A codec keeps no reference to the tuple descriptor it was made from.  It
 * must be made anew when the row type changes (relcache invalidation).
 *
 * Memory: results, and what output functions leave behind, go to
 * CurrentMemoryContext, so callers encode in a context they reset per row or
 * per batch.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/codec.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_CODEC_H
#define DBP_CODEC_H

#include "access/tupdesc.h"
#include "utils/jsonb.h"

/* a value whose JSON form needs more bytes than this becomes a marker */
#define DBP_CODEC_MAX_VALUE		(64 * 1024 * 1024)

typedef struct DbpCodec DbpCodec;

/*
 * Make a codec in cxt.  skip and redact are indexed by attribute number - 1
 * and may be NULL.  Dropped columns, virtual generated columns and skipped
 * ones never appear in an image; redacted ones appear as
 * {"$dbp": "redacted"}, whether they are NULL or not.
 */
extern DbpCodec *dbp_codec_create(TupleDesc desc, const bool *skip,
								  const bool *redact, MemoryContext cxt);

/*
 * The image of a row: one JSON object, byte for byte what jsonb_in would make
 * of it.  pick (per attribute, NULL for all) narrows the columns.  Never
 * fails because of the size of a value: what is too large is replaced by
 * {"$dbp": "omitted", "bytes": n, "sha256": hex}.
 */
extern Jsonb *dbp_codec_encode(DbpCodec *codec, const Datum *values,
							   const bool *isnull, const bool *pick);

/*
 * Is the new value of a column another one, bit for bit?  Two references to
 * the same TOAST value are equal without being fetched.
 */
extern bool dbp_codec_changed(DbpCodec *codec, int attno0,
							  Datum oldvalue, bool oldisnull,
							  Datum newvalue, bool newisnull);

/*
 * 64-bit identity of the values of some columns, in the order of attnos
 * (attribute number - 1).  int2, int4 and int8 values that are equal are
 * identical.
 */
extern uint64 dbp_codec_hash(DbpCodec *codec, const Datum *values,
							 const bool *isnull, const int *attnos, int n,
							 uint64 seed);

/*
 * Image back to values, through the input functions of the types.  A column
 * is not present when the image has no such key or holds a redacted or
 * omitted marker; its value is then NULL.  Errors name the column.
 *
 * Types may run code of users, for example the checks of a domain.  Without
 * an owner it runs as the current user, as in a cast.  With one it runs as the
 * owner of the column's type, where that is a superuser as the given one, in
 * a restricted scope.
 */
extern void dbp_codec_decode(DbpCodec *codec, Oid owner, Jsonb *image,
							 Datum *values, bool *isnull, bool *present);

#endif							/* DBP_CODEC_H */

/*-------------------------------------------------------------------------
 *
 * codec_impl.h
 *	  What the files of the codec share; nobody else includes it.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/codec_impl.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_CODEC_IMPL_H
#define DBP_CODEC_IMPL_H

#include "core/codec.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "pgtime.h"

/*
 * How a type is written.  The order matters: everything up to CODEC_INTERVAL
 * may be an element of a JSON array.
 */
typedef enum CodecClass
{
	CODEC_BOOL,
	CODEC_INT2,
	CODEC_INT4,
	CODEC_INT8,
	CODEC_NUMERIC,
	CODEC_FLOAT4,
	CODEC_FLOAT8,
	CODEC_MONEY,
	CODEC_TEXT,					/* the bytes of a varlena, as they are */
	CODEC_BPCHAR,
	CODEC_NAME,
	CODEC_CHAR,					/* the one-byte type */
	CODEC_ENUM,
	CODEC_UUID,
	CODEC_DATE,
	CODEC_TIME,
	CODEC_TIMETZ,
	CODEC_TIMESTAMP,
	CODEC_TIMESTAMPTZ,
	CODEC_INTERVAL,
	CODEC_JSON,
	CODEC_BYTEA,
	CODEC_JSONB,
	CODEC_ARRAY,
	CODEC_OUTPUT				/* text of the output function */
} CodecClass;

#define CODEC_IS_ELEMENT(cls)	((cls) <= CODEC_INTERVAL)

typedef struct CodecType
{
	CodecClass	cls;
	int16		typlen;
	bool		typbyval;
	char		typalign;
	bool		hard;			/* the type's text depends on search_path or
								 * lc_monetary */
	Oid			declared;		/* as declared, may be a domain */
	Oid			base;			/* without domains */
	int32		typmod;			/* of base */
	FmgrInfo   *out;			/* CODEC_ARRAY and CODEC_OUTPUT only */
	struct CodecType *elem;		/* CODEC_ARRAY only */

	/* for decoding, looked up at first need */
	FmgrInfo   *in;
	Oid			ioparam;
	void	   *domain_extra;	/* cache of domain_check */
} CodecType;

typedef struct CodecColumn
{
	CodecType	type;
	bool		used;			/* appears in images */
	bool		redacted;
	int			namelen;
	char	   *name;
} CodecColumn;

/* The part of an image that does not depend on the values of the row. */
typedef struct CodecLayout
{
	int			n;				/* number of keys */
	int		   *attnos;			/* attribute number - 1, in key order */
	char	   *head;			/* varlena header to last key, values' entries
								 * unset */
	uint32		headlen;
	uint32		keybytes;
	bool		output;			/* some column needs an output function */
	bool		hard;			/* one of those is hard */
} CodecLayout;

/*
 * Layouts for the columns in pick.  Statements ask for the same few picks row
 * after row (what changed; what changed and the key), so some are kept.
 */
#define CODEC_PICKS		4

typedef struct CodecPick
{
	bool		valid;
	bool	   *pick;			/* NULL before the first use */
	CodecLayout layout;
} CodecPick;

struct DbpCodec
{
	int			natts;
	CodecColumn *cols;			/* by attribute number - 1 */
	MemoryContext cxt;
	bool		hard;			/* some used column is of a hard type */
	CodecLayout full;
	CodecPick	picks[CODEC_PICKS];
	int			nextpick;		/* the one to give up */
	uint32		sizehint;		/* of the last image */
};

/*
 * The image under construction.  Offsets instead of pointers, since the
 * buffer moves when it grows.
 */
typedef struct CodecWriter
{
	char	   *buf;
	uint32		len;
	uint32		cap;
	uint32		limit;			/* the value being written must end here */
} CodecWriter;

/* A JSONB array or object being written into a CodecWriter. */
typedef struct CodecContainer
{
	uint32		start;			/* before alignment padding */
	uint32		entries;		/* offset of the JEntry array */
	uint32		total;			/* bytes of children so far */
	int			n;				/* children so far */
} CodecContainer;

/* In place of a JEntry: did not fit below the limit. */
#define CODEC_TOO_LARGE			((JEntry) JENTRY_TYPEMASK)

/*
 * No marker, and no value of a small fixed-size class, takes more bytes.
 */
#define CODEC_SMALL				192

extern void dbp_writer_grow(CodecWriter *w, uint32 more);

/* Where to write the next "more" bytes; the caller then advances w->len. */
static inline char *
writer_room(CodecWriter *w, uint32 more)
{
	if (unlikely(w->cap - w->len < more))
		dbp_writer_grow(w, more);
	return w->buf + w->len;
}

/* Zero bytes up to the alignment of numerics and containers. */
static inline void
writer_align(CodecWriter *w)
{
	writer_room(w, 3);
	while (w->len % sizeof(uint32) != 0)
		w->buf[w->len++] = '\0';
}

/*
 * JSONB keeps lengths in most entries and an end offset in every
 * JB_OFFSET_STRIDE-th one.
 */
static inline void
container_add(CodecWriter *w, CodecContainer *c, JEntry entry)
{
	c->total += JBE_OFFLENFLD(entry);
	if (c->n % JB_OFFSET_STRIDE == 0)
		entry = (entry & JENTRY_TYPEMASK) | c->total | JENTRY_HAS_OFF;
	((JEntry *) (w->buf + c->entries))[c->n++] = entry;
}

extern void dbp_container_begin(CodecWriter *w, CodecContainer *c,
								uint32 header, int nchildren);
extern JEntry dbp_container_end(CodecWriter *w, CodecContainer *c);

extern void dbp_codec_type_init(CodecType *type, Oid typid, int32 typmod,
								MemoryContext cxt);
extern JEntry dbp_codec_put(CodecWriter *w, CodecType *type, Datum value);
extern JEntry dbp_codec_put_string(CodecWriter *w, const char *s, Size len);
extern JEntry dbp_codec_put_datetime(CodecWriter *w, CodecType *type,
									 Datum value);
extern JEntry dbp_codec_put_interval(CodecWriter *w, const Interval *value);
extern JEntry dbp_codec_put_redacted(CodecWriter *w);
extern JEntry dbp_codec_put_omitted(CodecWriter *w, CodecType *type,
									Datum value);

/*
 * Settings that output and input functions look at, set to fixed values for
 * the time of one row.
 */
typedef struct CodecPins
{
	int			datestyle;
	int			intervalstyle;
	int			float_digits;
	int			bytea_out;
	int			xml_option;
	bool		array_nulls;
	bool		quote_all;
	pg_tz	   *timezone;
	int			nestlevel;		/* GUC nest level, 0 if none */
} CodecPins;

extern void dbp_codec_pin(CodecPins *pins, bool hard);
extern void dbp_codec_unpin(CodecPins *pins, bool ok);

#endif							/* DBP_CODEC_IMPL_H */

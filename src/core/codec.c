/*-------------------------------------------------------------------------
 *
 * codec.c
 *	  Codecs: making them, their key layouts, encoding a row.
 *
 * An image is written straight in the on-disk format of JSONB: no tree of
 * JsonbValues, no sorting and no catalog look-up per row.  The hard idea is
 * the layout: keys are sorted when the codec is made, so the header, the
 * entries of the keys and the keys themselves are the same bytes for every
 * row and are copied in one go; only the values follow.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/codec.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "compat/compat.h"
#include "core/codec_impl.h"

/* a row image that was larger does not make the next buffer large */
#define MAX_SIZE_HINT	8192

/*
 * Buffers double, which stays below the allocation limit of 1 GB: no image
 * exceeds JENTRY_OFFLENMASK (256 MB).
 */
void
dbp_writer_grow(CodecWriter *w, uint32 more)
{
	w->cap = Max(w->cap * 2, w->len + more);
	w->buf = repalloc(w->buf, w->cap);
}

void
dbp_container_begin(CodecWriter *w, CodecContainer *c, uint32 header,
					int nchildren)
{
	uint32		size = sizeof(uint32) + nchildren * sizeof(JEntry);

	c->start = w->len;
	writer_align(w);
	*(uint32 *) writer_room(w, size) = header;
	c->entries = w->len + sizeof(uint32);
	c->total = 0;
	c->n = 0;
	w->len += size;
}

JEntry
dbp_container_end(CodecWriter *w, CodecContainer *c)
{
	return JENTRY_ISCONTAINER | (w->len - c->start);
}

/* jsonb's order of keys: shorter first, then by bytes. */
static int
key_compare(const CodecColumn *a, const CodecColumn *b)
{
	if (a->namelen != b->namelen)
		return a->namelen - b->namelen;
	return memcmp(a->name, b->name, a->namelen);
}

static int
attno_compare(const void *a, const void *b, void *arg)
{
	const CodecColumn *cols = arg;
	int			x = *(const int *) a;
	int			y = *(const int *) b;
	int			cmp = key_compare(&cols[x], &cols[y]);

	return cmp != 0 ? cmp : x - y;
}

/*
 * A record made by a query may have a name twice; as everywhere in JSONB the
 * last one wins.
 */
static int
drop_duplicate_keys(CodecColumn *cols, int *attnos, int n)
{
	int			kept = 0;

	for (int i = 0; i < n; i++)
	{
		if (i + 1 < n && key_compare(&cols[attnos[i]], &cols[attnos[i + 1]]) == 0)
			cols[attnos[i]].used = false;
		else
			attnos[kept++] = attnos[i];
	}
	return kept;
}

/* Write the constant part of an image for the columns in layout->attnos. */
static void
layout_build(DbpCodec *codec, CodecLayout *layout)
{
	CodecWriter w = {0};
	CodecContainer root;
	MemoryContext old = MemoryContextSwitchTo(codec->cxt);

	w.cap = 256;
	w.buf = palloc(w.cap);
	w.limit = PG_UINT32_MAX;
	w.len = VARHDRSZ;
	dbp_container_begin(&w, &root, layout->n | JB_FOBJECT, layout->n * 2);
	layout->output = layout->hard = false;
	for (int i = 0; i < layout->n; i++)
	{
		CodecColumn *col = &codec->cols[layout->attnos[i]];

		container_add(&w, &root,
					  dbp_codec_put_string(&w, col->name, col->namelen));
		if (col->type.out != NULL && !col->redacted)
		{
			layout->output = true;
			layout->hard |= col->type.hard;
		}
	}
	if (layout->head != NULL)
		pfree(layout->head);
	layout->head = w.buf;
	layout->headlen = w.len;
	layout->keybytes = root.total;
	MemoryContextSwitchTo(old);
}

DbpCodec *
dbp_codec_create(TupleDesc desc, const bool *skip, const bool *redact,
				 MemoryContext cxt)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);
	DbpCodec   *codec = palloc0(sizeof(DbpCodec));
	CodecLayout *full = &codec->full;

	codec->cxt = cxt;
	codec->natts = desc->natts;
	codec->cols = palloc0(sizeof(CodecColumn) * Max(desc->natts, 1));
	full->attnos = palloc(sizeof(int) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		CodecColumn *col = &codec->cols[i];

		col->name = pstrdup(NameStr(att->attname));
		col->namelen = strlen(col->name);
		col->type.typlen = att->attlen;
		col->type.typbyval = att->attbyval;
		col->type.typalign = att->attalign;
		if (att->attisdropped)
			continue;
		dbp_codec_type_init(&col->type, att->atttypid, att->atttypmod, cxt);
		if (att->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL ||
			(skip != NULL && skip[i]))
			continue;
		col->used = true;
		col->redacted = redact != NULL && redact[i];
		codec->hard |= col->type.hard;
		full->attnos[full->n++] = i;
	}
	qsort_arg(full->attnos, full->n, sizeof(int), attno_compare, codec->cols);
	full->n = drop_duplicate_keys(codec->cols, full->attnos, full->n);
	layout_build(codec, full);
	MemoryContextSwitchTo(old);
	return codec;
}

static CodecLayout *
layout_for_pick(DbpCodec *codec, const bool *pick)
{
	Size		size = sizeof(bool) * Max(codec->natts, 1);
	CodecPick  *slot;

	for (int i = 0; i < CODEC_PICKS; i++)
	{
		slot = &codec->picks[i];
		if (slot->valid && memcmp(slot->pick, pick, codec->natts) == 0)
			return &slot->layout;
	}

	slot = &codec->picks[codec->nextpick];
	codec->nextpick = (codec->nextpick + 1) % CODEC_PICKS;
	slot->valid = false;
	if (slot->pick == NULL)
		slot->pick = MemoryContextAlloc(codec->cxt, size);
	if (slot->layout.attnos == NULL)
		slot->layout.attnos = MemoryContextAlloc(codec->cxt,
												 sizeof(int) * Max(codec->natts, 1));
	memcpy(slot->pick, pick, codec->natts);
	slot->layout.n = 0;
	for (int i = 0; i < codec->full.n; i++)
	{
		if (pick[codec->full.attnos[i]])
			slot->layout.attnos[slot->layout.n++] = codec->full.attnos[i];
	}
	layout_build(codec, &slot->layout);
	slot->valid = true;
	return &slot->layout;
}

/*
 * Append the values of the row.  Every value may use what is left of the
 * 256 MB of an image, less the room for one marker per column, which is what
 * a value that does not fit is replaced by.
 */
static void
encode_values(CodecWriter *w, CodecContainer *root, DbpCodec *codec,
			  CodecLayout *layout, const Datum *values, const bool *isnull)
{
	uint32		budget = JENTRY_OFFLENMASK - layout->n * CODEC_SMALL;

	for (int i = 0; i < layout->n; i++)
	{
		int			attno = layout->attnos[i];
		CodecColumn *col = &codec->cols[attno];
		uint32		start = w->len;
		JEntry		entry;

		w->limit = Max(Min(start + DBP_CODEC_MAX_VALUE, budget),
					   start + CODEC_SMALL);
		if (col->redacted)
			entry = dbp_codec_put_redacted(w);
		else if (isnull[attno])
			entry = JENTRY_ISNULL;
		else
		{
			entry = dbp_codec_put(w, &col->type, values[attno]);
			if (unlikely(entry == CODEC_TOO_LARGE))
			{
				w->len = start;
				entry = dbp_codec_put_omitted(w, &col->type, values[attno]);
			}
		}
		container_add(w, root, entry);
	}
}

/* Does the row hold a value that goes through an output function? */
static bool
row_needs_pins(DbpCodec *codec, CodecLayout *layout, const bool *isnull)
{
	for (int i = 0; i < layout->n; i++)
	{
		CodecColumn *col = &codec->cols[layout->attnos[i]];

		if (col->type.out != NULL && !col->redacted &&
			!isnull[layout->attnos[i]])
			return true;
	}
	return false;
}

/* The settings are pinned once for the row. */
static void
encode_pinned(CodecWriter *w, CodecContainer *root, DbpCodec *codec,
			  CodecLayout *layout, const Datum *values, const bool *isnull)
{
	CodecPins	pins;

	dbp_codec_pin(&pins, layout->hard);
	PG_TRY();
	{
		encode_values(w, root, codec, layout, values, isnull);
	}
	PG_CATCH();
	{
		dbp_codec_unpin(&pins, false);
		PG_RE_THROW();
	}
	PG_END_TRY();
	dbp_codec_unpin(&pins, true);
}

Jsonb *
dbp_codec_encode(DbpCodec *codec, const Datum *values, const bool *isnull,
				 const bool *pick)
{
	CodecLayout *layout = pick ? layout_for_pick(codec, pick) : &codec->full;
	CodecWriter w;
	CodecContainer root;

	w.cap = Max(codec->sizehint, layout->headlen + layout->n * 12 + 64);
	w.buf = palloc(w.cap);
	memcpy(w.buf, layout->head, layout->headlen);
	w.len = layout->headlen;
	root.start = VARHDRSZ;
	root.entries = VARHDRSZ + sizeof(uint32);
	root.total = layout->keybytes;
	root.n = layout->n;

	if (layout->output && row_needs_pins(codec, layout, isnull))
		encode_pinned(&w, &root, codec, layout, values, isnull);
	else
		encode_values(&w, &root, codec, layout, values, isnull);

	codec->sizehint = Min(w.len, MAX_SIZE_HINT);
	SET_VARSIZE(w.buf, w.len);
	return (Jsonb *) w.buf;
}

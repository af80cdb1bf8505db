/*-------------------------------------------------------------------------
 *
 * codec_time.c
 *	  How dates, times and intervals are written.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/codec_time.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat/compat.h"
#include "core/codec_impl.h"
#include "miscadmin.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/timestamp.h"

static inline char *
two_digits(char *p, int n)
{
	p[0] = '0' + n / 10;
	p[1] = '0' + n % 10;
	return p + 2;
}

/* False for years that are not of four digits. */
static bool
write_date(char **p, DateADT date)
{
	int			year;
	int			month;
	int			day;

	j2date(date + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	if (unlikely(year < 1 || year > 9999))
		return false;
	*p = two_digits(*p, year / 100);
	*p = two_digits(*p, year % 100);
	*(*p)++ = '-';
	*p = two_digits(*p, month);
	*(*p)++ = '-';
	*p = two_digits(*p, day);
	return true;
}

static void
write_time(char **p, TimeADT time)
{
	int			fraction = time % USECS_PER_SEC;
	int			seconds = time / USECS_PER_SEC;

	*p = two_digits(*p, seconds / SECS_PER_HOUR);
	*(*p)++ = ':';
	*p = two_digits(*p, seconds / SECS_PER_MINUTE % MINS_PER_HOUR);
	*(*p)++ = ':';
	*p = two_digits(*p, seconds % SECS_PER_MINUTE);
	if (fraction != 0)
	{
		*(*p)++ = '.';
		*p = two_digits(*p, fraction / 10000);
		*p = two_digits(*p, fraction / 100 % 100);
		*p = two_digits(*p, fraction % 100);
		while ((*p)[-1] == '0')
			(*p)--;
	}
}

/* False for infinite ones and years that are not of four digits. */
static bool
write_timestamp(char **p, Timestamp ts, bool utc)
{
	int64		date = ts / USECS_PER_DAY;
	int64		time = ts % USECS_PER_DAY;

	if (time < 0)
	{
		date--;
		time += USECS_PER_DAY;
	}
	if (unlikely(TIMESTAMP_NOT_FINITE(ts)) || !write_date(p, date))
		return false;
	*(*p)++ = 'T';
	write_time(p, time);
	if (utc)
	{
		memcpy(*p, "+00:00", 6);
		*p += 6;
	}
	return true;
}

/*
 * Dates and times in ISO 8601; points in time always in UTC.  The common
 * values are written here, the others by the server's general routine, which
 * gives the same text several times slower.
 */
JEntry
dbp_codec_put_datetime(CodecWriter *w, CodecType *type, Datum value)
{
	static const int utc = 0;
	char	   *start = writer_room(w, MAXDATELEN + 1);
	char	   *p = start;
	bool		done = false;
	uint32		len;

	switch (type->cls)
	{
		case CODEC_DATE:
			done = !DATE_NOT_FINITE(DatumGetDateADT(value)) &&
				write_date(&p, DatumGetDateADT(value));
			break;
		case CODEC_TIME:
			write_time(&p, DatumGetTimeADT(value));
			done = true;
			break;
		case CODEC_TIMESTAMP:
			done = write_timestamp(&p, DatumGetTimestamp(value), false);
			break;
		case CODEC_TIMESTAMPTZ:
			done = write_timestamp(&p, DatumGetTimestampTz(value), true);
			break;
		default:
			break;
	}
	if (!done)
	{
		JsonEncodeDateTime(start, value, type->base,
						   type->cls == CODEC_TIMESTAMPTZ ? &utc : NULL);
		p = start + strlen(start);
	}
	len = p - start;
	w->len += len;
	return JENTRY_ISSTRING | len;
}

/*
 * ISO 8601 with a sign per field: the style whose every output reads back
 * exactly, whatever the signs and sizes of the three parts.
 */
JEntry
dbp_codec_put_interval(CodecWriter *w, const Interval *value)
{
	char	   *p = writer_room(w, MAXDATELEN + 1);
	struct pg_itm itm;
	uint32		len;

	if (INTERVAL_IS_NOBEGIN(value))
		strcpy(p, "-infinity");
	else if (INTERVAL_IS_NOEND(value))
		strcpy(p, "infinity");
	else
	{
		interval2itm(*value, &itm);
		EncodeInterval(&itm, INTSTYLE_ISO_8601, p);
	}
	len = strlen(p);
	w->len += len;
	return JENTRY_ISSTRING | len;
}

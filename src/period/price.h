/*-------------------------------------------------------------------------
 *
 * price.h
 *	  Prices that hold for a time.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/period/price.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_PRICE_H
#define DBP_PRICE_H

#include "fmgr.h"
#include "period/portion.h"

/* One call. */
typedef struct PriceCall
{
	PortionEdit edit;
	const char *column;			/* the price, quoted */
	Datum		zone;			/* text: what days are in */
} PriceCall;

extern void dbp_price_open(FunctionCallInfo fcinfo, PriceCall *call, int column_argno);
extern Datum dbp_price_time(PriceCall *call, Datum at);
extern void dbp_price_window(PriceCall *call, Datum before, Datum lookback);

#endif							/* DBP_PRICE_H */

#include "postgres.h"
#include "period/period.h"
void
dbp_period_require_unreferenced(Oid relid)
{
}

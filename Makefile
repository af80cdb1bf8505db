# dbpatterns: build, install and check with PGXS.
#
#   make && make install && make installcheck PG_CONFIG=...   for packagers
#   make demo | test | matrix | bench                         on a bare machine
#
# Every list below is explicit, so that its order is part of the source.

EXTENSION = dbpatterns
EXTVERSION = 0.1.0
MODULE_big = dbpatterns

OBJS = \
	src/dbpatterns.o

# Fragments of the install script, in the order they are concatenated.
INSTALL_SQL = \
	sql/install/00_schema.sql

DATA_built = sql/dbpatterns--$(EXTVERSION).sql
DATA = $(wildcard sql/upgrade/dbpatterns--*--*.sql)

PG_CPPFLAGS = -I$(srcdir)/src -DDBP_VERSION='"$(EXTVERSION)"'

# pg_regress compares test/sql/x.sql with expected/x.out.
REGRESS =
REGRESS_OPTS = --inputdir=test

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(DATA_built): $(INSTALL_SQL) dbpatterns.control
	cat $(INSTALL_SQL) > $@

# dbpatterns: build, install and check with PGXS.
#
#   make && make install && make installcheck PG_CONFIG=...   for packagers
#   make demo | test | matrix | bench | check-rules           on a bare machine
#
# Every list below is explicit, so that its order is part of the source.

EXTENSION = dbpatterns
EXTVERSION = 0.1.0
MODULE_big = dbpatterns

OBJS = \
	src/audit/batch.o \
	src/audit/block.o \
	src/audit/capture.o \
	src/audit/change.o \
	src/audit/check.o \
	src/audit/coverage.o \
	src/audit/ddl.o \
	src/audit/enable.o \
	src/audit/erase.o \
	src/audit/gaps.o \
	src/audit/history.o \
	src/audit/leaf.o \
	src/audit/lives.o \
	src/audit/log.o \
	src/audit/merkle.o \
	src/audit/options.o \
	src/audit/probe.o \
	src/audit/read.o \
	src/audit/replay.o \
	src/audit/restore.o \
	src/audit/scan.o \
	src/audit/seal.o \
	src/audit/shape.o \
	src/audit/slots.o \
	src/audit/state.o \
	src/audit/trail.o \
	src/audit/triggers.o \
	src/audit/txn.o \
	src/audit/undo.o \
	src/audit/verify.o \
	src/audit/write.o \
	src/core/append.o \
	src/core/argument.o \
	src/core/bulk.o \
	src/core/codec.o \
	src/core/codec_key.o \
	src/core/codec_put.o \
	src/core/codec_sql.o \
	src/core/codec_time.o \
	src/core/codec_types.o \
	src/core/ddl.o \
	src/core/decode.o \
	src/core/locks.o \
	src/core/names.o \
	src/core/owner.o \
	src/core/parts.o \
	src/core/progress.o \
	src/core/reader.o \
	src/core/registry.o \
	src/core/relstate.o \
	src/core/sql.o \
	src/core/swap.o \
	src/core/target.o \
	src/core/task.o \
	src/core/trigger.o \
	src/core/version.o \
	src/hierarchy/attach.o \
	src/hierarchy/build.o \
	src/hierarchy/capture.o \
	src/hierarchy/check.o \
	src/hierarchy/closure.o \
	src/hierarchy/columns.o \
	src/hierarchy/compare.o \
	src/hierarchy/convert.o \
	src/hierarchy/convert_closure.o \
	src/hierarchy/convert_forest.o \
	src/hierarchy/convert_tree.o \
	src/hierarchy/counts.o \
	src/hierarchy/counts_table.o \
	src/hierarchy/cycle.o \
	src/hierarchy/ddl.o \
	src/hierarchy/depend.o \
	src/hierarchy/edit.o \
	src/hierarchy/edit_copy.o \
	src/hierarchy/edit_order.o \
	src/hierarchy/edit_subtree.o \
	src/hierarchy/enable.o \
	src/hierarchy/follow.o \
	src/hierarchy/graph.o \
	src/hierarchy/graph_cycles.o \
	src/hierarchy/graph_delta.o \
	src/hierarchy/graph_edges.o \
	src/hierarchy/graph_enable.o \
	src/hierarchy/graph_pairs.o \
	src/hierarchy/graph_rows.o \
	src/hierarchy/graph_whole.o \
	src/hierarchy/hierarchy.o \
	src/hierarchy/install.o \
	src/hierarchy/key.o \
	src/hierarchy/lock.o \
	src/hierarchy/lookup.o \
	src/hierarchy/nested.o \
	src/hierarchy/nested_build.o \
	src/hierarchy/nested_check.o \
	src/hierarchy/nested_enable.o \
	src/hierarchy/nested_gather.o \
	src/hierarchy/nested_label.o \
	src/hierarchy/nested_order.o \
	src/hierarchy/nested_place.o \
	src/hierarchy/nested_readers.o \
	src/hierarchy/nested_row.o \
	src/hierarchy/nested_store.o \
	src/hierarchy/pairs.o \
	src/hierarchy/queue.o \
	src/hierarchy/readers.o \
	src/hierarchy/readers_probe.o \
	src/hierarchy/readers_row.o \
	src/hierarchy/readers_sql.o \
	src/hierarchy/readers_text.o \
	src/hierarchy/rebuild.o \
	src/hierarchy/rows.o \
	src/hierarchy/spec.o \
	src/hierarchy/state.o \
	src/hierarchy/storage.o \
	src/hierarchy/storage_row.o \
	src/hierarchy/sync.o \
	src/hierarchy/tree.o \
	src/hierarchy/triggers.o \
	src/hierarchy/walk.o \
	src/hierarchy/walk_cycles.o \
	src/hierarchy/walk_forest.o \
	src/hierarchy/walk_nodes.o \
	src/hierarchy/walk_read.o \
	src/hierarchy/walk_rows.o \
	src/hierarchy/walk_source.o \
	src/hierarchy/walk_sql.o \
	src/hierarchy/write.o \
	src/period/enable.o \
	src/period/follow.o \
	src/period/foreign.o \
	src/period/foreign_act.o \
	src/period/foreign_check.o \
	src/period/foreign_sql.o \
	src/period/functions.o \
	src/period/normalize.o \
	src/period/period.o \
	src/period/portion.o \
	src/period/portion_sql.o \
	src/period/portion_table.o \
	src/period/portion_view.o \
	src/period/price.o \
	src/period/price_report.o \
	src/period/spec.o \
	src/period/timeline.o \
	src/tenant/admin.o \
	src/tenant/admit.o \
	src/tenant/belongings.o \
	src/tenant/check.o \
	src/tenant/check_roles.o \
	src/tenant/check_ways.o \
	src/tenant/clone.o \
	src/tenant/clone_read.o \
	src/tenant/clone_rights.o \
	src/tenant/context.o \
	src/tenant/database.o \
	src/tenant/enable.o \
	src/tenant/export.o \
	src/tenant/follow.o \
	src/tenant/keys.o \
	src/tenant/life.o \
	src/tenant/limits.o \
	src/tenant/migrate.o \
	src/tenant/mint.o \
	src/tenant/policy.o \
	src/tenant/purge.o \
	src/tenant/residue.o \
	src/tenant/rights.o \
	src/tenant/schema.o \
	src/tenant/script.o \
	src/tenant/settings.o \
	src/tenant/spec.o \
	src/tenant/tenant.o \
	src/tenant/token.o \
	src/tenant/unique.o \
	src/tenant/used.o \
	src/versioning/batch.o \
	src/versioning/capture.o \
	src/versioning/check.o \
	src/versioning/dropin.o \
	src/versioning/dropin_history.o \
	src/versioning/dropin_own.o \
	src/versioning/dropin_period.o \
	src/versioning/dropin_table.o \
	src/versioning/dropin_write.o \
	src/versioning/enable.o \
	src/versioning/follow.o \
	src/versioning/functions.o \
	src/versioning/history.o \
	src/versioning/keep.o \
	src/versioning/options.o \
	src/versioning/past.o \
	src/versioning/range.o \
	src/versioning/rights.o \
	src/versioning/state.o \
	src/versioning/system_time.o \
	src/versioning/table.o \
	src/versioning/time.o \
	src/versioning/triggers.o \
	src/versioning/versioning.o \
	src/worker/worker.o \
	src/dbpatterns.o

# Fragments of the install script, in the order they are concatenated.
INSTALL_SQL = \
	sql/install/00_schema.sql \
	sql/install/10_codec.sql \
	sql/install/20_registry.sql \
	sql/install/30_audit.sql \
	sql/install/31_audit_read.sql \
	sql/install/32_audit_seal.sql \
	sql/install/40_closure.sql \
	sql/install/41_closure_maintain.sql \
	sql/install/42_closure_edit.sql \
	sql/install/43_closure_graph.sql \
	sql/install/44_closure_read.sql \
	sql/install/50_nested_set.sql \
	sql/install/51_adjacency.sql \
	sql/install/52_hierarchy_convert.sql \
	sql/install/60_tenant.sql \
	sql/install/61_tenant_enable.sql \
	sql/install/62_tenant_check.sql \
	sql/install/63_tenant_life.sql \
	sql/install/64_tenant_schema.sql \
	sql/install/65_tenant_migrate.sql \
	sql/install/66_tenant_database.sql \
	sql/install/70_versioning.sql \
	sql/install/71_versioning_read.sql \
	sql/install/72_versioning_dropin.sql \
	sql/install/75_period.sql \
	sql/install/76_period_fk.sql \
	sql/install/77_portion.sql \
	sql/install/78_price.sql \
	sql/install/99_privileges.sql

DATA_built = sql/dbpatterns--$(EXTVERSION).sql
DATA = $(wildcard sql/upgrade/dbpatterns--*--*.sql)

PG_CPPFLAGS = -I$(srcdir)/src -DDBP_VERSION='"$(EXTVERSION)"'

# Both compare with expected/: test/sql/x.sql, test/isolation/specs/x-y.spec.
REGRESS = core_install core_codec core_codec_limits core_codec_random \
	audit_dml audit_batch audit_partition audit_cascade audit_txn audit_options \
	audit_refused audit_write audit_schema audit_rights audit_maintain audit_values \
	audit_read audit_read_past audit_read_gaps audit_read_rights audit_undo \
	audit_seal audit_seal_purge audit_erase \
	hierarchy_enable hierarchy_refused hierarchy_ddl hierarchy_tree \
	hierarchy_arrival hierarchy_keys hierarchy_delete hierarchy_objects \
	hierarchy_rights hierarchy_hostile hierarchy_check hierarchy_sync \
	hierarchy_rebuild hierarchy_read hierarchy_read_keys \
	hierarchy_read_graph hierarchy_edit hierarchy_counts hierarchy_convert \
	hierarchy_walk hierarchy_graph hierarchy_nested \
	tenant_context tenant_token tenant_forge tenant_enable tenant_keys \
	tenant_follow tenant_check tenant_check_reach \
	tenant_check_remedy tenant_statements tenant_life tenant_schema \
	tenant_clone tenant_wall \
	tenant_migrate \
	versioning_enable versioning_dml versioning_alter versioning_partition \
	versioning_read versioning_keep versioning_rights \
	versioning_dropin versioning_dropin_history versioning_dropin_rights \
	versioning_dropin_partition versioning_dropin_current \
	period_enable period_fk period_timeline period_portion period_portion_hard \
	period_price core_registry
REGRESS_OPTS = --inputdir=test
ISOLATION = core-install audit-order audit-serializable audit-alter audit-enable \
	audit-gaps audit-maintain audit-partition audit-seal hierarchy-counts \
	hierarchy-edit hierarchy-enable hierarchy-graph hierarchy-insert \
	hierarchy-move hierarchy-nested hierarchy-rebuild hierarchy-snapshot \
	period-fk period-portion tenant-keys tenant-migrate tenant-purge tenant-schema \
	versioning-alter versioning-dropin versioning-order
ISOLATION_OPTS = --inputdir=test/isolation --outputdir=.
TAP_TESTS = 1
PROVE_TESTS = test/tap/*.pl

# The commands of the second group find or install PostgreSQL themselves.
BARE_GOALS = demo test matrix bench check-rules

PG_CONFIG ?= pg_config
ifeq ($(filter $(BARE_GOALS),$(MAKECMDGOALS)),)
PGXS := $(shell $(PG_CONFIG) --pgxs)
$(if $(PGXS),,$(error $(PG_CONFIG) not found: install postgresql-server-dev-NN, or give PG_CONFIG=/path/to/pg_config))
include $(PGXS)
endif

# Every object is built anew when a header changes: few files, no surprises.
$(OBJS): $(wildcard src/*/*.h)

$(DATA_built): $(INSTALL_SQL) dbpatterns.control
	cat $(INSTALL_SQL) > $@

demo test matrix:
	@bash test/setup/$@.sh
bench:
	@bash test/bench/run.sh
check-rules:
	@bash test/check/rules.sh

.PHONY: $(BARE_GOALS)

-- Audit trail: sealing, verifying, erasing.

-- Blocks.  Leaves, the rows of audit_log, are ordered by (txn, id).  A block
-- covers those after (from_txn, from_id) up to and including (upto_txn, upto_id).
-- A block whose root is NULL waits for the transactions that were running
-- when its upper end was drawn: those below fence in the cluster "system".
CREATE TABLE _dbpatterns.audit_block (
    block      bigint PRIMARY KEY,
    from_txn   bigint NOT NULL,
    from_id    bigint NOT NULL,
    upto_txn   bigint NOT NULL,
    upto_id    bigint NOT NULL,
    system     bigint NOT NULL,
    fence      xid8 NOT NULL,
    leaves     integer,
    entries    integer,      -- leaves that are no W rows
    first_time timestamptz,  -- oldest and newest transaction start
    last_time  timestamptz,
    root       bytea,
    previous   bytea,        -- hash of the block before
    hash       bytea,
    sealed_at  timestamptz,
    salts      bytea,        -- 20 bytes a leaf: its salt, and 4 bytes of its hash
    purged     bigint,       -- change that removed all of its leaves, and its salts
    UNIQUE (upto_txn, upto_id)
);
ALTER TABLE _dbpatterns.audit_block ALTER COLUMN salts SET STORAGE EXTERNAL;
SELECT pg_catalog.pg_extension_config_dump('_dbpatterns.audit_block', '');

-- Sealed leaves that were changed since: what verifying needs instead of what
-- is gone.  Each step of a leaf belongs to a change, an erasure or a purge,
-- which has a marker in the log (its number is in old_row_key there).
CREATE TABLE _dbpatterns.audit_leaf (
    block  bigint NOT NULL,
    leaf   integer NOT NULL,
    step   integer NOT NULL,
    change bigint NOT NULL,
    hash   bytea NOT NULL,   -- of the payload before it was erased; of a purged leaf
    now    bytea,            -- of the payload afterwards; NULL: purged
    PRIMARY KEY (block, leaf, step)
);
SELECT pg_catalog.pg_extension_config_dump('_dbpatterns.audit_leaf', '');

CREATE TRIGGER dbpatterns_guard BEFORE UPDATE OR DELETE ON _dbpatterns.audit_block
    FOR EACH ROW EXECUTE FUNCTION _dbpatterns.audit_guard();
CREATE TRIGGER dbpatterns_guard_truncate BEFORE TRUNCATE ON _dbpatterns.audit_block
    FOR EACH STATEMENT EXECUTE FUNCTION _dbpatterns.audit_guard();
CREATE TRIGGER dbpatterns_guard BEFORE UPDATE OR DELETE ON _dbpatterns.audit_leaf
    FOR EACH ROW EXECUTE FUNCTION _dbpatterns.audit_guard();
CREATE TRIGGER dbpatterns_guard_truncate BEFORE TRUNCATE ON _dbpatterns.audit_leaf
    FOR EACH STATEMENT EXECUTE FUNCTION _dbpatterns.audit_guard();

CREATE FUNCTION dbpatterns.audit_seal(
    OUT block bigint, OUT entries bigint, OUT hash text, OUT sealed_at timestamptz)
RETURNS record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_audit_seal';
COMMENT ON FUNCTION dbpatterns.audit_seal() IS
    'seals what was logged since the last call and returns the newest block; NULL when nothing can be sealed yet';

CREATE FUNCTION dbpatterns.audit_digest(block bigint DEFAULT NULL) RETURNS jsonb
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_audit_digest';
COMMENT ON FUNCTION dbpatterns.audit_digest(bigint) IS
    'what to store elsewhere to prove later that a sealed block, and all before it, are unchanged';

CREATE FUNCTION dbpatterns.audit_verify(
    from_block bigint DEFAULT NULL,
    to_block bigint DEFAULT NULL,
    digest jsonb DEFAULT NULL,
    OUT block bigint, OUT ok boolean, OUT problem text)
RETURNS SETOF record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_audit_verify';
COMMENT ON FUNCTION dbpatterns.audit_verify(bigint, bigint, jsonb) IS
    'whether sealed blocks are what they were when they were sealed';

CREATE FUNCTION dbpatterns.audit_erase(
    target regclass,
    key jsonb,
    reason text,
    columns name[] DEFAULT NULL)
RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_audit_erase';
COMMENT ON FUNCTION dbpatterns.audit_erase(regclass, jsonb, text, name[]) IS
    'removes values of a row from its log entries and logs that; NULL columns: all, the key included';

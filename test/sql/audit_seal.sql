-- Sealing the log and proving that nobody changed it.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/audit.sql'
\i :include
\set include :srcdir '/sql/include/seal.sql'
\i :include

-- Nothing to seal, nothing to verify.
SELECT dbpatterns.audit_digest();
SELECT * FROM verify();

CREATE TABLE account (id int PRIMARY KEY, owner text, balance numeric);
SELECT dbpatterns.audit_enable('account');
INSERT INTO account VALUES (1, 'Ann', 100), (2, 'Bob', 50), (3, 'Cem', 0);
SELECT * FROM seal();
SELECT dbpatterns.audit_seal();
SELECT hash ~ '^[0-9a-f]{64}$' AS hash, sealed_at <= now() AS past
  FROM jsonb_to_record(dbpatterns.audit_digest()) d (hash text, sealed_at timestamptz);

-- Each block covers what was logged since the one before.  A transaction that
-- has written entries itself cannot seal them yet.
BEGIN;
UPDATE account SET balance = balance - 10 WHERE id = 1;
SELECT dbpatterns.audit_seal();
UPDATE account SET balance = balance + 10 WHERE id = 2;
COMMIT;
SELECT * FROM seal();
-- One that seals first can, and what it logs afterwards comes later.
INSERT INTO account VALUES (4, 'Dan', 1);
BEGIN;
SELECT * FROM seal();
INSERT INTO account VALUES (6, 'Fay', 1);
SELECT dbpatterns.audit_seal();
COMMIT;
-- Everything after a rollback, and nothing of it.
INSERT INTO account VALUES (5, 'Eve', 1);
BEGIN;
UPDATE account SET balance = 7 WHERE id = 5;
SAVEPOINT s;
DELETE FROM account WHERE id = 5;
ROLLBACK TO s;
UPDATE account SET balance = 8 WHERE id = 5;
COMMIT;
SELECT * FROM seal();
SELECT * FROM verify();
SELECT dbpatterns.audit_digest() AS digest \gset
SELECT :'digest'::jsonb ->> 'block' AS block, :'digest'::jsonb = dbpatterns.audit_digest(5) AS same;
SELECT * FROM verify(2, 5, :'digest');

-- The number of leaves: entries, and the records of who and when.
SELECT block, leaves, entries, length(salts) = 20 * leaves AS salted FROM _dbpatterns.audit_block ORDER BY 1;

-- A value, a name, a time, an operation, a number: whatever is changed.
BEGIN;
SELECT tamper($$UPDATE _dbpatterns.audit_log SET new = jsonb_set(new, '{balance}', '101') WHERE new ->> 'owner' = 'Ann'$$);
SELECT * FROM verify();
-- The entry is named.
SELECT e.op, e.new FROM dbpatterns.audit_verify() v
  JOIN _dbpatterns.audit_log e ON v.problem ~ format('^entry %s of transaction %s ', e.id, e.txn);
ROLLBACK;
BEGIN;
SELECT tamper($$UPDATE _dbpatterns.audit_log SET new = jsonb_set(new, '{balance}', '0.0') WHERE new ->> 'owner' = 'Cem'$$);
SELECT * FROM verify() WHERE NOT ok;
ROLLBACK;
BEGIN;
SELECT tamper($$UPDATE _dbpatterns.audit_log SET op = 'D' WHERE new ->> 'owner' = 'Bob'$$);
SELECT * FROM verify() WHERE NOT ok;
ROLLBACK;
BEGIN;
SELECT tamper($$UPDATE _dbpatterns.audit_log SET row_key = row_key + 1 WHERE new ->> 'owner' = 'Bob'$$);
SELECT * FROM verify() WHERE NOT ok;
ROLLBACK;
BEGIN;
SELECT tamper($$UPDATE _dbpatterns.audit_log SET xact_time = xact_time + interval '1 us' WHERE new ->> 'owner' = 'Bob'$$);
SELECT * FROM verify() WHERE NOT ok;
ROLLBACK;
BEGIN;
SELECT tamper($$UPDATE _dbpatterns.audit_log SET txn = txn + 1 WHERE new ->> 'owner' = 'Bob'$$);
SELECT * FROM verify() WHERE NOT ok;
ROLLBACK;
BEGIN;
SELECT tamper($$UPDATE _dbpatterns.audit_log SET login_role = 'somebody' WHERE id = (SELECT max(id) FROM _dbpatterns.audit_log WHERE xid IS NOT NULL)$$);
SELECT * FROM verify() WHERE NOT ok;
ROLLBACK;
BEGIN;
SELECT tamper($$UPDATE _dbpatterns.audit_shape SET columns[2] = 'payer'$$);
SELECT * FROM verify();
ROLLBACK;

-- Entries removed, added, exchanged.
BEGIN;
SELECT tamper($$DELETE FROM _dbpatterns.audit_log WHERE new ->> 'owner' = 'Bob'$$);
SELECT * FROM verify() WHERE NOT ok;
ROLLBACK;
BEGIN;
SELECT tamper($$DELETE FROM _dbpatterns.audit_log WHERE new ->> 'balance' = '8'$$);
SELECT * FROM verify() WHERE NOT ok;
ROLLBACK;
BEGIN;
SELECT tamper($$DELETE FROM _dbpatterns.audit_log WHERE op <> 'M'$$);
SELECT * FROM verify();
ROLLBACK;
BEGIN;
INSERT INTO _dbpatterns.audit_log SELECT xact_time, id + 100, txn, statement_time, row_key, old_row_key, shape, op, old, new
  FROM _dbpatterns.audit_log WHERE new ->> 'owner' = 'Bob';
SELECT * FROM verify() WHERE NOT ok;
ROLLBACK;
BEGIN;
INSERT INTO _dbpatterns.audit_log SELECT xact_time, -1, -1, statement_time, row_key, old_row_key, shape, op, old, new
  FROM _dbpatterns.audit_log WHERE new ->> 'owner' = 'Bob';
SELECT * FROM verify() WHERE NOT ok;
ROLLBACK;
BEGIN;
SELECT tamper($$UPDATE _dbpatterns.audit_log a SET new = b.new, row_key = b.row_key FROM _dbpatterns.audit_log b
                 WHERE a.op = 'I' AND b.op = 'I' AND a.new ->> 'id' IN ('1', '3')
                   AND (b.new ->> 'id')::int = 4 - (a.new ->> 'id')::int$$);
SELECT * FROM verify() WHERE NOT ok;
ROLLBACK;

-- Anybody can compute the hashes, as docs/reference/audit-sealing.md says.
CREATE FUNCTION opt(value bytea) RETURNS bytea LANGUAGE sql AS
    $$ SELECT CASE WHEN value IS NULL THEN '\x00' ELSE '\x01' || value END $$;
CREATE FUNCTION str(value text) RETURNS bytea LANGUAGE sql AS
    $$ SELECT int4send(octet_length(convert_to(value, 'UTF8'))) || convert_to(value, 'UTF8') $$;
CREATE FUNCTION leaf_hashes(from_txn bigint, from_id bigint, upto_txn bigint, upto_id bigint, salts bytea)
RETURNS bytea[] LANGUAGE sql AS $$
    SELECT array_agg(sha256('\x00' || fixed || sha256(substr(salts, 20 * n - 19, 16) || payload)) ORDER BY n)
      FROM (SELECT fixed, payload, (row_number() OVER (ORDER BY txn, number, fixed))::int AS n
              FROM (SELECT txn, id AS number,
                           timestamptz_send(xact_time) || int8send(txn) || int8send(id)
                           || timestamptz_send(coalesce(statement_time, xact_time)) || convert_to(op::text, 'UTF8')
                           || sha256(coalesce((SELECT '\x01' || str(jsonb_build_array(s.shape, s.relation, s.schema_name,
                                      s.table_name, s.table_oid, s.columns, s.types, s.attnums, s.numbers, s.key)::text)
                                      FROM _dbpatterns.audit_shape s WHERE s.shape = e.shape), ''))
                           || CASE WHEN xid IS NULL THEN '\x00' ELSE
                           '\x01' || xid8send(xid) || int4send(pid) || opt(int8send(query_id))
                           || opt(str(client_addr::text)) || opt(str(login_role)) || opt(str(session_role))
                           || opt(str(set_role)) || opt(str(effective_role)) || opt(str(application_name))
                           || opt(str(context::text)) END AS fixed,
                           opt(int8send(row_key)) || opt(int8send(old_row_key))
                           || opt(str(old::text)) || opt(str(new::text)) AS payload
                      FROM _dbpatterns.audit_log e
                     WHERE (txn, id) > ($1, $2) AND (txn, id) <= ($3, $4)) l) o
$$;
CREATE FUNCTION merkle(leaves bytea[]) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
    n int := cardinality(leaves);
    k int := 1;
BEGIN
    IF n = 1 THEN
        RETURN leaves[1];
    END IF;
    WHILE k * 2 < n LOOP
        k := k * 2;
    END LOOP;
    RETURN sha256('\x01' || merkle(leaves[1:k]) || merkle(leaves[k + 1:n]));
END $$;
SELECT block, root = merkle(leaf_hashes(from_txn, from_id, upto_txn, upto_id, salts)) AS root,
       hash = sha256('\x02' || int8send(block) || int8send(from_txn) || int8send(from_id) || int8send(upto_txn)
                     || int8send(upto_id) || int4send(leaves) || int4send(entries) || timestamptz_send(first_time)
                     || timestamptz_send(last_time) || root || coalesce(previous, decode(repeat('00', 32), 'hex'))
                     || timestamptz_send(sealed_at)) AS hash
  FROM _dbpatterns.audit_block ORDER BY 1;

-- The seals themselves.
BEGIN;
SELECT tamper($$UPDATE _dbpatterns.audit_block SET entries = entries + 1 WHERE block = 2$$);
SELECT * FROM verify();
ROLLBACK;
BEGIN;
SELECT tamper($$UPDATE _dbpatterns.audit_block SET salts = set_byte(salts, 0, get_byte(salts, 0) # 1) WHERE block = 2$$);
SELECT * FROM verify();
ROLLBACK;
BEGIN;
SELECT tamper($$UPDATE _dbpatterns.audit_block SET salts = substr(salts, 21) WHERE block = 2$$);
SELECT * FROM verify();
ROLLBACK;
BEGIN;
SELECT tamper($$UPDATE _dbpatterns.audit_block SET root = hash WHERE block = 2$$);
SELECT * FROM verify();
ROLLBACK;
-- The bytes that serve to name the entry are forged, too: the root tells.
BEGIN;
SELECT tamper($$UPDATE _dbpatterns.audit_log SET new = jsonb_set(new, '{balance}', '101') WHERE new ->> 'owner' = 'Ann'$$);
SELECT tamper($$UPDATE _dbpatterns.audit_block b SET salts =
    (SELECT string_agg(substr(b.salts, 20 * n::int - 19, 16) || substr(leaf, 1, 4), '' ORDER BY n)
       FROM unnest(leaf_hashes(from_txn, from_id, upto_txn, upto_id, salts)) WITH ORDINALITY u (leaf, n))
    WHERE block = 1$$);
SELECT * FROM verify();
ROLLBACK;
BEGIN;
SELECT tamper($$DELETE FROM _dbpatterns.audit_block WHERE block = 2$$);
SELECT * FROM verify();
SELECT * FROM verify(3);
ROLLBACK;
BEGIN;
SELECT tamper($$DELETE FROM _dbpatterns.audit_block WHERE block < 3$$);
SELECT * FROM verify();
ROLLBACK;
-- Marked as purged, but nobody has purged.
BEGIN;
SELECT tamper($$UPDATE _dbpatterns.audit_block SET purged = 1, salts = NULL WHERE block = 2$$);
SELECT * FROM verify();
ROLLBACK;
-- An entry whose place is said to be empty for a reason.
BEGIN;
SELECT tamper($$DELETE FROM _dbpatterns.audit_log WHERE new ->> 'owner' = 'Bob'$$);
INSERT INTO _dbpatterns.audit_leaf VALUES (1, 4, 0, 1, sha256('x'), NULL);
SELECT * FROM verify();
ROLLBACK;

-- The last block removed: only a digest kept elsewhere tells.
BEGIN;
SELECT tamper($$DELETE FROM _dbpatterns.audit_block WHERE block = 5$$);
SELECT * FROM verify();
SELECT * FROM verify(digest => :'digest');
SELECT * FROM verify(1, 5);
-- History written and sealed anew: the same.
SELECT tamper($$UPDATE _dbpatterns.audit_log SET new = jsonb_set(new, '{balance}', '1000') WHERE new ->> 'balance' = '8'$$);
COMMIT;
SELECT * FROM seal();
SELECT * FROM verify();
SELECT * FROM verify(digest => :'digest');
SELECT * FROM verify(1, 4, :'digest');

-- More than fits a block is cut, be it one transaction.
INSERT INTO account SELECT i, 'x', i FROM generate_series(100, 40099) i;
SELECT * FROM seal();
SELECT block, leaves, entries, from_txn = upto_txn AS inside FROM _dbpatterns.audit_block WHERE block > 5 ORDER BY 1;
SELECT * FROM verify();
SELECT * FROM verify(7, 7);

-- Bad input.
SELECT refused('SELECT * FROM dbpatterns.audit_verify(0)');
SELECT refused('SELECT * FROM dbpatterns.audit_verify(3, 2)');
SELECT refused('SELECT * FROM dbpatterns.audit_verify(99)');
SELECT refused($$SELECT * FROM dbpatterns.audit_verify(digest => '[]')$$);
SELECT refused($$SELECT * FROM dbpatterns.audit_verify(digest => '{"block": 1}')$$);
SELECT refused($$SELECT * FROM dbpatterns.audit_verify(digest => '{"block": "1", "hash": "00"}')$$);
SELECT refused('SELECT dbpatterns.audit_digest(17)');
SELECT refused('UPDATE _dbpatterns.audit_block SET root = NULL');
SELECT refused('TRUNCATE _dbpatterns.audit_block');
INSERT INTO account VALUES (8, 'Hal', 1);
BEGIN READ ONLY;
SELECT dbpatterns.audit_seal();
ROLLBACK;
-- Isolation levels make no difference.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM seal();
COMMIT;
SELECT * FROM verify(9);

-- Nothing of this is for everybody.
CREATE ROLE regress_dbp_nobody;
SET ROLE regress_dbp_nobody;
SELECT dbpatterns.audit_seal();
SELECT dbpatterns.audit_digest();
SELECT dbpatterns.audit_verify();
SELECT dbpatterns.audit_erase('pg_class', '{}', reason => 'x');
RESET ROLE;
-- Who may call it needs no rights on the log.
GRANT USAGE ON SCHEMA dbpatterns, t TO regress_dbp_nobody;
GRANT EXECUTE ON FUNCTION dbpatterns.audit_seal(), dbpatterns.audit_verify(bigint, bigint, jsonb) TO regress_dbp_nobody;
INSERT INTO account VALUES (9, 'Ida', 1);
SET ROLE regress_dbp_nobody;
SELECT * FROM seal();
SELECT block, ok FROM dbpatterns.audit_verify(10);
RESET ROLE;

DROP OWNED BY regress_dbp_nobody;
DROP ROLE regress_dbp_nobody;
:finish

-- Tokens: what is in them is checked to the last bit, and no error shows any of it.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/tenant.sql'
\i :include

-- Tokens as an application makes them: any header, any payload.
CREATE FUNCTION t.base64url(bytea) RETURNS text LANGUAGE sql AS
    $$ SELECT rtrim(translate(replace(encode($1, 'base64'), E'\n', ''), '+/', '-_'), '=') $$;
CREATE FUNCTION t.xor(b bytea, x int) RETURNS bytea LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 0 .. length(b) - 1 LOOP b := set_byte(b, i, get_byte(b, i) # x); END LOOP;
    RETURN b;
END $$;
CREATE FUNCTION t.hmac(message bytea, secret bytea) RETURNS bytea LANGUAGE sql AS $$
    WITH k AS (SELECT secret || decode(repeat('00', 64 - length(secret)), 'hex') AS key)
    SELECT sha256(t.xor(key, 92) || sha256(t.xor(key, 54) || message)) FROM k
$$;
-- %nonce, %now and %db stand for what they say.
CREATE FUNCTION t.made(header text, payload text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    now bigint := extract(epoch FROM clock_timestamp());
    body text := t.base64url(convert_to(header, 'UTF8')) || '.' ||
        t.base64url(convert_to(replace(replace(replace(payload, '%nonce', dbpatterns.tenant_challenge()),
                                               '%now', now::text), '%db', current_database()), 'UTF8'));
BEGIN
    RETURN body || '.' || t.base64url(t.hmac(convert_to(body, 'UTF8'), (SELECT secret FROM _dbpatterns.tenant_key)));
END $$;
CREATE FUNCTION t.try(token text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    PERFORM dbpatterns.tenant_begin(token);
    RETURN format('tenant %s, user %s', dbpatterns.current_tenant(), dbpatterns.current_user_id());
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
CREATE FUNCTION t.try_payload(payload text) RETURNS text LANGUAGE sql AS
    $$ SELECT t.try(t.made('{"alg": "HS256", "kid": "default"}', payload)) $$;

-- RFC 4231, test case 2, for what makes the signatures here.
SELECT encode(t.hmac('what do ya want for nothing?', 'Jefe'), 'hex');

-- Whole and right, with what other libraries put in.
BEGIN;
SELECT t.try_payload(format('{"tenant":"acme","sub":"ann","aud":"%%db","exp":%s,"iat":%%now,"nonce":"%%nonce","more":{"x":[1]}}',
                            floor(extract(epoch FROM clock_timestamp())) + 30));
ROLLBACK;
BEGIN;
SELECT t.try_payload(format('{"tenant": 42, "sub": 7, "aud": ["x", "%%db"], "iat": %%now, "nbf": %%now, "exp": %s, "nonce": "%%nonce"}',
                            extract(epoch FROM clock_timestamp() + '1 minute')));
ROLLBACK;

-- What is wrong with the payload.
CREATE FUNCTION t.payload(changes jsonb) RETURNS text LANGUAGE sql AS $$
    SELECT (jsonb_build_object('tenant', 'acme', 'aud', current_database(), 'nonce', '%nonce',
                               'iat', floor(extract(epoch FROM clock_timestamp())),
                               'exp', floor(extract(epoch FROM clock_timestamp())) + 30) || changes)::text
$$;
SELECT format('BEGIN; SELECT %L AS changed, t.try_payload(t.payload(%L)); ROLLBACK', c, c) FROM unnest(ARRAY[
    '{}', '{"tenant": null}', '{"tenant": ""}', '{"tenant": true}', '{"tenant": ["a"]}', '{"tenant": {}}',
    '{"sub": false}', '{"sub": null}', '{"aud": "other"}', '{"aud": null}', '{"aud": []}', '{"aud": 1}', '{"aud": {}}',
    '{"exp": 1}', '{"exp": -1}', '{"exp": null}', '{"exp": "soon"}', '{"exp": 1e400}', '{"exp": 9999999999}',
    '{"iat": 9999999999}', '{"iat": null}', '{"iat": "now"}', '{"nbf": 9999999999}', '{"nbf": []}',
    '{"nonce": "guessed"}', '{"nonce": 1}', '{"nonce": null}', '{"nonce": null, "jti": "once"}']) c
\gexec
SELECT format('BEGIN; SELECT %L AS payload, t.try_payload(%L); ROLLBACK', p, p) FROM unnest(ARRAY[
    '', '[]', '1', 'null', '{', '{"tenant": "\u0000"}', '{"tenant": "acme"} x']) p
\gexec

-- What is wrong with the header.
SELECT format('BEGIN; SELECT %L AS header, t.try(t.made(%L, t.payload(''{}''))); ROLLBACK', h, h) FROM unnest(ARRAY[
    '{"alg": "none", "kid": "default"}', '{"alg": "HS512", "kid": "default"}', '{"alg": "hs256", "kid": "default"}',
    '{"kid": "default"}', '{"alg": "HS256"}', '{"alg": "HS256", "kid": "unknown"}', '{"alg": "HS256", "kid": 1}',
    '{"alg": 1, "kid": "default"}', '[]', '', 'x']) h
\gexec

-- Every bit of a token counts, and each of its characters.
BEGIN;
SELECT bool_and(t.try(overlay(token PLACING r.c FROM i)) = '28000 token is not valid') AS all_refused
  FROM t.token('acme') token, LATERAL generate_series(1, length(token)) i,
       LATERAL (SELECT CASE substr(token, i, 1) WHEN 'A' THEN 'B' ELSE 'A' END AS c) r
 -- The last character has two bits that stand for nothing.
 WHERE i < length(token);
SELECT count(*) FILTER (WHERE t.try(left(token, i)) = '28000 token is not valid') = length(token) AS cut_anywhere
  FROM t.token('acme') token, LATERAL generate_series(0, length(token) - 1) i GROUP BY token;
SELECT t.try(x) FROM t.token('acme') token,
    unnest(ARRAY['', '.', '..', '...', token || '.', '.' || token, token || '=', ' ' || token, token || E'\n',
                 repeat('a', 9000), repeat('.', 100)]) x;
ROLLBACK;

-- A token whose signature was refused was not used; one that was taken is.
SELECT t.token('acme') AS token \gset
BEGIN;
SELECT t.try(:'token' || 'A'), t.try(:'token');
ROLLBACK;
BEGIN;
SELECT t.try(:'token');
ROLLBACK;

-- A challenge is answered once, and a new one takes its place.
SELECT t.token('acme') AS token \gset
SELECT length(dbpatterns.tenant_challenge());
BEGIN;
SELECT t.try(:'token');
ROLLBACK;

-- A key that is dropped signs nothing any more; others go on.
SELECT dbpatterns.tenant_key_create('second');
SELECT dbpatterns.tenant_key_create('second');
SELECT dbpatterns.tenant_token('acme', nonce => dbpatterns.tenant_challenge(), kid => 'second') AS token \gset
SELECT dbpatterns.tenant_key_drop('second');
SELECT dbpatterns.tenant_key_drop('second');
BEGIN;
SELECT t.try(:'token');
ROLLBACK;
SELECT dbpatterns.tenant_key_drop(NULL);
SELECT dbpatterns.tenant_key_create(NULL);
SELECT dbpatterns.tenant_key_create(k) FROM unnest('{"",a b,"#c"}'::text[]) k;
SELECT dbpatterns.tenant_key_create('');
SELECT dbpatterns.tenant_key_create('#c');
SELECT dbpatterns.tenant_key_create(repeat('k', 65));

-- Tokens that are not made.
SELECT dbpatterns.tenant_token(NULL);
SELECT dbpatterns.tenant_token('acme', valid => NULL);
SELECT dbpatterns.tenant_token('acme', kid => NULL);
SELECT dbpatterns.tenant_token('acme', kid => 'second');
SELECT dbpatterns.tenant_token('acme', claims => '[]');

-- Claims cannot replace what a token has anyway.
SELECT t.token('acme', 'ann', '{"tenant": "zeta", "sub": "zoe", "aud": "x", "exp": 1, "x": 1}') AS token \gset
BEGIN;
SELECT dbpatterns.tenant_begin(:'token');
SELECT dbpatterns.current_tenant(), dbpatterns.current_user_id(), dbpatterns.current_claim('x');
ROLLBACK;
BEGIN;
SELECT dbpatterns.tenant_begin(NULL);
ROLLBACK;

:finish

-- Who may speak: join tokens, the certificates that hosts use, whose access ended, former names, who
-- holds each host's stream, two that claim one host, and the record of every change of these.
--
-- Whether a certificate is good is decided here, in rowcall.refusal, and nowhere else.

-- Join tokens. What proves that somebody holds one is 32 random bytes, of which only the SHA-256 is
-- kept: nobody finds bytes to a hash, and comparing hashes tells nothing about the bytes.
CREATE TABLE rowcall.token (
    id            text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{16}$'),
    secret_sha256 bytea NOT NULL CHECK (octet_length(secret_sha256) = 32),
    host_glob     text,
    labels        jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(labels) = 'object'),
    uses          integer NOT NULL CHECK (uses > 0),
    used          integer NOT NULL DEFAULT 0 CHECK (used BETWEEN 0 AND uses),
    created_at    timestamptz NOT NULL DEFAULT now(),
    created_by    text NOT NULL,
    expires_at    timestamptz NOT NULL,
    last_used_at  timestamptz,
    revoked_at    timestamptz,
    ephemeral_s   bigint CHECK (ephemeral_s > 0),
    may_replace   boolean NOT NULL DEFAULT false
);

COMMENT ON TABLE rowcall.token IS 'Join tokens; of their secrets only a hash';
COMMENT ON COLUMN rowcall.token.id IS 'What people call it by; not secret';
COMMENT ON COLUMN rowcall.token.secret_sha256 IS 'SHA-256 of its 32 random bytes';
COMMENT ON COLUMN rowcall.token.host_glob IS 'Which names it may enrol, * for any characters, ? for one; NULL: any';
COMMENT ON COLUMN rowcall.token.labels IS 'What its hosts are labelled with';
COMMENT ON COLUMN rowcall.token.uses IS 'How many identities it may make';
COMMENT ON COLUMN rowcall.token.used IS 'How many it made';
COMMENT ON COLUMN rowcall.token.created_by IS 'Identity of who made it';
COMMENT ON COLUMN rowcall.token.ephemeral_s IS 'Its hosts retire themselves after being silent for so long [s]; NULL: they stay';
COMMENT ON COLUMN rowcall.token.may_replace IS 'It may enrol a name that exists';

-- The certificates that were issued here or seen here. One that is not here is as good as its
-- authority says: a restored backup must not lock a fleet out.
CREATE TABLE rowcall.certificate (
    fingerprint     bytea PRIMARY KEY CHECK (octet_length(fingerprint) = 32),
    host_id         integer NOT NULL REFERENCES host_info (id),
    serial          text NOT NULL,
    key_sha256      bytea CHECK (octet_length(key_sha256) = 32),
    not_before      timestamptz NOT NULL,
    not_after       timestamptz NOT NULL,
    origin          text NOT NULL CHECK (origin IN ('enrolled', 'renewed', 'seen')),
    token_id        text,
    issued_at       timestamptz NOT NULL DEFAULT now(),
    last_seen_at    timestamptz,
    revoked_at      timestamptz,
    certificate_der bytea,
    CHECK (origin = 'seen' OR (key_sha256 IS NOT NULL AND certificate_der IS NOT NULL))
) WITH (fillfactor = 80);

-- A key has one certificate: whoever asks again gets the same.
CREATE UNIQUE INDEX certificate_by_key ON rowcall.certificate (key_sha256) WHERE origin <> 'seen';
CREATE INDEX certificate_by_host ON rowcall.certificate (host_id);
-- Few; looked through every 5 s.
CREATE INDEX certificate_revoked ON rowcall.certificate (fingerprint) WHERE revoked_at IS NOT NULL;

COMMENT ON TABLE rowcall.certificate IS 'Certificates of hosts that were issued or seen here';
COMMENT ON COLUMN rowcall.certificate.fingerprint IS 'SHA-256 of the whole certificate, DER';
COMMENT ON COLUMN rowcall.certificate.serial IS 'As openssl shows it';
COMMENT ON COLUMN rowcall.certificate.key_sha256 IS 'SHA-256 of its public key, DER; NULL: seen only';
COMMENT ON COLUMN rowcall.certificate.origin IS 'enrolled, renewed, or seen: somebody else issued it, or this database forgot';
COMMENT ON COLUMN rowcall.certificate.token_id IS 'The token that it was traded for';
COMMENT ON COLUMN rowcall.certificate.last_seen_at IS 'When it last opened a stream, to the hour; NULL: never';
COMMENT ON COLUMN rowcall.certificate.revoked_at IS 'Since when it is refused on its own, as after another enrolment of its host';
COMMENT ON COLUMN rowcall.certificate.certificate_der IS 'The certificate itself, for who asks again; NULL: seen only';

-- What people, or an enrolment, said of a host's access. No row: nothing.
CREATE TABLE rowcall.host_access (
    host_id        integer PRIMARY KEY REFERENCES host_info (id),
    ended_at       timestamptz,
    ended_why      text CHECK (ended_why IN ('revoked', 'retired')),
    reason         text,
    refused_before timestamptz,
    ephemeral_s    bigint CHECK (ephemeral_s > 0),
    CHECK ((ended_at IS NULL) = (ended_why IS NULL))
);

-- Few; looked through every 5 s.
CREATE INDEX host_access_refused ON rowcall.host_access (host_id) WHERE ended_at IS NOT NULL OR refused_before IS NOT NULL;

COMMENT ON TABLE rowcall.host_access IS 'What was said of a host''s access; no row: nothing';
COMMENT ON COLUMN rowcall.host_access.ended_at IS 'Since when all its certificates are refused; NULL: they are not';
COMMENT ON COLUMN rowcall.host_access.ended_why IS 'revoked, retired';
COMMENT ON COLUMN rowcall.host_access.reason IS 'In the words of who ended it';
COMMENT ON COLUMN rowcall.host_access.refused_before IS 'Certificates that are not in rowcall.certificate and began before are refused: the host was enrolled anew';
COMMENT ON COLUMN rowcall.host_access.ephemeral_s IS 'The host retires itself after being silent for so long [s]; NULL: it stays';

-- A name belongs to one host for ever: certificates of a former name go on to speak for it.
CREATE TABLE rowcall.host_alias (
    name    text PRIMARY KEY CHECK (name ~ '^[a-z0-9._-]{1,253}$'),
    host_id integer NOT NULL REFERENCES host_info (id)
);

CREATE INDEX host_alias_by_host ON rowcall.host_alias (host_id);

COMMENT ON TABLE rowcall.host_alias IS 'Names that hosts had before';

-- Who holds each host's stream. One row per host, updated in place at each Hello: no index on what
-- changes, and room on the page, keep the updates HOT.
CREATE TABLE rowcall.session (
    host_id        integer PRIMARY KEY REFERENCES host_info (id),
    run            bigint NOT NULL,
    aggregator     text NOT NULL,
    aggregator_run bigint NOT NULL,
    peer           text NOT NULL,
    machine_id     text,
    opened_at      timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

COMMENT ON TABLE rowcall.session IS 'Who holds each host''s stream; true only while that aggregator lives (rowcall.holds)';
COMMENT ON COLUMN rowcall.session.run IS 'rowcall.run.run: the agent''s process';
COMMENT ON COLUMN rowcall.session.aggregator_run IS 'rowcall.aggregator_span.run: the aggregator''s process';
COMMENT ON COLUMN rowcall.session.peer IS 'Address that the stream comes from';

-- Agents that were refused because another one held their host's stream. One row per process and
-- stretch of time.
CREATE TABLE rowcall.conflict (
    host_id             integer NOT NULL REFERENCES host_info (id),
    newcomer_run        bigint NOT NULL,
    first_at            timestamptz NOT NULL DEFAULT now(),
    last_at             timestamptz NOT NULL DEFAULT now(),
    attempts            bigint NOT NULL DEFAULT 1,
    holder_run          bigint NOT NULL,
    holder_peer         text NOT NULL,
    holder_machine_id   text,
    newcomer_peer       text NOT NULL,
    newcomer_machine_id text,
    resolved_at         timestamptz,
    PRIMARY KEY (host_id, newcomer_run, first_at)
);

CREATE INDEX conflict_by_time ON rowcall.conflict (last_at);

COMMENT ON TABLE rowcall.conflict IS 'Agents that were refused because another one held their host''s stream';
COMMENT ON COLUMN rowcall.conflict.attempts IS 'How often that was recorded; an aggregator does so once in 10 s';
COMMENT ON COLUMN rowcall.conflict.resolved_at IS 'When another one than the holder got the stream; NULL: not since';

-- Every change of tokens, hosts and keys, and every refused one. Only ever added to.
CREATE TABLE rowcall.audit (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    identity   text NOT NULL,
    peer       text NOT NULL,
    aggregator text NOT NULL,
    action     text NOT NULL,
    target     text NOT NULL,
    result     text NOT NULL,
    detail     text NOT NULL
);

CREATE INDEX audit_by_time ON rowcall.audit (at);
CREATE INDEX audit_by_target ON rowcall.audit (target, at);

COMMENT ON TABLE rowcall.audit IS 'Every change of tokens, hosts and keys; rows are added and nothing else, and kept for ever';
COMMENT ON COLUMN rowcall.audit.identity IS 'Who, by certificate or token; rowcall: the aggregator by itself';
COMMENT ON COLUMN rowcall.audit.peer IS 'Address that it came from';
COMMENT ON COLUMN rowcall.audit.action IS 'token.create, token.revoke, host.enroll, host.renew, host.revoke, host.restore, host.retire, host.rename, host.label';
COMMENT ON COLUMN rowcall.audit.target IS 'Name of the host, or id of the token';
COMMENT ON COLUMN rowcall.audit.result IS 'ok, or refused and why';

CREATE FUNCTION rowcall.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE insufficient_privilege USING MESSAGE = format('rowcall.audit is only added to: %s is refused', TG_OP);
END
$$;

COMMENT ON FUNCTION rowcall.refuse_change() IS 'Keeps rowcall.audit as it is';

CREATE TRIGGER only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON rowcall.audit
FOR EACH STATEMENT EXECUTE FUNCTION rowcall.refuse_change();
-- Also while a session plays a replica (session_replication_role).
ALTER TABLE rowcall.audit ENABLE ALWAYS TRIGGER only_added_to;

-- The host that a name means, now or formerly. NULL: none.
CREATE FUNCTION rowcall.host_named(name text) RETURNS integer
LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT h.id FROM public.host_info AS h WHERE h.hostname = host_named.name),
                    (SELECT a.host_id FROM rowcall.host_alias AS a WHERE a.name = host_named.name))
$$;

COMMENT ON FUNCTION rowcall.host_named(text) IS 'The host that has a name or had it; NULL: none';

-- Why a host may not use a certificate; no row: it may. Without SET, so that it becomes part of the
-- query that asks.
CREATE FUNCTION rowcall.refusal(host_id integer, fingerprint bytea, not_before timestamptz)
RETURNS TABLE (why text, since timestamptz, reason text)
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN a.ended_at IS NOT NULL THEN a.ended_why
                WHEN c.revoked_at > a.refused_before OR a.refused_before IS NULL THEN 'certificate'
                ELSE 'replaced' END,
           coalesce(a.ended_at, c.revoked_at, a.refused_before),
           coalesce(a.reason, '')
      FROM (VALUES (1)) AS one (row)
      LEFT JOIN rowcall.host_access AS a ON a.host_id = refusal.host_id
      LEFT JOIN rowcall.certificate AS c ON c.fingerprint = refusal.fingerprint
     WHERE a.ended_at IS NOT NULL
        OR c.revoked_at IS NOT NULL
        OR (c.fingerprint IS NULL AND refusal.not_before < a.refused_before)
$$;

COMMENT ON FUNCTION rowcall.refusal(integer, bytea, timestamptz) IS 'Why a host may not use a certificate: revoked, retired (the host is), certificate (it is revoked), replaced (the host was enrolled anew since); no row: it may';

-- Whether what stands in rowcall.session is true: its aggregator was heard of within 60 s, in its
-- span or by opening that very session, and did not stop since.
CREATE FUNCTION rowcall.holds(aggregator text, aggregator_run bigint, opened_at timestamptz) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT coalesce((
        SELECT NOT s.stopped AND greatest(s.through_ts, holds.opened_at) > now() - interval '60 seconds'
          FROM rowcall.aggregator_span AS s
         WHERE s.aggregator = holds.aggregator AND s.run = holds.aggregator_run
         ORDER BY s.id DESC LIMIT 1
    ), holds.opened_at > now() - interval '60 seconds')
$$;

COMMENT ON FUNCTION rowcall.holds(text, bigint, timestamptz) IS 'Whether the aggregator that holds a session still lives';

-- What nobody needs any more. rowcall.audit is not touched.
CREATE FUNCTION rowcall.forget_access() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    gone      bigint;
    forgotten bigint := 0;
BEGIN
    DELETE FROM rowcall.token
     WHERE id IN (
         SELECT id FROM rowcall.token
          WHERE least(expires_at, revoked_at, CASE WHEN used >= uses THEN last_used_at END) < now() - interval '1 year'
          LIMIT 10000 FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS gone = ROW_COUNT;
    forgotten := forgotten + gone;
    -- Until then an expired one may be renewed.
    DELETE FROM rowcall.certificate
     WHERE fingerprint IN (
         SELECT fingerprint FROM rowcall.certificate
          WHERE not_after < now() - interval '90 days'
          LIMIT 10000 FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS gone = ROW_COUNT;
    forgotten := forgotten + gone;
    DELETE FROM rowcall.conflict
     WHERE ctid = ANY (ARRAY(
         SELECT ctid FROM rowcall.conflict
          WHERE last_at < now() - interval '1 year'
          LIMIT 10000 FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS gone = ROW_COUNT;
    forgotten := forgotten + gone;
    DELETE FROM rowcall.session
     WHERE host_id IN (
         SELECT s.host_id FROM rowcall.session AS s
          WHERE s.opened_at < now() - interval '1 day'
            AND NOT rowcall.holds(s.aggregator, s.aggregator_run, s.opened_at)
          LIMIT 10000 FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN forgotten + gone;
END
$$;

COMMENT ON FUNCTION rowcall.forget_access() IS 'Deletes tokens that could not be used and conflicts that did not go on for a year, certificates that expired 90 days ago, and sessions of aggregators that are gone, up to 10,000 of each; tells how many';

REVOKE ALL ON FUNCTION rowcall.forget_access() FROM PUBLIC;

-- A superuser may have run this: what is new belongs to whom the tables belong.
DO $$
DECLARE
    owner text := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'public.host_usage'::regclass);
    what  text;
BEGIN
    FOREACH what IN ARRAY ARRAY[
        'TABLE rowcall.token', 'TABLE rowcall.certificate', 'TABLE rowcall.host_access',
        'TABLE rowcall.host_alias', 'TABLE rowcall.session', 'TABLE rowcall.conflict',
        'TABLE rowcall.audit', 'FUNCTION rowcall.refuse_change()', 'FUNCTION rowcall.host_named(text)',
        'FUNCTION rowcall.refusal(integer, bytea, timestamptz)',
        'FUNCTION rowcall.holds(text, bigint, timestamptz)', 'FUNCTION rowcall.forget_access()'
    ] LOOP
        EXECUTE format('ALTER %s OWNER TO %I', what, owner);
    END LOOP;
END
$$;

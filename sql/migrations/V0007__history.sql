-- What each host was before, from when to when, and its boots. host_info stays what it is now: the
-- open row of its history.
--
-- What is a change, and how what is told in any order falls into place, is decided here, in
-- rowcall.tell_facts, for handshakes and for records in the stream.

ALTER TABLE host_info
    ADD COLUMN memory_mhz     double precision,
    ADD COLUMN cpu_sockets    integer,
    ADD COLUMN cpu_cores      integer,
    ADD COLUMN virtualization text,
    ADD COLUMN board          text,
    ADD COLUMN firmware       text,
    ADD COLUMN disks          jsonb,
    ADD COLUMN interfaces     jsonb;

COMMENT ON COLUMN host_info."timestamp" IS 'When one of the facts last changed; a boot and the agent''s version are none';
COMMENT ON COLUMN host_info.memory_mhz IS 'Clock of the memory [MHz]; NULL where it cannot be read';
COMMENT ON COLUMN host_info.cpu_cores IS 'Cores, without their further threads';
COMMENT ON COLUMN host_info.virtualization IS 'What it runs in: kvm, docker, none on bare metal';
COMMENT ON COLUMN host_info.board IS 'Maker and model of the machine or its board';
COMMENT ON COLUMN host_info.firmware IS 'Maker, version and date of the firmware';
COMMENT ON COLUMN host_info.disks IS 'Whole disks by name: [{"name": .., "model": .., "size_kib": .., "rotational": ..}]';
COMMENT ON COLUMN host_info.interfaces IS 'Interfaces with a device behind them, by name: [{"name": .., "mac": .., "driver": ..}]';

-- The rows of a host follow each other without a hole, from -infinity to infinity.
CREATE TABLE host_info_history (
    host_id          integer NOT NULL REFERENCES host_info (id),
    valid_from       timestamptz NOT NULL,
    valid_to         timestamptz NOT NULL DEFAULT 'infinity',
    first_told_at    timestamptz NOT NULL,
    last_told_at     timestamptz NOT NULL,
    l2_cache         bigint,
    total_mem        bigint,
    cpu_mhz          double precision,
    memory_mhz       double precision,
    cpu_number       integer,
    cpu_sockets      integer,
    cpu_cores        integer,
    cpu_architecture text,
    cpu_model        text,
    os               text,
    kernel           text,
    kernel_host_name text,
    machine_id       text,
    virtualization   text,
    board            text,
    firmware         text,
    disks            jsonb,
    interfaces       jsonb,
    PRIMARY KEY (host_id, valid_from),
    CHECK (valid_from < valid_to),
    CHECK (first_told_at <= last_told_at)
);

-- Few rows are closed; reports look for those that were in force in their range.
CREATE INDEX host_info_history_closed ON host_info_history (valid_to) WHERE valid_to < 'infinity';

COMMENT ON TABLE host_info_history IS 'What each host was: "timestamp" >= valid_from AND "timestamp" < valid_to joins it with samples';
COMMENT ON COLUMN host_info_history.valid_from IS 'From when on; -infinity: as far back as anything is known';
COMMENT ON COLUMN host_info_history.valid_to IS 'Until when; infinity: it still is';
COMMENT ON COLUMN host_info_history.first_told_at IS 'When that was first told: by a handshake, the database''s clock, by a record in the stream, the host''s';
COMMENT ON COLUMN host_info_history.last_told_at IS 'When that was last told and something was written for it';

INSERT INTO host_info_history (
    host_id, valid_from, first_told_at, last_told_at, cpu_number, cpu_architecture, cpu_model, cpu_mhz,
    l2_cache, total_mem, os, kernel, kernel_host_name, machine_id
)
SELECT id, '-infinity', "timestamp", "timestamp", cpu_number, cpu_architecture, cpu_model, cpu_mhz,
       l2_cache, total_mem, os, kernel, kernel_host_name, machine_id
  FROM host_info
 WHERE num_nonnulls(cpu_number, cpu_architecture, cpu_model, cpu_mhz, l2_cache, total_mem, os, kernel,
                    kernel_host_name, machine_id) > 0;

CREATE TABLE host_boot (
    host_id   integer NOT NULL REFERENCES host_info (id),
    boot_id   text NOT NULL,
    booted_at timestamptz,
    seen_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (host_id, boot_id)
);

CREATE INDEX host_boot_by_time ON host_boot (booted_at);

COMMENT ON TABLE host_boot IS 'Boots of each host that an aggregator heard of; the newest 1,000 of each';
COMMENT ON COLUMN host_boot.boot_id IS 'The kernel''s random id of it';
COMMENT ON COLUMN host_boot.booted_at IS 'When, by the host''s clock as it was when that was first told; NULL: it could not tell';
COMMENT ON COLUMN host_boot.seen_at IS 'When an aggregator first heard of it, by the database''s clock';

INSERT INTO host_boot (host_id, boot_id, booted_at, seen_at)
SELECT host_id, boot_id, booted_at, seen_at
  FROM (SELECT b.*, row_number() OVER (PARTITION BY host_id ORDER BY seen_at DESC) AS place
          FROM (SELECT host_id, boot_id, max(booted_at) AS booted_at, min(seen_at) AS seen_at
                  FROM (SELECT host_id, boot_id, NULL::timestamptz AS booted_at, started_at AS seen_at
                          FROM rowcall.run
                         UNION ALL
                        SELECT id, boot_id, booted_at, "timestamp" FROM host_info) AS known
                 WHERE boot_id IS NOT NULL
                 GROUP BY host_id, boot_id) AS b) AS b
 WHERE place <= 1000;

-- Facts as an object by column, without what is not known. In this form columns need no list.
CREATE FUNCTION rowcall.facts_of(known host_info_history) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT jsonb_strip_nulls(to_jsonb(known) - '{host_id,valid_from,valid_to,first_told_at,last_told_at}'::text[])
$$;

COMMENT ON FUNCTION rowcall.facts_of(host_info_history) IS 'The facts in a row of host_info_history that are known, by column';

-- Another kernel keeps another part of the memory to itself.
CREATE FUNCTION rowcall.is_same_memory(known jsonb, told jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(abs((told ->> 'total_mem')::float8 - (known ->> 'total_mem')::float8)
                    <= (known ->> 'total_mem')::float8 * 0.01, false)
$$;

COMMENT ON FUNCTION rowcall.is_same_memory(jsonb, jsonb) IS 'Whether both facts tell the memory, and it is the same within 1 %';

CREATE FUNCTION rowcall.facts_differ(known jsonb, told jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT EXISTS (
        SELECT FROM jsonb_each(known) AS k JOIN jsonb_each(told) AS t USING (key)
         WHERE k.value <> t.value AND NOT (key = 'total_mem' AND rowcall.is_same_memory(known, told)))
$$;

COMMENT ON FUNCTION rowcall.facts_differ(jsonb, jsonb) IS 'Whether what is told contradicts what is known: what either does not know contradicts nothing';

CREATE FUNCTION rowcall.facts_with(known jsonb, told jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT known || CASE WHEN rowcall.is_same_memory(known, told) THEN told - 'total_mem' ELSE told END
$$;

COMMENT ON FUNCTION rowcall.facts_with(jsonb, jsonb) IS 'What is known once that was told: what is not told stays, and so does memory within 1 %, so that it cannot creep';

-- Puts a row into a host's history, in place of the one that begins there.
CREATE FUNCTION rowcall.put_facts(
    host integer, valid_from timestamptz, valid_to timestamptz, first_told_at timestamptz, last_told_at timestamptz,
    facts jsonb
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM public.host_info_history AS y WHERE y.host_id = host AND y.valid_from = put_facts.valid_from;
    INSERT INTO public.host_info_history
    SELECT (jsonb_populate_record(NULL::public.host_info_history, facts || jsonb_build_object(
               'host_id', host, 'valid_from', valid_from, 'valid_to', valid_to,
               'first_told_at', first_told_at, 'last_told_at', last_told_at))).*;
END
$$;

COMMENT ON FUNCTION rowcall.put_facts(integer, timestamptz, timestamptz, timestamptz, timestamptz, jsonb) IS 'A part of rowcall.tell_facts';

-- Tells what a host is (is_now: a handshake) or was at a time (a record in the stream).
--
-- A handshake tells what is so now, whatever the clocks say; and so does a record that lies in the
-- future. Other records tell what was so at their time:
--   - what does not contradict the row in force then confirms it, and fills in what was not known;
--   - what the next row says already, and nothing in between contradicts, makes that row begin then;
--   - else it is a change: a row of its own, up to the next one, or to where the row that was in
--     force was told again;
--   - of two that contradict each other at one moment, the first told counts.
-- So the order of telling does not matter, nor how often; except where a host went to and fro and is
-- told of that out of order: then it takes telling once more in order.
--
-- Answers whether the present changed. Of each host the newest 1,000 rows are kept.
CREATE FUNCTION rowcall.tell_facts(
    host_id integer, told_at timestamptz, is_now boolean, told jsonb, boot_id text, booted_at timestamptz
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    most  CONSTANT integer := 1000;
    host  CONSTANT integer := tell_facts.host_id;
    facts CONSTANT jsonb := rowcall.facts_of(jsonb_populate_record(NULL::public.host_info_history, tell_facts.told));
    at    timestamptz := tell_facts.told_at;
    -- In force then, as far as it was told, and what came next.
    this  public.host_info_history;
    next  public.host_info_history;
    known jsonb;
    since timestamptz;
BEGIN
    -- Who tells of a host waits for who does.
    PERFORM FROM public.host_info WHERE id = host FOR NO KEY UPDATE;

    IF tell_facts.boot_id IS NOT NULL THEN
        INSERT INTO public.host_boot AS b (host_id, boot_id, booted_at)
        VALUES (host, tell_facts.boot_id, tell_facts.booted_at)
        ON CONFLICT ON CONSTRAINT host_boot_pkey DO UPDATE SET booted_at = excluded.booted_at
         WHERE b.booted_at IS NULL AND excluded.booted_at IS NOT NULL;
        IF FOUND THEN
            DELETE FROM public.host_boot WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM public.host_boot WHERE host_id = host
                 ORDER BY seen_at DESC, booted_at DESC NULLS LAST OFFSET most));
            -- A clock that was not set when the host said Hello.
            UPDATE public.host_info SET booted_at = tell_facts.booted_at
             WHERE id = host AND boot_id = tell_facts.boot_id AND booted_at IS NULL;
        END IF;
    END IF;
    IF facts = '{}' THEN
        RETURN false;
    END IF;

    SELECT * INTO next FROM public.host_info_history WHERE host_id = host AND valid_to = 'infinity';
    IF NOT FOUND THEN
        -- A host that is new, or that a person made.
        SELECT rowcall.facts_of(jsonb_populate_record(NULL::public.host_info_history, to_jsonb(h))), least("timestamp", now())
          INTO known, since FROM public.host_info AS h WHERE id = host;
        IF NOT FOUND THEN
            RETURN false;
        ELSIF known = '{}' THEN
            known := facts;
            since := least(at, now());
        END IF;
        PERFORM rowcall.put_facts(host, '-infinity', 'infinity', since, since, known);
        SELECT * INTO next FROM public.host_info_history WHERE host_id = host;
    END IF;
    IF is_now OR at > now() THEN
        at := greatest(now(), next.last_told_at + interval '1 microsecond');
    END IF;

    SELECT * INTO this FROM public.host_info_history
     WHERE host_id = host AND first_told_at <= at ORDER BY first_told_at DESC LIMIT 1;
    IF NOT FOUND THEN
        -- Before all that was told.
        SELECT * INTO next FROM public.host_info_history WHERE host_id = host ORDER BY valid_from LIMIT 1;
        known := rowcall.facts_of(next);
        IF rowcall.facts_differ(known, facts) THEN
            UPDATE public.host_info_history SET valid_from = first_told_at
             WHERE host_id = host AND valid_from = '-infinity';
            PERFORM rowcall.put_facts(host, '-infinity', next.first_told_at, at, at, rowcall.facts_with(known, facts));
        ELSE
            PERFORM rowcall.put_facts(host, '-infinity', next.valid_to, at, next.last_told_at,
                rowcall.facts_with(known, facts));
        END IF;
    ELSE
        known := rowcall.facts_of(this);
        IF NOT rowcall.facts_differ(known, facts) THEN
            IF (NOT is_now AND at > this.last_told_at) OR rowcall.facts_with(known, facts) <> known THEN
                PERFORM rowcall.put_facts(host, this.valid_from, this.valid_to, this.first_told_at,
                    CASE WHEN is_now THEN this.last_told_at ELSE greatest(at, this.last_told_at) END,
                    rowcall.facts_with(known, facts));
            END IF;
        ELSIF at = this.first_told_at OR at = this.last_told_at THEN
            RETURN false;
        ELSIF at < this.last_told_at THEN
            UPDATE public.host_info_history SET valid_to = at, last_told_at = first_told_at
             WHERE host_id = host AND valid_from = this.valid_from;
            PERFORM rowcall.put_facts(host, at, this.last_told_at, at, at, rowcall.facts_with(known, facts));
            PERFORM rowcall.put_facts(host, this.last_told_at, this.valid_to, this.last_told_at, this.last_told_at, known);
        ELSE
            UPDATE public.host_info_history SET valid_to = at
             WHERE host_id = host AND valid_from = this.valid_from;
            SELECT * INTO next FROM public.host_info_history WHERE host_id = host AND valid_from = this.valid_to;
            IF FOUND AND NOT rowcall.facts_differ(rowcall.facts_of(next), facts) THEN
                DELETE FROM public.host_info_history WHERE host_id = host AND valid_from = next.valid_from;
                PERFORM rowcall.put_facts(host, at, next.valid_to, at, next.last_told_at,
                    rowcall.facts_with(rowcall.facts_of(next), facts));
            ELSE
                PERFORM rowcall.put_facts(host, at, this.valid_to, at, at, rowcall.facts_with(known, facts));
            END IF;
        END IF;
    END IF;

    DELETE FROM public.host_info_history WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM public.host_info_history WHERE host_id = host ORDER BY valid_from DESC OFFSET most));
    IF FOUND THEN
        UPDATE public.host_info_history SET valid_from = '-infinity' WHERE ctid = (
            SELECT ctid FROM public.host_info_history WHERE host_id = host ORDER BY valid_from LIMIT 1);
    END IF;

    UPDATE public.host_info AS h
       SET cpu_number = y.cpu_number, cpu_architecture = y.cpu_architecture, cpu_model = y.cpu_model,
           cpu_mhz = y.cpu_mhz, l2_cache = y.l2_cache, total_mem = y.total_mem, os = y.os, kernel = y.kernel,
           kernel_host_name = y.kernel_host_name, machine_id = y.machine_id, memory_mhz = y.memory_mhz,
           cpu_sockets = y.cpu_sockets, cpu_cores = y.cpu_cores, virtualization = y.virtualization,
           board = y.board, firmware = y.firmware, disks = y.disks, interfaces = y.interfaces,
           "timestamp" = y.first_told_at
      FROM public.host_info_history AS y
     WHERE h.id = host AND y.host_id = host AND y.valid_to = 'infinity'
       AND (h."timestamp" <> y.first_told_at
            OR rowcall.facts_of(jsonb_populate_record(NULL::public.host_info_history, to_jsonb(h)))
               <> rowcall.facts_of(y));
    RETURN FOUND;
END
$$;

COMMENT ON FUNCTION rowcall.tell_facts(integer, timestamptz, boolean, jsonb, text, timestamptz) IS 'Tells what a host is now, or was at a time: facts by column of host_info_history, what is absent is not known; and its boot. Keeps host_info_history in order and host_info its open row. Answers whether that changed';

-- For people: what differs between two rows that follow each other.
CREATE FUNCTION rowcall.size_text(kib bigint) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN kib >= 1073741824 THEN round(kib / 1073741824.0, 1) || ' TiB'
                WHEN kib >= 1048576 THEN round(kib / 1048576.0, 1) || ' GiB'
                WHEN kib >= 1024 THEN round(kib / 1024.0, 1) || ' MiB'
                ELSE kib || ' KiB' END
$$;

COMMENT ON FUNCTION rowcall.size_text(bigint) IS 'A number of KiB for people';

CREATE FUNCTION rowcall.facts_change(before host_info_history, after host_info_history) RETURNS text
LANGUAGE sql STABLE AS $$
    WITH device AS (
        SELECT side, kind, name, coalesce(' (' || nullif(concat_ws(', ', rowcall.size_text(size_kib), model,
                   CASE WHEN rotational THEN 'spins' END, mac, driver), '') || ')', '') AS text
          FROM (SELECT DISTINCT ON (side, kind, name) side, kind, d.*
                  FROM (VALUES ('before', 'disk', before.disks), ('after', 'disk', after.disks),
                               ('before', 'interface', before.interfaces), ('after', 'interface', after.interfaces))
                       AS l (side, kind, list)
                 CROSS JOIN LATERAL jsonb_to_recordset(l.list)
                       AS d (name text, model text, size_kib bigint, rotational boolean, mac text, driver text)
                 ORDER BY side, kind, name) AS d
    ),
    change AS (
        SELECT f.place, '' AS name, format('%s %s -> %s', f.label, o.text, n.text) AS text
          FROM (VALUES (1, 'total_mem', 'memory', ''), (2, 'cpu_number', 'CPUs', ''), (3, 'cpu_sockets', 'CPU sockets', ''),
                       (4, 'cpu_cores', 'CPU cores', ''), (5, 'cpu_model', 'CPU', ''), (6, 'cpu_mhz', 'CPU clock', ' MHz'),
                       (7, 'l2_cache', 'L2 cache', ''), (8, 'cpu_architecture', 'architecture', ''),
                       (9, 'memory_mhz', 'memory clock', ' MHz'), (12, 'board', 'board', ''), (13, 'firmware', 'firmware', ''),
                       (14, 'virtualization', 'virtualization', ''), (15, 'os', 'system', ''), (16, 'kernel', 'kernel', ''),
                       (17, 'kernel_host_name', 'kernel''s host name', ''), (18, 'machine_id', 'machine id', ''))
               AS f (place, key, label, unit)
         CROSS JOIN (SELECT rowcall.facts_of(before) AS old, rowcall.facts_of(after) AS new) AS both_facts
         CROSS JOIN LATERAL (SELECT CASE WHEN f.key IN ('total_mem', 'l2_cache') THEN rowcall.size_text((old ->> f.key)::bigint)
                                         ELSE (old ->> f.key) || f.unit END AS text) AS o
         CROSS JOIN LATERAL (SELECT CASE WHEN f.key IN ('total_mem', 'l2_cache') THEN rowcall.size_text((new ->> f.key)::bigint)
                                         ELSE (new ->> f.key) || f.unit END AS text) AS n
         WHERE old -> f.key <> new -> f.key
         UNION ALL
        SELECT CASE kind WHEN 'disk' THEN 10 ELSE 11 END, name,
               CASE WHEN n.name IS NULL THEN format('%s %s removed%s', kind, name, o.text)
                    WHEN o.name IS NULL THEN format('%s %s added%s', kind, name, n.text)
                    ELSE format('%s %s%s -> %s', kind, name, o.text, ltrim(n.text)) END
          FROM (SELECT * FROM device WHERE side = 'before') AS o
          FULL JOIN (SELECT * FROM device WHERE side = 'after') AS n USING (kind, name)
         WHERE o.text IS DISTINCT FROM n.text
           AND CASE kind WHEN 'disk' THEN before.disks IS NOT NULL AND after.disks IS NOT NULL
                    ELSE before.interfaces IS NOT NULL AND after.interfaces IS NOT NULL END
    )
    SELECT CASE WHEN length(text) > 1000 THEN left(text, 1000) || ' ...' ELSE text END
      FROM (SELECT string_agg(text, '; ' ORDER BY place, name COLLATE "C") AS text FROM change) AS whole
$$;

COMMENT ON FUNCTION rowcall.facts_change(host_info_history, host_info_history) IS 'What changed from one row to the next, in words; NULL: nothing that is known of both';

REVOKE ALL ON FUNCTION rowcall.tell_facts(integer, timestamptz, boolean, jsonb, text, timestamptz) FROM PUBLIC;

-- A superuser may have run this: what is new belongs to whom the tables belong.
DO $$
DECLARE
    owner text := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'public.host_usage'::regclass);
    what  text;
BEGIN
    FOREACH what IN ARRAY ARRAY[
        'TABLE public.host_info_history', 'TABLE public.host_boot',
        'FUNCTION rowcall.facts_of(public.host_info_history)', 'FUNCTION rowcall.is_same_memory(jsonb, jsonb)',
        'FUNCTION rowcall.facts_differ(jsonb, jsonb)', 'FUNCTION rowcall.facts_with(jsonb, jsonb)',
        'FUNCTION rowcall.put_facts(integer, timestamptz, timestamptz, timestamptz, timestamptz, jsonb)',
        'FUNCTION rowcall.tell_facts(integer, timestamptz, boolean, jsonb, text, timestamptz)',
        'FUNCTION rowcall.size_text(bigint)',
        'FUNCTION rowcall.facts_change(public.host_info_history, public.host_info_history)'
    ] LOOP
        EXECUTE format('ALTER %s OWNER TO %I', what, owner);
    END LOOP;
END
$$;

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

-- A host's clock may be behind. What it told after something else was not so before that: this says
-- where things stand that do not stand where its clock put them.
CREATE TABLE rowcall.facts_anchor (
    told_at  timestamptz NOT NULL,
    clock    timestamptz NOT NULL,
    sequence bigint NOT NULL,
    host_id  integer NOT NULL REFERENCES host_info (id),
    epoch_id integer NOT NULL,
    PRIMARY KEY (host_id, epoch_id, sequence)
);

COMMENT ON TABLE rowcall.facts_anchor IS 'Handshakes that told facts, and records of facts that do not stand at their own time: records of the epoch from sequence on were made after told_at. The newest 8 of each host';
COMMENT ON COLUMN rowcall.facts_anchor.told_at IS 'Where it stands in host_info_history, by the database''s clock';
COMMENT ON COLUMN rowcall.facts_anchor.clock IS 'The host''s clock then';
COMMENT ON COLUMN rowcall.facts_anchor.sequence IS 'The first record after it';
COMMENT ON COLUMN rowcall.facts_anchor.epoch_id IS 'rowcall.epoch.id';

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

-- Puts facts into a host's history: into the row that begins at old_from, or, where that is NULL,
-- into one of its own. A list that is as it was is not written again.
CREATE FUNCTION rowcall.put_facts(
    host integer, old_from timestamptz, valid_from timestamptz, valid_to timestamptz,
    first_told_at timestamptz, last_told_at timestamptz, facts jsonb
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    f CONSTANT public.host_info_history := jsonb_populate_record(NULL::public.host_info_history,
        facts || jsonb_build_object('host_id', host, 'valid_from', valid_from, 'valid_to', valid_to,
                                    'first_told_at', first_told_at, 'last_told_at', last_told_at));
BEGIN
    IF old_from IS NULL THEN
        INSERT INTO public.host_info_history SELECT f.*;
        RETURN;
    END IF;
    UPDATE public.host_info_history AS y
       SET valid_from = f.valid_from, valid_to = f.valid_to, first_told_at = f.first_told_at,
           last_told_at = f.last_told_at, cpu_number = f.cpu_number, cpu_architecture = f.cpu_architecture,
           cpu_model = f.cpu_model, cpu_mhz = f.cpu_mhz, l2_cache = f.l2_cache, total_mem = f.total_mem,
           os = f.os, kernel = f.kernel, kernel_host_name = f.kernel_host_name, machine_id = f.machine_id,
           memory_mhz = f.memory_mhz, cpu_sockets = f.cpu_sockets, cpu_cores = f.cpu_cores,
           virtualization = f.virtualization, board = f.board, firmware = f.firmware,
           disks = CASE WHEN y.disks = f.disks THEN y.disks ELSE f.disks END,
           interfaces = CASE WHEN y.interfaces = f.interfaces THEN y.interfaces ELSE f.interfaces END
     WHERE y.host_id = host AND y.valid_from = old_from;
END
$$;

COMMENT ON FUNCTION rowcall.put_facts(integer, timestamptz, timestamptz, timestamptz, timestamptz, timestamptz, jsonb) IS 'A part of rowcall.tell_facts';

-- Tells what a host is (is_now: a handshake) or was at a time (a record in the stream).
--
-- A handshake tells what is so now, whatever the clocks say; and so does a record that lies in the
-- future. Other records tell what was so at their time:
--   - what does not contradict the row in force then confirms it, and fills in what was not known;
--   - what the next row says already, and nothing in between contradicts, makes that row begin then;
--   - else it is a change: a row of its own, up to the next one, or to where the row that was in
--     force was told again;
--   - of two that contradict each other at one moment, the first told counts;
--   - a change within a minute of the one before takes its place: what was so for less is not kept,
--     or whoever tells one thing and another in turn would fill the history;
--   - what lies before something that it followed in its epoch was told by a clock that is behind: it
--     stands as much later than that as passed by that clock.
-- So the order of telling does not matter, nor how often; except where a host went to and fro and is
-- told of that out of order: then it takes telling once more in order.
--
-- The time is by the host's clock; the sequence is that of the record, or of the first one after the
-- handshake. Answers whether the present changed. Of each host the newest 1,000 rows are kept.
CREATE FUNCTION rowcall.tell_facts(
    host_id integer, told_at timestamptz, is_now boolean, told jsonb, boot_id text, booted_at timestamptz,
    epoch_id integer DEFAULT NULL, sequence bigint DEFAULT NULL
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    most  CONSTANT integer := 1000;
    most_anchors CONSTANT integer := 8;
    brief CONSTANT interval := '1 minute';
    host  CONSTANT integer := tell_facts.host_id;
    facts CONSTANT jsonb := rowcall.facts_of(jsonb_populate_record(NULL::public.host_info_history, tell_facts.told));
    at    timestamptz := CASE WHEN tell_facts.is_now THEN now() ELSE tell_facts.told_at END;
    -- The first record after this telling; NULL: nobody said.
    after CONSTANT bigint := tell_facts.sequence + (NOT tell_facts.is_now)::integer;
    -- What it followed, or, where it was told before, itself.
    anchor rowcall.facts_anchor;
    -- In force then, as far as it was told, and what came next.
    this  public.host_info_history;
    next  public.host_info_history;
    known jsonb;
    since timestamptz;
    added boolean := false;
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

    SELECT * INTO next FROM public.host_info_history
     WHERE host_id = host AND valid_to = 'infinity' ORDER BY valid_from DESC LIMIT 1;
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
        PERFORM rowcall.put_facts(host, NULL, '-infinity', 'infinity', since, since, known);
        SELECT * INTO next FROM public.host_info_history WHERE host_id = host;
    END IF;
    IF NOT is_now THEN
        SELECT * INTO anchor FROM rowcall.facts_anchor AS a
         WHERE a.host_id = host AND a.epoch_id = tell_facts.epoch_id
           AND (a.sequence < after OR (a.sequence = after AND a.clock = at))
         ORDER BY a.sequence DESC LIMIT 1;
        IF anchor.sequence = after THEN
            at := anchor.told_at;
        ELSIF at <= anchor.told_at THEN
            at := anchor.told_at + greatest(at - anchor.clock, interval '1 microsecond');
        END IF;
    END IF;
    IF is_now OR at > now() THEN
        at := greatest(now(), next.last_told_at + interval '1 microsecond');
    END IF;
    IF after IS NOT NULL AND (is_now OR at <> tell_facts.told_at) THEN
        INSERT INTO rowcall.facts_anchor AS a (told_at, clock, sequence, host_id, epoch_id)
        VALUES (at, tell_facts.told_at, after, host, tell_facts.epoch_id)
        ON CONFLICT ON CONSTRAINT facts_anchor_pkey DO UPDATE SET told_at = excluded.told_at, clock = excluded.clock
         WHERE a.told_at < excluded.told_at;
        IF FOUND THEN
            DELETE FROM rowcall.facts_anchor WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM rowcall.facts_anchor WHERE host_id = host ORDER BY told_at DESC OFFSET most_anchors));
        END IF;
    END IF;

    -- A row begins when it was first told, but for the first.
    SELECT * INTO this FROM public.host_info_history
     WHERE host_id = host AND valid_from <= at ORDER BY valid_from DESC LIMIT 1;
    IF at < this.first_told_at THEN
        -- Before all that was told.
        known := rowcall.facts_of(this);
        IF rowcall.facts_differ(known, facts) THEN
            UPDATE public.host_info_history SET valid_from = first_told_at
             WHERE host_id = host AND valid_from = '-infinity';
            PERFORM rowcall.put_facts(host, NULL, '-infinity', this.first_told_at, at, at,
                rowcall.facts_with(known, facts));
            added := true;
        ELSE
            PERFORM rowcall.put_facts(host, '-infinity', '-infinity', this.valid_to, at, this.last_told_at,
                rowcall.facts_with(known, facts));
        END IF;
    ELSE
        known := rowcall.facts_of(this);
        IF NOT rowcall.facts_differ(known, facts) THEN
            IF rowcall.facts_with(known, facts) <> known THEN
                PERFORM rowcall.put_facts(host, this.valid_from, this.valid_from, this.valid_to, this.first_told_at,
                    CASE WHEN is_now THEN this.last_told_at ELSE greatest(at, this.last_told_at) END,
                    rowcall.facts_with(known, facts));
            ELSIF NOT is_now AND at > this.last_told_at THEN
                UPDATE public.host_info_history SET last_told_at = at
                 WHERE host_id = host AND valid_from = this.valid_from;
            END IF;
        ELSIF at = this.first_told_at OR at = this.last_told_at THEN
            RETURN false;
        ELSIF at < this.last_told_at THEN
            -- What was so for less than a minute, and what was told after it took its place.
            IF at < this.valid_from + brief THEN
                RETURN false;
            END IF;
            UPDATE public.host_info_history SET valid_to = at, last_told_at = first_told_at
             WHERE host_id = host AND valid_from = this.valid_from;
            PERFORM rowcall.put_facts(host, NULL, at, this.last_told_at, at, at, rowcall.facts_with(known, facts));
            PERFORM rowcall.put_facts(host, NULL, this.last_told_at, this.valid_to, this.last_told_at, this.last_told_at,
                known);
            added := true;
        ELSE
            SELECT * INTO next FROM public.host_info_history WHERE host_id = host AND valid_from = this.valid_to;
            IF FOUND AND NOT rowcall.facts_differ(rowcall.facts_of(next), facts) THEN
                UPDATE public.host_info_history SET valid_to = at
                 WHERE host_id = host AND valid_from = this.valid_from;
                PERFORM rowcall.put_facts(host, next.valid_from, at, next.valid_to, at, next.last_told_at,
                    rowcall.facts_with(rowcall.facts_of(next), facts));
            ELSIF at < this.valid_from + brief THEN
                PERFORM rowcall.put_facts(host, this.valid_from, this.valid_from, this.valid_to, this.first_told_at, at,
                    rowcall.facts_with(known, facts));
            ELSE
                UPDATE public.host_info_history SET valid_to = at
                 WHERE host_id = host AND valid_from = this.valid_from;
                PERFORM rowcall.put_facts(host, NULL, at, this.valid_to, at, at, rowcall.facts_with(known, facts));
                added := true;
            END IF;
        END IF;
    END IF;

    IF added THEN
        DELETE FROM public.host_info_history WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM public.host_info_history WHERE host_id = host ORDER BY valid_from DESC OFFSET most));
        IF FOUND THEN
            UPDATE public.host_info_history SET valid_from = '-infinity' WHERE ctid = (
                SELECT ctid FROM public.host_info_history WHERE host_id = host ORDER BY valid_from LIMIT 1);
        END IF;
    END IF;

    -- A list that is as it was is not written again.
    UPDATE public.host_info AS h
       SET cpu_number = y.cpu_number, cpu_architecture = y.cpu_architecture, cpu_model = y.cpu_model,
           cpu_mhz = y.cpu_mhz, l2_cache = y.l2_cache, total_mem = y.total_mem, os = y.os, kernel = y.kernel,
           kernel_host_name = y.kernel_host_name, machine_id = y.machine_id, memory_mhz = y.memory_mhz,
           cpu_sockets = y.cpu_sockets, cpu_cores = y.cpu_cores, virtualization = y.virtualization,
           board = y.board, firmware = y.firmware,
           disks = CASE WHEN h.disks = y.disks THEN h.disks ELSE y.disks END,
           interfaces = CASE WHEN h.interfaces = y.interfaces THEN h.interfaces ELSE y.interfaces END,
           "timestamp" = y.first_told_at
      FROM (SELECT * FROM public.host_info_history
             WHERE host_id = host AND valid_to = 'infinity' ORDER BY valid_from DESC LIMIT 1) AS y
     WHERE h.id = host
       AND (h."timestamp" <> y.first_told_at
            OR (h.cpu_number, h.cpu_architecture, h.cpu_model, h.cpu_mhz, h.l2_cache, h.total_mem, h.os, h.kernel,
                h.kernel_host_name, h.machine_id, h.memory_mhz, h.cpu_sockets, h.cpu_cores, h.virtualization,
                h.board, h.firmware, h.disks, h.interfaces)
               IS DISTINCT FROM
               (y.cpu_number, y.cpu_architecture, y.cpu_model, y.cpu_mhz, y.l2_cache, y.total_mem, y.os, y.kernel,
                y.kernel_host_name, y.machine_id, y.memory_mhz, y.cpu_sockets, y.cpu_cores, y.virtualization,
                y.board, y.firmware, y.disks, y.interfaces));
    RETURN FOUND;
END
$$;

COMMENT ON FUNCTION rowcall.tell_facts(integer, timestamptz, boolean, jsonb, text, timestamptz, integer, bigint) IS 'Tells what a host is now, or was at a time: facts by column of host_info_history, what is absent is not known; and its boot. Keeps host_info_history in order and host_info its open row. Answers whether that changed';

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
    -- Of lists only what differs is looked at.
    WITH list AS (
        SELECT * FROM (VALUES ('disk', before.disks, after.disks), ('interface', before.interfaces, after.interfaces))
                      AS l (kind, old, new)
         WHERE old <> new
    ),
    device AS (
        SELECT side, kind, name, coalesce(' (' || nullif(concat_ws(', ', rowcall.size_text(size_kib), model,
                   CASE WHEN rotational THEN 'spins' END, mac, driver), '') || ')', '') AS text
          FROM (SELECT DISTINCT ON (e.side, l.kind, d.name) e.side, l.kind, d.*
                  FROM list AS l
                 CROSS JOIN LATERAL (
                       (SELECT 'before' AS side, o.it FROM jsonb_array_elements(l.old) AS o (it)
                        EXCEPT SELECT 'before', n.it FROM jsonb_array_elements(l.new) AS n (it))
                        UNION ALL
                       (SELECT 'after', n.it FROM jsonb_array_elements(l.new) AS n (it)
                        EXCEPT SELECT 'after', o.it FROM jsonb_array_elements(l.old) AS o (it))) AS e
                 CROSS JOIN LATERAL jsonb_to_record(e.it)
                       AS d (name text, model text, size_kib bigint, rotational boolean, mac text, driver text)
                 ORDER BY e.side, l.kind, d.name) AS d
    ),
    change AS (
        SELECT f.place, '' AS name, format('%s %s -> %s', f.label, f.old, f.new) AS text
          FROM (VALUES (1, 'memory', rowcall.size_text(before.total_mem), rowcall.size_text(after.total_mem), before.total_mem <> after.total_mem),
                       (2, 'CPUs', before.cpu_number::text, after.cpu_number::text, before.cpu_number <> after.cpu_number),
                       (3, 'CPU sockets', before.cpu_sockets::text, after.cpu_sockets::text, before.cpu_sockets <> after.cpu_sockets),
                       (4, 'CPU cores', before.cpu_cores::text, after.cpu_cores::text, before.cpu_cores <> after.cpu_cores),
                       (5, 'CPU', before.cpu_model, after.cpu_model, before.cpu_model <> after.cpu_model),
                       (6, 'CPU clock', before.cpu_mhz || ' MHz', after.cpu_mhz || ' MHz', before.cpu_mhz <> after.cpu_mhz),
                       (7, 'L2 cache', rowcall.size_text(before.l2_cache), rowcall.size_text(after.l2_cache), before.l2_cache <> after.l2_cache),
                       (8, 'architecture', before.cpu_architecture, after.cpu_architecture, before.cpu_architecture <> after.cpu_architecture),
                       (9, 'memory clock', before.memory_mhz || ' MHz', after.memory_mhz || ' MHz', before.memory_mhz <> after.memory_mhz),
                       (12, 'board', before.board, after.board, before.board <> after.board),
                       (13, 'firmware', before.firmware, after.firmware, before.firmware <> after.firmware),
                       (14, 'virtualization', before.virtualization, after.virtualization, before.virtualization <> after.virtualization),
                       (15, 'system', before.os, after.os, before.os <> after.os),
                       (16, 'kernel', before.kernel, after.kernel, before.kernel <> after.kernel),
                       (17, 'kernel''s host name', before.kernel_host_name, after.kernel_host_name, before.kernel_host_name <> after.kernel_host_name),
                       (18, 'machine id', before.machine_id, after.machine_id, before.machine_id <> after.machine_id))
               AS f (place, label, old, new, differs)
         WHERE f.differs
         UNION ALL
        SELECT CASE kind WHEN 'disk' THEN 10 ELSE 11 END, name,
               CASE WHEN n.name IS NULL THEN format('%s %s removed%s', kind, name, o.text)
                    WHEN o.name IS NULL THEN format('%s %s added%s', kind, name, n.text)
                    ELSE format('%s %s%s -> %s', kind, name, o.text, ltrim(n.text)) END
          FROM (SELECT * FROM device WHERE side = 'before') AS o
          FULL JOIN (SELECT * FROM device WHERE side = 'after') AS n USING (kind, name)
         WHERE o.text IS DISTINCT FROM n.text
    )
    SELECT CASE WHEN length(text) > 1000 THEN left(text, 1000) || ' ...' ELSE text END
      FROM (SELECT string_agg(text, '; ' ORDER BY place, name COLLATE "C") AS text FROM change) AS whole
$$;

COMMENT ON FUNCTION rowcall.facts_change(host_info_history, host_info_history) IS 'What changed from one row to the next, in words; NULL: nothing that is known of both';

REVOKE ALL ON FUNCTION rowcall.tell_facts(integer, timestamptz, boolean, jsonb, text, timestamptz, integer, bigint) FROM PUBLIC;

-- A superuser may have run this: what is new belongs to whom the tables belong.
DO $$
DECLARE
    owner text := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'public.host_usage'::regclass);
    what  text;
BEGIN
    FOREACH what IN ARRAY ARRAY[
        'TABLE public.host_info_history', 'TABLE public.host_boot', 'TABLE rowcall.facts_anchor',
        'FUNCTION rowcall.facts_of(public.host_info_history)', 'FUNCTION rowcall.is_same_memory(jsonb, jsonb)',
        'FUNCTION rowcall.facts_differ(jsonb, jsonb)', 'FUNCTION rowcall.facts_with(jsonb, jsonb)',
        'FUNCTION rowcall.put_facts(integer, timestamptz, timestamptz, timestamptz, timestamptz, timestamptz, jsonb)',
        'FUNCTION rowcall.tell_facts(integer, timestamptz, boolean, jsonb, text, timestamptz, integer, bigint)',
        'FUNCTION rowcall.size_text(bigint)',
        'FUNCTION rowcall.facts_change(public.host_info_history, public.host_info_history)'
    ] LOOP
        EXECUTE format('ALTER %s OWNER TO %I', what, owner);
    END LOOP;
END
$$;

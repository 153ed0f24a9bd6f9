-- What is kept: days of host_usage are dropped whole, refused records are bounded. And what that
-- takes for an aggregator that does not own the tables: days are made and dropped by functions that
-- run with the owner's rights. Who may call them stands in queries/migrate/roles.sql.

CREATE TABLE rowcall.dropped_day (
    day           date PRIMARY KEY,
    dropped_at    timestamptz NOT NULL DEFAULT now(),
    reason        text NOT NULL CHECK (reason IN ('age', 'size')),
    bytes         bigint NOT NULL,
    rows_estimate bigint
);

COMMENT ON TABLE rowcall.dropped_day IS 'Days of host_usage that were dropped. Samples of the last of them or before are refused; delete rows here to let them in again';
COMMENT ON COLUMN rowcall.dropped_day.day IS 'The day, UTC';
COMMENT ON COLUMN rowcall.dropped_day.reason IS 'age: older than retention; size: the oldest day of a database that was too large';
COMMENT ON COLUMN rowcall.dropped_day.bytes IS 'What it took on disk, indexes included';
COMMENT ON COLUMN rowcall.dropped_day.rows_estimate IS 'About how many samples it held; NULL: nobody had counted';

-- A host may have refused as many records as it likes, but only so many are kept with their reason.
CREATE TABLE rowcall.quarantine_day (
    day          date NOT NULL,
    host_id      integer NOT NULL REFERENCES host_info (id),
    kept         bigint NOT NULL DEFAULT 0,
    counted      bigint NOT NULL DEFAULT 0,
    counted_from timestamptz,
    counted_to   timestamptz,
    PRIMARY KEY (day, host_id)
);

COMMENT ON TABLE rowcall.quarantine_day IS 'Refused records by host and day of reception, UTC';
COMMENT ON COLUMN rowcall.quarantine_day.kept IS 'Those that stand in rowcall.quarantine';
COMMENT ON COLUMN rowcall.quarantine_day.counted IS 'Those beyond, of which only the number is known';
COMMENT ON COLUMN rowcall.quarantine_day.counted_from IS 'When the first of the counted ones came';
COMMENT ON COLUMN rowcall.quarantine_day.counted_to IS 'When the last of the counted ones came';

INSERT INTO rowcall.quarantine_day (day, host_id, kept)
SELECT (received_at AT TIME ZONE 'UTC')::date, host_id, count(*) FROM rowcall.quarantine GROUP BY 1, 2;

-- What the reports look for: the fleet's by time, and one host's by time.
CREATE INDEX quarantine_by_reception ON rowcall.quarantine (received_at);
CREATE INDEX quarantine_by_host ON rowcall.quarantine (host_id, "timestamp");
CREATE INDEX gap_by_time ON rowcall.gap (to_ts);
CREATE INDEX gap_by_host ON rowcall.gap (host_id, to_ts);
CREATE INDEX epoch_by_time ON rowcall.epoch (opened_at);
CREATE INDEX epoch_by_host ON rowcall.epoch (host_id, opened_at, id);
-- Hosts are listed by name, page by page.
CREATE INDEX host_info_by_name ON host_info (hostname COLLATE "C");

-- The partitions of host_usage and their bounds, whatever they are called. NULL: a default partition.
CREATE FUNCTION rowcall.partitions_of_usage()
RETURNS TABLE (id oid, schema name, name name, kind "char", from_ts timestamptz, to_ts timestamptz)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD'
AS $$
    SELECT c.oid, n.nspname, c.relname, c.relkind,
           CASE b.bound[1] WHEN 'MINVALUE' THEN '-infinity' ELSE trim(both '''' FROM b.bound[1])::timestamptz END,
           CASE b.bound[2] WHEN 'MAXVALUE' THEN 'infinity' ELSE trim(both '''' FROM b.bound[2])::timestamptz END
      FROM pg_inherits AS i
      JOIN pg_class AS c ON c.oid = i.inhrelid
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
      CROSS JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid),
          '^FOR VALUES FROM \(([^()]*)\) TO \(([^()]*)\)$') AS b (bound)
     WHERE i.inhparent = 'public.host_usage'::regclass
$$;

COMMENT ON FUNCTION rowcall.partitions_of_usage() IS 'The partitions of host_usage and their bounds';

-- Today and yesterday are never among the dropped: a database whose clock was wrong for a while must
-- not refuse what comes after.
CREATE FUNCTION rowcall.kept_from() RETURNS timestamptz
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT (least(d.day, (now() AT TIME ZONE 'UTC')::date - 2) + 1)::timestamp AT TIME ZONE 'UTC'
      FROM (SELECT max(day) AS day FROM rowcall.dropped_day) AS d
     WHERE d.day IS NOT NULL
$$;

COMMENT ON FUNCTION rowcall.kept_from() IS 'End of the last day of host_usage that was dropped: nothing before is taken. NULL: none was';

CREATE FUNCTION rowcall.missing_days(days date[]) RETURNS date[]
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH present AS MATERIALIZED (SELECT from_ts, to_ts FROM rowcall.partitions_of_usage())
    SELECT coalesce(array_agg(DISTINCT d ORDER BY d), '{}')
      FROM unnest(days) AS d
     WHERE d::timestamp AT TIME ZONE 'UTC' >= coalesce(rowcall.kept_from(), '-infinity')
       AND NOT EXISTS (
           SELECT FROM present AS p
            WHERE p.from_ts < (d + 1)::timestamp AT TIME ZONE 'UTC'
              AND p.to_ts > d::timestamp AT TIME ZONE 'UTC')
$$;

COMMENT ON FUNCTION rowcall.missing_days(date[]) IS 'Those of some UTC days that host_usage lacks and that were not dropped';

-- As before, but by the owner's rights, and not for any day: a caller gets no days that no sample
-- may have. What covers a part of a day, as only a person can make it, counts as that day.
CREATE OR REPLACE FUNCTION rowcall.create_days(days date[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD'
AS $$
DECLARE
    today  date := (now() AT TIME ZONE 'UTC')::date;
    wanted date;
    base   text;
    name   text;
    made   integer := 0;
BEGIN
    SELECT d INTO wanted FROM unnest(days) AS d WHERE d < today - 3660 OR d > today + 31 LIMIT 1;
    IF FOUND THEN
        RAISE datetime_field_overflow
            USING MESSAGE = format('%s cannot be made a day of host_usage: from %s to %s is possible',
                wanted, today - 3660, today + 31);
    END IF;
    days := rowcall.missing_days(days);
    IF cardinality(days) = 0 THEN
        RETURN 0;
    END IF;
    PERFORM pg_advisory_xact_lock(x'526f7763616c6c02'::bigint);
    -- Somebody else may have made, or dropped, some while we waited.
    FOREACH wanted IN ARRAY rowcall.missing_days(days) LOOP
        -- Somebody may have detached the day and kept the table: its name is taken, its rows are
        -- theirs, and new rows of that day must still find a place.
        base := 'host_usage_' || to_char(wanted, 'YYYYMMDD');
        name := base;
        FOR free IN 2 .. 100 LOOP
            EXIT WHEN to_regclass(format('public.%I', name)) IS NULL;
            name := base || '_' || free;
        END LOOP;
        EXECUTE format('CREATE TABLE public.%I (LIKE public.host_usage)', name);
        EXECUTE format(
            'ALTER TABLE public.host_usage ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
            name,
            to_char(wanted, 'YYYY-MM-DD') || ' 00:00:00+00',
            to_char(wanted + 1, 'YYYY-MM-DD') || ' 00:00:00+00'
        );
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;

DROP FUNCTION rowcall.has_day(text);

-- Drops one day of host_usage, if there is one to drop: the oldest. Never today, yesterday or a
-- later one, never what create_days did not make (another name, other bounds, another schema).
--
-- Dropping locks out everybody for the moment that it takes; for those who are there already it
-- waits a tenth of a second, and then fails (55P03): behind it all others would wait too.
CREATE FUNCTION rowcall.drop_day(retention_s double precision, max_bytes bigint)
RETURNS TABLE (dropped date, size bigint, why text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD' SET lock_timeout = '100ms'
AS $$
DECLARE
    oldest record;
BEGIN
    IF retention_s < 86400 THEN
        RAISE invalid_parameter_value USING MESSAGE = 'samples cannot be kept for less than a day';
    END IF;
    IF NOT pg_try_advisory_xact_lock(x'526f7763616c6c02'::bigint) THEN
        RETURN;
    END IF;
    SELECT p.id, p.name, p.from_ts::date AS day, p.to_ts
      INTO oldest
      FROM rowcall.partitions_of_usage() AS p
     WHERE p.schema = 'public' AND p.kind = 'r'
       AND p.name ~ ('^host_usage_' || to_char(p.from_ts, 'YYYYMMDD') || '(_[0-9]+)?$')
       AND p.from_ts = date_trunc('day', p.from_ts) AND p.to_ts = p.from_ts + interval '1 day'
       AND p.from_ts::date < (now() AT TIME ZONE 'UTC')::date - 1
     ORDER BY p.from_ts
     LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF oldest.to_ts <= now() - make_interval(secs => retention_s) THEN
        why := 'age';
    ELSIF pg_database_size(current_database()) > max_bytes THEN
        why := 'size';
    ELSE
        RETURN;
    END IF;
    dropped := oldest.day;
    size := pg_total_relation_size(oldest.id);
    INSERT INTO rowcall.dropped_day AS d (day, reason, bytes, rows_estimate)
    SELECT oldest.day, why, size, CASE WHEN reltuples >= 0 THEN reltuples::bigint END
      FROM pg_class WHERE oid = oldest.id
    ON CONFLICT (day) DO UPDATE
    SET dropped_at = now(), reason = excluded.reason, bytes = excluded.bytes, rows_estimate = excluded.rows_estimate;
    EXECUTE format('DROP TABLE public.%I', oldest.name);
    RETURN NEXT;
END
$$;

COMMENT ON FUNCTION rowcall.drop_day(double precision, bigint) IS 'Drops the oldest day of host_usage if it is older than so many seconds, or the database larger than so many bytes';

CREATE FUNCTION rowcall.forget_refused() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    forgotten bigint;
BEGIN
    DELETE FROM rowcall.quarantine_day WHERE day < (now() AT TIME ZONE 'UTC')::date - 30;
    DELETE FROM rowcall.quarantine
     WHERE ctid = ANY (ARRAY(
         SELECT ctid FROM rowcall.quarantine
          WHERE received_at < now() - interval '30 days'
          ORDER BY received_at LIMIT 10000 FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    RETURN forgotten;
END
$$;

COMMENT ON FUNCTION rowcall.forget_refused() IS 'Deletes up to 10,000 refused records that came more than 30 days ago; tells how many';

-- What no kept sample needs for a report, with 30 days to spare. A gap of a host whose clock was wrong
-- counts from its reception. Of a host's intervals the one in force at that time stays.
CREATE FUNCTION rowcall.forget_old(retention_s double precision) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    before    timestamptz;
    gone      bigint;
    forgotten bigint := 0;
BEGIN
    IF retention_s < 86400 THEN
        RAISE invalid_parameter_value USING MESSAGE = 'samples cannot be kept for less than a day';
    END IF;
    before := now() - make_interval(secs => retention_s) - interval '30 days';
    DELETE FROM rowcall.gap
     WHERE ctid = ANY (ARRAY(
         SELECT ctid FROM rowcall.gap
          WHERE to_ts < before AND received_at < before
          ORDER BY to_ts LIMIT 10000 FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS gone = ROW_COUNT;
    forgotten := forgotten + gone;
    DELETE FROM rowcall.epoch
     WHERE ctid = ANY (ARRAY(
         SELECT ctid FROM rowcall.epoch
          WHERE closed_at < before
          LIMIT 10000 FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS gone = ROW_COUNT;
    forgotten := forgotten + gone;
    DELETE FROM rowcall.host_interval
     WHERE ctid = ANY (ARRAY(
         SELECT i.ctid FROM rowcall.host_interval AS i
          WHERE EXISTS (SELECT FROM rowcall.host_interval AS later
                         WHERE later.host_id = i.host_id
                           AND later.valid_from > i.valid_from AND later.valid_from <= before)
          LIMIT 10000 FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN forgotten + gone;
END
$$;

COMMENT ON FUNCTION rowcall.forget_old(double precision) IS 'Deletes gaps, closed epochs and intervals that ended so many seconds and 30 days ago, up to 10,000 of each; tells how many';

REVOKE ALL ON FUNCTION rowcall.create_days(date[]), rowcall.drop_day(double precision, bigint), rowcall.forget_refused(), rowcall.forget_old(double precision) FROM PUBLIC;

-- A superuser may have run this: what runs with its owner's rights belongs to whom the tables belong.
DO $$
DECLARE
    owner text := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'public.host_usage'::regclass);
    what  text;
BEGIN
    FOREACH what IN ARRAY ARRAY[
        'TABLE rowcall.dropped_day', 'TABLE rowcall.quarantine_day',
        'FUNCTION rowcall.partitions_of_usage()', 'FUNCTION rowcall.kept_from()',
        'FUNCTION rowcall.missing_days(date[])', 'FUNCTION rowcall.create_days(date[])',
        'FUNCTION rowcall.drop_day(double precision, bigint)', 'FUNCTION rowcall.forget_refused()',
        'FUNCTION rowcall.forget_old(double precision)'
    ] LOOP
        EXECUTE format('ALTER %s OWNER TO %I', what, owner);
    END LOOP;
END
$$;

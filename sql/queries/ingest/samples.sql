-- Stores the samples of one flush: rows of host_usage, or of rowcall.quarantine where the time is
-- not acceptable, and with them each host's mark and newest sample. One statement, so that a flush
-- commits by itself in one round trip.
--
-- Parameters: arrays with one element per sample: $1 host id, $2 epoch id, $3 sequence, $4 time,
-- $5 elapsed [s], $6 uptime [s], $7 memory_free [MiB], $8 memory_available [MiB], $9 cpu_idle [%],
-- $10 cpu_kernel [%], $11 disk_io, $12 disk_available [MiB]; $13 retention [s]; and $14, how many
-- refused records of each host and day of reception are kept with their reason. The others are only
-- counted. $15, per sample again, the same for all of a host and epoch: what its mark must have got
-- to, for no hole to be between it and what comes now. Per sample, for the ledger: $16 ticks due up
-- to it as the agent counts (0: not told), $17 the same up to the newest record on the node, as last
-- told (NULL: not told here), $18 whether an earlier record of this call covers its sequence already.
--
-- All or nothing per host: only what host_latest's update returns goes on, and it takes only the
-- host's current epoch, as of after it got the row's lock, and only where the mark got as far as $15
-- says. It did, unless the database went back in time (a restored backup, a promoted replica that
-- lagged): then the agent must send what is lost again, which it does only while the mark is below.
-- Rows go in by key, and hosts by id: the
-- connection has sequential scans switched off, so that every plan walks host_latest by its index
-- and two writers meet in the same order. Duplicates are counted through RETURNING: the count of
-- affected rows is wrong on Citus.
--
-- A refused sample at or before the mark was put aside before: it changes nothing. The mark is that
-- of the statement's beginning; only where two writers have the same records of one host at the same
-- moment are its refused ones counted twice, or a few more kept.
--
-- The ledger counts what lies beyond the mark, the mark as it is when the row is locked: a writer that
-- waited for another one counts by the mark that the other one left. All of a host's samples here
-- mostly lie on one side of it; only where they don't, they are counted one by one.
--
-- Answer: rows stored, rows put aside, rows taken in all, and the epochs taken.
WITH sample AS MATERIALIZED (
    SELECT
        s.*,
        CASE
            WHEN "timestamp" > now() + interval '10 minutes'
                THEN 'timestamp is more than 10 minutes in the future'
            WHEN "timestamp" < now() - make_interval(secs => $13::float8)
                THEN 'timestamp is older than retention'
            -- As rowcall.kept_from() has it, which called for each flush would cost a fifth of a small one.
            WHEN "timestamp" < (
                SELECT (least(max(day), (now() AT TIME ZONE 'UTC')::date - 2) + 1)::timestamp AT TIME ZONE 'UTC'
                FROM rowcall.dropped_day HAVING max(day) IS NOT NULL
            )
                THEN 'timestamp is not after the last day that was dropped'
        END AS reason
    FROM unnest(
        $1::integer[], $2::integer[], $3::bigint[], $4::timestamptz[], $5::real[], $6::bigint[],
        $7::bigint[], $8::bigint[], $9::real[], $10::real[], $11::bigint[], $12::bigint[], $15::bigint[],
        $16::bigint[], $17::bigint[], $18::boolean[]
    ) AS s (
        host_id, epoch_id, sequence, "timestamp", elapsed_s, uptime_s,
        memory_free, memory_available, cpu_idle, cpu_kernel, disk_io, disk_available, needed,
        due, told_due, again
    )
),
-- One row per host and epoch: its newest acceptable sample, and how far the mark moves.
host AS MATERIALIZED (
    SELECT DISTINCT ON (host_id, epoch_id)
        s.*,
        CASE WHEN reason IS NULL THEN "timestamp" END AS newest,
        first_value(sequence) OVER last_first AS mark,
        first_value("timestamp") OVER last_first AS mark_time,
        first_value(due) OVER last_first AS mark_due,
        min("timestamp") FILTER (WHERE reason IS NULL) OVER of_host AS oldest,
        min(sequence) OVER of_host AS first,
        max(told_due) OVER of_host AS told,
        count(*) FILTER (WHERE NOT again AND reason IS NULL) OVER of_host AS good,
        count(*) FILTER (WHERE NOT again AND reason IS NOT NULL) OVER of_host AS bad,
        count(*) FILTER (WHERE again) OVER of_host AS twice
    FROM sample AS s
    WINDOW
        of_host AS (PARTITION BY host_id, epoch_id),
        last_first AS (PARTITION BY host_id, epoch_id ORDER BY sequence DESC)
    ORDER BY host_id, epoch_id, newest DESC NULLS LAST, sequence DESC
),
taken AS (
    UPDATE host_latest AS l
    SET mark = greatest(l.mark, h.mark),
        mark_time = CASE WHEN h.mark > l.mark THEN h.mark_time ELSE l.mark_time END,
        received_at = CASE WHEN h.mark > l.mark THEN now() ELSE l.received_at END,
        joined_at = least(l.joined_at, h.oldest),
        "timestamp" = CASE WHEN h.newest > coalesce(l."timestamp", '-infinity') THEN h.newest ELSE l."timestamp" END,
        elapsed_s = CASE WHEN h.newest > coalesce(l."timestamp", '-infinity') THEN h.elapsed_s ELSE l.elapsed_s END,
        uptime_s = CASE WHEN h.newest > coalesce(l."timestamp", '-infinity') THEN h.uptime_s ELSE l.uptime_s END,
        memory_free = CASE WHEN h.newest > coalesce(l."timestamp", '-infinity') THEN h.memory_free ELSE l.memory_free END,
        memory_available = CASE WHEN h.newest > coalesce(l."timestamp", '-infinity') THEN h.memory_available ELSE l.memory_available END,
        cpu_idle = CASE WHEN h.newest > coalesce(l."timestamp", '-infinity') THEN h.cpu_idle ELSE l.cpu_idle END,
        cpu_kernel = CASE WHEN h.newest > coalesce(l."timestamp", '-infinity') THEN h.cpu_kernel ELSE l.cpu_kernel END,
        disk_io = CASE WHEN h.newest > coalesce(l."timestamp", '-infinity') THEN h.disk_io ELSE l.disk_io END,
        disk_available = CASE WHEN h.newest > coalesce(l."timestamp", '-infinity') THEN h.disk_available ELSE l.disk_available END,
        due = CASE WHEN h.mark > l.mark THEN h.mark_due ELSE l.due END,
        told_due = greatest(l.told_due, h.told),
        samples = l.samples + CASE
            WHEN h.first > l.mark THEN h.good
            WHEN h.mark <= l.mark THEN 0
            ELSE (
                SELECT count(*) FROM sample AS s
                WHERE s.host_id = h.host_id AND s.epoch_id = h.epoch_id
                  AND s.sequence > l.mark AND NOT s.again AND s.reason IS NULL
            )
        END,
        quarantined = l.quarantined + CASE
            WHEN h.first > l.mark THEN h.bad
            WHEN h.mark <= l.mark THEN 0
            ELSE (
                SELECT count(*) FROM sample AS s
                WHERE s.host_id = h.host_id AND s.epoch_id = h.epoch_id
                  AND s.sequence > l.mark AND NOT s.again AND s.reason IS NOT NULL
            )
        END,
        duplicates = l.duplicates + CASE
            WHEN h.first > l.mark THEN h.twice
            WHEN h.mark <= l.mark THEN h.good + h.bad + h.twice
            ELSE (
                SELECT count(*) FROM sample AS s
                WHERE s.host_id = h.host_id AND s.epoch_id = h.epoch_id
                  AND (s.sequence <= l.mark OR s.again)
            )
        END
    FROM host AS h
    WHERE l.host_id = h.host_id AND l.epoch_id = h.epoch_id AND l.mark >= h.needed
    RETURNING l.host_id, l.epoch_id
),
accepted AS MATERIALIZED (
    SELECT s.* FROM sample AS s JOIN taken USING (host_id, epoch_id)
),
stored AS (
    INSERT INTO host_usage (
        "timestamp", memory_free, memory_available, disk_io, disk_available, sequence, host_id,
        cpu_idle, cpu_kernel, elapsed_s, delay_s, epoch_id
    )
    SELECT
        "timestamp", memory_free, memory_available, disk_io, disk_available, sequence, host_id,
        cpu_idle, cpu_kernel, elapsed_s, extract(epoch FROM now() - "timestamp")::real, epoch_id
    FROM accepted
    WHERE reason IS NULL
    ORDER BY "timestamp", host_id
    ON CONFLICT DO NOTHING
    RETURNING host_id
),
refused AS MATERIALIZED (
    SELECT
        a.host_id, a.epoch_id, a.sequence, a."timestamp", a.reason,
        row_number() OVER (PARTITION BY host_id ORDER BY epoch_id, sequence) <= $14::bigint - coalesce((
            SELECT d.kept FROM rowcall.quarantine_day AS d
            WHERE d.day = (now() AT TIME ZONE 'UTC')::date AND d.host_id = a.host_id
        ), 0) AS kept
    FROM accepted AS a
    WHERE reason IS NOT NULL
      AND sequence > coalesce((
          SELECT l.mark FROM host_latest AS l WHERE l.host_id = a.host_id AND l.epoch_id = a.epoch_id
      ), 0)
),
kept AS (
    INSERT INTO rowcall.quarantine (host_id, epoch_id, sequence, "timestamp", reason)
    SELECT host_id, epoch_id, sequence, "timestamp", reason FROM refused WHERE kept
    ORDER BY host_id, epoch_id, sequence
    ON CONFLICT DO NOTHING
),
counted AS (
    INSERT INTO rowcall.quarantine_day AS d (day, host_id, kept, counted, counted_from, counted_to)
    SELECT
        (now() AT TIME ZONE 'UTC')::date, host_id, count(*) FILTER (WHERE kept), count(*) FILTER (WHERE NOT kept),
        CASE WHEN NOT bool_and(kept) THEN now() END, CASE WHEN NOT bool_and(kept) THEN now() END
    FROM refused GROUP BY host_id ORDER BY host_id
    ON CONFLICT (day, host_id) DO UPDATE
    SET kept = d.kept + excluded.kept,
        counted = d.counted + excluded.counted,
        counted_from = coalesce(d.counted_from, excluded.counted_from),
        counted_to = coalesce(excluded.counted_to, d.counted_to)
)
SELECT
    (SELECT count(*) FROM stored),
    (SELECT count(*) FROM refused),
    (SELECT count(*) FROM accepted),
    ARRAY(SELECT epoch_id FROM taken)

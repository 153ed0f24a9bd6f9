-- Moves marks, never back, and each host's ledger with them, as far as samples.sql did not. The hosts
-- are locked, and each one's mark was found to reach up to what is stored, so that it passes no hole.
-- Arrays with one element per host: $1 host id, $2 epoch id, $3 mark, $4 time of the record at it,
-- $5 ticks due up to it as the agent counts (0: not told), $6 the same up to the newest record on the
-- node (NULL: not told), and of the ticks beyond the old mark: $7 put aside, $8 dropped, $9 missed;
-- $10 samples that came again. Each count is at most 2^60, and so is what becomes of it here.
UPDATE host_latest AS l
SET mark = greatest(l.mark, m.mark),
    mark_time = CASE WHEN m.mark > l.mark THEN m.mark_time ELSE l.mark_time END,
    received_at = CASE WHEN m.mark > l.mark THEN now() ELSE l.received_at END,
    due = CASE WHEN m.mark >= l.mark THEN m.due ELSE l.due END,
    told_due = greatest(l.told_due, m.told_due),
    quarantined = least(l.quarantined + m.quarantined, 1::bigint << 60),
    dropped = least(l.dropped + m.dropped, 1::bigint << 60),
    missed = least(l.missed + m.missed, 1::bigint << 60),
    duplicates = l.duplicates + m.duplicates
FROM unnest(
    $1::integer[], $2::integer[], $3::bigint[], $4::timestamptz[], $5::bigint[], $6::bigint[],
    $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[]
) AS m (host_id, epoch_id, mark, mark_time, due, told_due, quarantined, dropped, missed, duplicates)
WHERE l.host_id = m.host_id AND l.epoch_id = m.epoch_id
  AND (
      l.mark < m.mark OR l.told_due < m.told_due
      OR m.quarantined > 0 OR m.dropped > 0 OR m.missed > 0 OR m.duplicates > 0
  )

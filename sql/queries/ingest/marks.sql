-- Moves marks, never back. The hosts are locked, and each one's mark was found to reach up to what is
-- stored, so that it passes no hole. Arrays with one element per host: $1 host id, $2 epoch id, $3 mark,
-- $4 time of the record at it.
UPDATE host_latest AS l
SET mark = m.mark, mark_time = m.mark_time, received_at = now()
FROM unnest($1::integer[], $2::integer[], $3::bigint[], $4::timestamptz[])
    AS m (host_id, epoch_id, mark, mark_time)
WHERE l.host_id = m.host_id AND l.epoch_id = m.epoch_id AND l.mark < m.mark

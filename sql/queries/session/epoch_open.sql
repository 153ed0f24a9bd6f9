-- Makes epoch $2 the present one of host $1, with the mark and the ledger that it had got to before.
WITH epoch AS (
    UPDATE rowcall.epoch SET closed_at = NULL WHERE id = $2::integer AND host_id = $1::integer
    RETURNING *
)
UPDATE host_latest AS l
SET epoch_id = e.id, mark = e.mark, mark_time = e.mark_time, due = e.due, told_due = e.told_due,
    samples = e.samples, quarantined = e.quarantined, dropped = e.dropped, missed = e.missed,
    duplicates = e.duplicates
FROM epoch AS e
WHERE l.host_id = $1
RETURNING l.mark, l.mark_time, l.due

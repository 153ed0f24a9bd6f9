-- Closes the present epoch of host $1, if it has one, with the mark and the ledger that it got to.
UPDATE rowcall.epoch AS e
SET mark = l.mark, mark_time = l.mark_time, closed_at = now(), due = l.due, told_due = l.told_due,
    samples = l.samples, quarantined = l.quarantined, dropped = l.dropped, missed = l.missed,
    duplicates = l.duplicates
FROM host_latest AS l
WHERE l.host_id = $1 AND e.id = l.epoch_id

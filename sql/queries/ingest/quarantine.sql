-- Puts records aside. Arrays with one element per record: $1 host id, $2 epoch id, $3 sequence,
-- $4 time, $5 reason. One row for each that is new.
INSERT INTO rowcall.quarantine (host_id, epoch_id, sequence, "timestamp", reason)
SELECT *
FROM unnest($1::integer[], $2::integer[], $3::bigint[], $4::timestamptz[], $5::text[])
    AS q (host_id, epoch_id, sequence, "timestamp", reason)
ORDER BY host_id, epoch_id, sequence
ON CONFLICT DO NOTHING
RETURNING sequence

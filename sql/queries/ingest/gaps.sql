-- Stores gaps. Arrays with one element per gap: $1 host id, $2 epoch id, $3 first and $4 last
-- sequence, $5 ticks, $6 state, $7 cause, $8 time of the first and $9 of the last missing sample.
-- One row for each that is new.
INSERT INTO rowcall.gap (
    host_id, epoch_id, sequence, through_sequence, ticks, state, cause, from_ts, to_ts
)
SELECT *
FROM unnest(
    $1::integer[], $2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::text[],
    $8::timestamptz[], $9::timestamptz[]
) AS g (host_id, epoch_id, sequence, through_sequence, ticks, state, cause, from_ts, to_ts)
ORDER BY host_id, epoch_id, sequence
ON CONFLICT DO NOTHING
RETURNING sequence

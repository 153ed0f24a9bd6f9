-- Stores values of drop-in files. Arrays with one element per value: $1 time, $2 value, $3 host id, $4
-- name, $5 labels as JSON. One row for each that is new.
INSERT INTO host_metric ("timestamp", value, host_id, name, labels)
SELECT "timestamp", value, host_id, name, labels::jsonb
FROM unnest($1::timestamptz[], $2::float8[], $3::integer[], $4::text[], $5::text[])
    AS m ("timestamp", value, host_id, name, labels)
ORDER BY "timestamp", host_id, name
ON CONFLICT DO NOTHING
RETURNING host_id

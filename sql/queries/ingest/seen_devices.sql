-- Remembers that devices were seen today. Arrays with one element per device: $1 host id, $2 id. The
-- hosts are locked. No index holds the day, so that the update is heap-only.
UPDATE host_device AS d
SET seen_on = (now() AT TIME ZONE 'UTC')::date
FROM unnest($1::integer[], $2::integer[]) AS s (host_id, id)
WHERE d.host_id = s.host_id AND d.id = s.id

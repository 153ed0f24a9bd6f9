-- The ids of devices. Arrays with one element per device: $1 host id, $2 kind, $3 name, $4 counted_since,
-- $5 attributes as JSON. The hosts are locked. In the order of the arrays; id NULL: it is not known yet;
-- stale: it was last seen on an earlier day. Index: the unique one of host_device.
SELECT d.id, coalesce(d.seen_on < (now() AT TIME ZONE 'UTC')::date, false) AS stale
FROM unnest($1::integer[], $2::text[], $3::text[], $4::bigint[], $5::text[])
    WITH ORDINALITY AS w (host_id, kind, name, counted_since, attributes, place)
LEFT JOIN host_device AS d
    ON d.host_id = w.host_id AND d.kind = w.kind AND d.name = w.name
    AND d.counted_since = w.counted_since AND d.attributes = w.attributes::jsonb
ORDER BY w.place

-- Puts the labels with keys $2 and values $3 on host $1; a key that it has gets the new value.
INSERT INTO host_label (host_id, key, value)
SELECT $1::integer, key, value FROM unnest($2::text[], $3::text[]) AS l (key, value)
ORDER BY key COLLATE "C"
ON CONFLICT (host_id, key) DO UPDATE SET value = excluded.value
WHERE host_label.value <> excluded.value

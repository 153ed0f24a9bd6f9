-- The boots of the host that has the name $1, or had it, the newest first, at most 1,000.
-- Index: the primary key of host_boot.
SELECT b.boot_id, b.booted_at, b.seen_at
FROM host_boot AS b
WHERE b.host_id = rowcall.host_named($1::text)
ORDER BY coalesce(b.booted_at, b.seen_at) DESC, b.boot_id
LIMIT 1000

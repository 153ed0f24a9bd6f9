-- A host seen for the first time, by name only; no row if somebody else was faster, or if a host had
-- that name before.
INSERT INTO host_info (hostname)
SELECT $1::text WHERE NOT EXISTS (SELECT FROM rowcall.host_alias WHERE name = $1)
ON CONFLICT (hostname) DO NOTHING RETURNING id

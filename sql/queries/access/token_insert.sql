-- A token: id $1, hash of its secret $2, pattern of names $3, labels with keys $4 and values $5, uses $6,
-- good for $7 s, made by $8, its hosts ephemeral after $9 s, may replace $10. No row: the id is taken.
INSERT INTO rowcall.token (id, secret_sha256, host_glob, labels, uses, expires_at, created_by, ephemeral_s, may_replace)
VALUES ($1, $2, $3, jsonb_object($4::text[], $5::text[]), $6, now() + make_interval(secs => $7::float8), $8, $9, $10)
ON CONFLICT (id) DO NOTHING
RETURNING id

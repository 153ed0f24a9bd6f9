-- The token with the id $1 made an identity for host $2: the host gets its labels, and what else is said
-- of its access is the token's.
WITH token AS (
    UPDATE rowcall.token SET used = used + 1, last_used_at = now() WHERE id = $1::text
    RETURNING labels, ephemeral_s
),
labelled AS (
    INSERT INTO host_label (host_id, key, value)
    SELECT $2::integer, l.key, l.value
    FROM token, jsonb_each_text(token.labels) AS l (key, value)
    ORDER BY l.key COLLATE "C"
    ON CONFLICT (host_id, key) DO UPDATE SET value = excluded.value
    WHERE host_label.value <> excluded.value
)
INSERT INTO rowcall.host_access (host_id, ephemeral_s)
SELECT $2, t.ephemeral_s FROM token AS t
WHERE t.ephemeral_s IS NOT NULL OR EXISTS (SELECT FROM rowcall.host_access WHERE host_id = $2)
ON CONFLICT (host_id) DO UPDATE SET ephemeral_s = excluded.ephemeral_s

-- The token with the id $1, in the columns of token_list.sql.
SELECT t.id, t.host_glob, t.uses, t.used, t.created_at, t.created_by, t.expires_at, t.revoked_at,
       t.ephemeral_s, t.may_replace,
       ARRAY(SELECT key FROM jsonb_each_text(t.labels) AS l (key, value) ORDER BY key COLLATE "C") AS keys,
       ARRAY(SELECT value FROM jsonb_each_text(t.labels) AS l (key, value) ORDER BY key COLLATE "C") AS values
FROM rowcall.token AS t
WHERE t.id = $1

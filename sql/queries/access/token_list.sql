-- Tokens, the newest first, at most 10,000: those that can be used or, with $1, could be 30 days ago.
SELECT t.id, t.host_glob, t.uses, t.used, t.created_at, t.created_by, t.expires_at, t.revoked_at,
       t.ephemeral_s, t.may_replace,
       ARRAY(SELECT key FROM jsonb_each_text(t.labels) AS l (key, value) ORDER BY key COLLATE "C") AS keys,
       ARRAY(SELECT value FROM jsonb_each_text(t.labels) AS l (key, value) ORDER BY key COLLATE "C") AS values
FROM rowcall.token AS t
WHERE least(t.expires_at, t.revoked_at, CASE WHEN t.used >= t.uses THEN t.last_used_at END)
      > now() - CASE WHEN $1::boolean THEN interval '30 days' ELSE interval '0' END
ORDER BY t.created_at DESC, t.id
LIMIT 10000

-- Ends the access of host $1, as $2 says (revoked, retired), for the reason $3. What was ended stays as
-- it is, but for a retired host that is revoked.
INSERT INTO rowcall.host_access AS a (host_id, ended_at, ended_why, reason) VALUES ($1, now(), $2, $3)
ON CONFLICT (host_id) DO UPDATE
SET ended_at = coalesce(a.ended_at, excluded.ended_at), ended_why = excluded.ended_why, reason = excluded.reason
WHERE a.ended_at IS NULL OR (a.ended_why = 'retired' AND excluded.ended_why = 'revoked')

-- Host $1 is enrolled anew: what it had before is refused from now on, and it is not ended any more.
WITH revoked AS (
    UPDATE rowcall.certificate SET revoked_at = now() WHERE host_id = $1::integer AND revoked_at IS NULL
)
INSERT INTO rowcall.host_access (host_id, refused_before) VALUES ($1, now())
ON CONFLICT (host_id) DO UPDATE
SET refused_before = excluded.refused_before, ended_at = NULL, ended_why = NULL, reason = NULL

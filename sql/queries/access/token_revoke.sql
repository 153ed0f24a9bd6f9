-- Ends the token with the id $1, unless it was before. The id, if there is one.
UPDATE rowcall.token SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 RETURNING id

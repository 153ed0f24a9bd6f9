-- Host $1 is in the roll from now on, if it was retired.
WITH back AS (
    UPDATE host_info SET retired_at = NULL WHERE id = $1::integer AND retired_at IS NOT NULL RETURNING id
)
UPDATE host_latest AS l SET joined_at = now() FROM back AS b WHERE l.host_id = b.id

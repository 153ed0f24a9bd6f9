-- Takes host $1 out of the roll from now on, unless it is out already.
UPDATE host_info SET retired_at = now() WHERE id = $1::integer AND retired_at IS NULL

-- Takes the host named $1 out of the roll from now on, unless it is out already.
UPDATE host_info SET retired_at = now() WHERE hostname = $1::text AND retired_at IS NULL

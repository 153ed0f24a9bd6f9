-- The row of the newest sample of host $1, empty until there is one. The host is in the roll from
-- now on.
INSERT INTO host_latest (host_id) VALUES ($1) ON CONFLICT (host_id) DO NOTHING

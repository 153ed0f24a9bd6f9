-- Host $1 samples every $2 ms from now on.
INSERT INTO rowcall.host_interval (host_id, valid_from, interval_ms) VALUES ($1, now(), $2)
ON CONFLICT (host_id, valid_from) DO UPDATE SET interval_ms = excluded.interval_ms

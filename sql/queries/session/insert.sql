-- A host seen for the first time, by name only; no row if somebody else was faster.
INSERT INTO host_info (hostname) VALUES ($1) ON CONFLICT (hostname) DO NOTHING RETURNING id

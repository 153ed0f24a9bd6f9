-- Sets the schema's version to $1, and the oldest one whose program may use it to $2 at least.
INSERT INTO rowcall.schema (version, oldest_compatible) VALUES ($1, $2)
ON CONFLICT (only_row) DO UPDATE
SET version = excluded.version,
    oldest_compatible = greatest(rowcall.schema.oldest_compatible, excluded.oldest_compatible)

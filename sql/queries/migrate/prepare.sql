-- The tables in which migrations are recorded. Runs before the first migration, as a script.
CREATE SCHEMA IF NOT EXISTS rowcall;

CREATE TABLE IF NOT EXISTS rowcall.migration (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE rowcall.migration IS 'The migrations applied to this database';

-- One row.
CREATE TABLE IF NOT EXISTS rowcall.schema (
    only_row          boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version           integer NOT NULL,
    oldest_compatible integer NOT NULL
);

COMMENT ON TABLE rowcall.schema IS 'The schema''s version, and the oldest one whose program may use it';

-- A role for people who read with SQL: GRANT rowcall_reader TO somebody.
--
-- Roles belong to the whole server, and making one takes CREATEROLE, which an aggregator's user
-- need not have: then a notice says what to run instead. Two databases of one server may get here
-- at once; whoever comes second finds the role made.
DO $$
BEGIN
    BEGIN
        CREATE ROLE rowcall_reader NOLOGIN;
    EXCEPTION
        WHEN duplicate_object OR unique_violation THEN
            NULL;
        WHEN insufficient_privilege THEN
            IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'rowcall_reader') THEN
                RAISE NOTICE 'the role rowcall_reader, for people who read with SQL, was not made: it takes CREATEROLE'
                    USING HINT = 'As a superuser: CREATE ROLE rowcall_reader NOLOGIN; GRANT USAGE ON SCHEMA public, rowcall TO rowcall_reader; GRANT SELECT ON ALL TABLES IN SCHEMA public, rowcall TO rowcall_reader;';
                RETURN;
            END IF;
    END;
    GRANT USAGE ON SCHEMA rowcall TO rowcall_reader;
    -- The reports read the internal tables too, and run as they stand in psql.
    GRANT SELECT ON ALL TABLES IN SCHEMA rowcall TO rowcall_reader;
    GRANT SELECT ON host_info, host_usage, host_latest, host_label TO rowcall_reader;
END
$$;

-- The two roles and their rights; runs after the migrations, as a script, whenever the owner's
-- program starts: GRANT rowcall_reader TO somebody who reads with SQL, GRANT rowcall_aggregator TO
-- the user of an aggregator that is not the owner.
--
-- Roles belong to the whole server, and making one takes CREATEROLE, which the owner need not have:
-- then a notice says what to run, and the next migration gives the rights. Two databases of one
-- server may get here at once; whoever comes second finds the role made. What is granted already is
-- left alone, so that a usual start writes nothing.
DO $$
DECLARE
    r record;
BEGIN
    IF current_setting('transaction_read_only')::boolean
        OR NOT pg_has_role((SELECT relowner FROM pg_class WHERE oid = 'public.host_usage'::regclass), 'USAGE')
    THEN
        RETURN;
    END IF;
    FOR r IN SELECT * FROM (VALUES ('rowcall_reader', 'people who read with SQL'),
                                   ('rowcall_aggregator', 'an aggregator that is not the owner')) AS v (role, whom)
    LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = r.role);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', r.role);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL;
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'the role %, for %, was not made: it takes CREATEROLE', r.role, r.whom
                    USING HINT = format('As a superuser: CREATE ROLE %I NOLOGIN; then run rowcall-aggregator migrate again, which gives it its rights', r.role);
        END;
    END LOOP;

    FOR r IN
        SELECT g.role, s.schema FROM (VALUES ('rowcall_reader'), ('rowcall_aggregator')) AS g (role),
               (VALUES ('public'), ('rowcall')) AS s (schema)
         WHERE EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = g.role)
           AND NOT has_schema_privilege(g.role, s.schema, 'USAGE')
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', r.schema, r.role);
    END LOOP;

    FOR r IN
        SELECT g.role, g.name, p.privilege
          FROM (
              -- The reports read the internal tables too, and run as they stand in psql. Of tokens
              -- see below.
              SELECT 'rowcall_reader' AS role, format('rowcall.%I', c.relname) AS name, 'SELECT' AS privileges
                FROM pg_class AS c WHERE c.relnamespace = 'rowcall'::regnamespace AND c.relkind IN ('r', 'v', 'p') AND NOT c.relispartition
                 AND c.relname <> 'token'
               UNION ALL
              SELECT 'rowcall_aggregator', format('rowcall.%I', c.relname), 'SELECT'
                FROM pg_class AS c WHERE c.relnamespace = 'rowcall'::regnamespace AND c.relkind IN ('r', 'v', 'p') AND NOT c.relispartition
               UNION ALL VALUES
                  ('rowcall_reader', 'public.host_info', 'SELECT'),
                  ('rowcall_reader', 'public.host_usage', 'SELECT'),
                  ('rowcall_reader', 'public.host_latest', 'SELECT'),
                  ('rowcall_reader', 'public.host_label', 'SELECT'),
                  ('rowcall_reader', 'public.host_info_history', 'SELECT'),
                  ('rowcall_reader', 'public.host_boot', 'SELECT'),
                  ('rowcall_reader', 'public.host_vitals', 'SELECT'),
                  ('rowcall_reader', 'public.host_device', 'SELECT'),
                  ('rowcall_reader', 'public.host_metric', 'SELECT'),
                  ('rowcall_reader', 'public.host_filesystem', 'SELECT'),
                  ('rowcall_reader', 'public.host_disk', 'SELECT'),
                  ('rowcall_reader', 'public.host_interface', 'SELECT'),
                  ('rowcall_reader', 'public.host_sensor', 'SELECT'),
                  ('rowcall_reader', 'public.host_md_array', 'SELECT'),
                  ('rowcall_reader', 'public.host_memory_controller', 'SELECT'),
                  ('rowcall_reader', 'public.host_cgroup', 'SELECT'),
                  ('rowcall_reader', 'public.host_process', 'SELECT'),
                  ('rowcall_reader', 'public.host_skipped', 'SELECT'),
                  ('rowcall_aggregator', 'public.host_info', 'SELECT,INSERT,UPDATE'),
                  ('rowcall_aggregator', 'public.host_usage', 'SELECT,INSERT'),
                  ('rowcall_aggregator', 'public.host_latest', 'SELECT,INSERT,UPDATE'),
                  ('rowcall_aggregator', 'public.host_label', 'SELECT,INSERT,UPDATE,DELETE'),
                  ('rowcall_aggregator', 'public.host_info_history', 'SELECT'),
                  ('rowcall_aggregator', 'public.host_boot', 'SELECT'),
                  ('rowcall_aggregator', 'public.host_vitals', 'SELECT,INSERT'),
                  ('rowcall_aggregator', 'public.host_device', 'SELECT,INSERT'),
                  ('rowcall_aggregator', 'public.host_metric', 'SELECT,INSERT'),
                  ('rowcall_aggregator', 'rowcall.device_sample', 'INSERT'),
                  ('rowcall_aggregator', 'rowcall.host_interval', 'INSERT,UPDATE'),
                  ('rowcall_aggregator', 'rowcall.epoch', 'INSERT,UPDATE'),
                  ('rowcall_aggregator', 'rowcall.gap', 'INSERT'),
                  ('rowcall_aggregator', 'rowcall.quarantine', 'INSERT'),
                  ('rowcall_aggregator', 'rowcall.quarantine_day', 'INSERT,UPDATE'),
                  ('rowcall_aggregator', 'rowcall.aggregator_span', 'INSERT,UPDATE'),
                  ('rowcall_aggregator', 'rowcall.run', 'INSERT,UPDATE'),
                  ('rowcall_aggregator', 'rowcall.clock_span', 'INSERT,UPDATE'),
                  ('rowcall_aggregator', 'rowcall.token', 'INSERT'),
                  ('rowcall_aggregator', 'rowcall.certificate', 'INSERT'),
                  ('rowcall_aggregator', 'rowcall.host_access', 'INSERT,UPDATE'),
                  ('rowcall_aggregator', 'rowcall.host_alias', 'INSERT,DELETE'),
                  ('rowcall_aggregator', 'rowcall.session', 'INSERT,UPDATE,DELETE'),
                  ('rowcall_aggregator', 'rowcall.conflict', 'INSERT,UPDATE')
          ) AS g
         CROSS JOIN LATERAL unnest(string_to_array(g.privileges, ',')) AS p (privilege)
         WHERE EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = g.role)
    LOOP
        CONTINUE WHEN has_table_privilege(r.role, r.name, r.privilege);
        EXECUTE format('GRANT %s ON %s TO %I', r.privilege, r.name, r.role);
    END LOOP;

    -- By columns: a reader never sees the hash of a secret; what was recorded of changes has the
    -- database's number and time; and what an aggregator may change of a token or a certificate.
    FOR r IN
        SELECT g.role, g.name, g.privilege, a.attname AS column
          FROM (VALUES ('rowcall_reader', 'rowcall.token', 'SELECT', ARRAY['id', 'host_glob', 'labels', 'uses',
                            'used', 'created_at', 'created_by', 'expires_at', 'last_used_at', 'revoked_at',
                            'ephemeral_s', 'may_replace']),
                       ('rowcall_aggregator', 'rowcall.audit', 'INSERT', ARRAY['identity', 'peer', 'aggregator',
                            'action', 'target', 'result', 'detail']),
                       ('rowcall_aggregator', 'public.host_device', 'UPDATE', ARRAY['seen_on']),
                       ('rowcall_aggregator', 'rowcall.token', 'UPDATE', ARRAY['used', 'last_used_at', 'revoked_at']),
                       ('rowcall_aggregator', 'rowcall.certificate', 'UPDATE', ARRAY['last_seen_at', 'revoked_at'])
               ) AS g (role, name, privilege, columns)
          JOIN pg_attribute AS a ON a.attrelid = g.name::regclass AND a.attname = ANY (g.columns)
         WHERE EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = g.role)
    LOOP
        CONTINUE WHEN has_column_privilege(r.role, r.name, r.column, r.privilege);
        EXECUTE format('GRANT %s (%I) ON %s TO %I', r.privilege, r.column, r.name, r.role);
    END LOOP;

    -- Days are made and dropped, old rows deleted, and history kept in order, by these alone.
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'rowcall_aggregator') THEN
        FOR r IN
            SELECT f.name FROM (VALUES ('rowcall.create_days(date[])'), ('rowcall.make_days(date[])'),
                ('rowcall.drop_day(double precision, bigint)'), ('rowcall.forget_refused()'),
                ('rowcall.forget_old(double precision)'), ('rowcall.forget_access()'),
                ('rowcall.drop_device_day(double precision, double precision)'),
                ('rowcall.forget_devices(double precision)'),
                ('rowcall.tell_facts(integer, timestamptz, boolean, jsonb, text, timestamptz, integer, bigint)')) AS f (name)
        LOOP
            CONTINUE WHEN has_function_privilege('rowcall_aggregator', r.name, 'EXECUTE');
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO rowcall_aggregator', r.name);
        END LOOP;
    END IF;
END
$$;

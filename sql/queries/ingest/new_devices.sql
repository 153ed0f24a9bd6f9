-- Makes rows of devices that devices.sql did not find, and tells their ids. Parameters and order as there;
-- $6 rows of a host and kind at most. Beyond, all are one: it is called (other), and no rate is made of
-- it. The hosts are locked, so nobody else makes rows of theirs.
--
-- Without a join: a plan for any parameters takes their number for small, and joins row by row. What is
-- known of a host, and of its kind, is looked up once, at the first of its rows.
WITH wanted AS (
    SELECT
        w.host_id, w.kind, w.name, w.counted_since, w.attributes::jsonb AS attributes, w.place,
        row_number() OVER (PARTITION BY w.host_id ORDER BY w.kind, w.place) AS of_host,
        row_number() OVER (PARTITION BY w.host_id, w.kind ORDER BY w.place) AS of_kind
    FROM unnest($1::integer[], $2::text[], $3::text[], $4::bigint[], $5::text[])
        WITH ORDINALITY AS w (host_id, kind, name, counted_since, attributes, place)
),
counted AS (
    SELECT
        w.*,
        max(CASE WHEN w.of_host = 1 THEN (SELECT max(d.id) FROM host_device AS d WHERE d.host_id = w.host_id) END)
            OVER (PARTITION BY w.host_id) AS newest,
        w.of_kind + max(CASE WHEN w.of_kind = 1 THEN (
            SELECT count(*) FROM host_device AS d
            WHERE d.host_id = w.host_id AND d.kind = w.kind AND d.counted_since >= 0
        ) END) OVER (PARTITION BY w.host_id, w.kind) < $6::bigint AS fits
    FROM wanted AS w
),
placed AS (
    SELECT
        c.host_id, c.kind, c.place, c.newest,
        CASE WHEN c.fits THEN c.name ELSE '(other)' END AS name,
        CASE WHEN c.fits THEN c.counted_since ELSE -1 END AS counted_since,
        CASE WHEN c.fits THEN c.attributes ELSE '{}' END AS attributes,
        CASE WHEN NOT c.fits THEN (
            SELECT d.id FROM host_device AS d
            WHERE d.host_id = c.host_id AND d.kind = c.kind AND d.name = '(other)' AND d.counted_since = -1
        ) END AS known
    FROM counted AS c
),
numbered AS MATERIALIZED (
    SELECT
        p.host_id, p.kind, p.place, p.name, p.counted_since, p.attributes, p.known IS NULL AS is_new,
        coalesce(p.known, coalesce(p.newest, 0) + dense_rank() OVER (
            PARTITION BY p.host_id, p.known IS NULL ORDER BY p.kind, p.name, p.counted_since, p.attributes
        ))::integer AS id
    FROM placed AS p
),
made AS (
    INSERT INTO host_device (host_id, id, kind, name, counted_since, attributes)
    SELECT DISTINCT n.host_id, n.id, n.kind, n.name, n.counted_since, n.attributes FROM numbered AS n WHERE n.is_new
)
SELECT n.id FROM numbered AS n ORDER BY n.place

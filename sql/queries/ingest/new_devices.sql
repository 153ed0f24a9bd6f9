-- Makes rows of devices that devices.sql did not find, and tells their ids. Parameters and order as there;
-- $6 rows of a host and kind at most. Beyond, all are one: it is called (other), and no rate is made of
-- it. The hosts are locked, so nobody else makes rows of theirs.
WITH wanted AS MATERIALIZED (
    SELECT w.host_id, w.kind, w.name, w.counted_since, w.attributes::jsonb AS attributes, w.place
    FROM unnest($1::integer[], $2::text[], $3::text[], $4::bigint[], $5::text[])
        WITH ORDINALITY AS w (host_id, kind, name, counted_since, attributes, place)
),
present AS MATERIALIZED (
    SELECT k.host_id, k.kind, (
        SELECT count(*) FROM host_device AS d
        WHERE d.host_id = k.host_id AND d.kind = k.kind AND d.counted_since >= 0
    ) AS devices
    FROM (SELECT DISTINCT host_id, kind FROM wanted) AS k
),
placed AS MATERIALIZED (
    SELECT
        w.host_id, w.kind, w.place, f.fits,
        CASE WHEN f.fits THEN w.name ELSE '(other)' END AS name,
        CASE WHEN f.fits THEN w.counted_since ELSE -1 END AS counted_since,
        CASE WHEN f.fits THEN w.attributes ELSE '{}' END AS attributes
    FROM (
        SELECT w.*, row_number() OVER (PARTITION BY w.host_id, w.kind ORDER BY w.place) AS number FROM wanted AS w
    ) AS w
    JOIN present AS p USING (host_id, kind)
    CROSS JOIN LATERAL (SELECT p.devices + w.number < $6::bigint) AS f (fits)
),
lacking AS MATERIALIZED (
    SELECT DISTINCT p.host_id, p.kind, p.name, p.counted_since, p.attributes FROM placed AS p
    WHERE p.fits OR NOT EXISTS (
        SELECT FROM host_device AS d WHERE d.host_id = p.host_id AND d.kind = p.kind
            AND d.name = '(other)' AND d.counted_since = -1
    )
),
made AS (
    INSERT INTO host_device (host_id, id, kind, name, counted_since, attributes)
    SELECT
        l.host_id,
        coalesce(h.newest, 0) + row_number() OVER (PARTITION BY l.host_id ORDER BY l.kind, l.name, l.counted_since),
        l.kind, l.name, l.counted_since, l.attributes
    FROM lacking AS l
    JOIN (
        SELECT o.host_id, (SELECT max(d.id) FROM host_device AS d WHERE d.host_id = o.host_id) AS newest
        FROM (SELECT DISTINCT host_id FROM lacking) AS o
    ) AS h USING (host_id)
    RETURNING host_id, id, kind, name, counted_since, attributes
)
SELECT coalesce(m.id, d.id) AS id
FROM placed AS p
LEFT JOIN made AS m USING (host_id, kind, name, counted_since, attributes)
LEFT JOIN host_device AS d
    ON d.host_id = p.host_id AND d.kind = p.kind AND d.name = '(other)' AND d.counted_since = -1 AND NOT p.fits
ORDER BY p.place

-- Whether the database holds less than it had committed. Arrays with one element per live session:
-- $1 host id, $2 epoch id, $3 the agent's number of that epoch, $4 the mark that was committed.
--
-- A host may have another epoch now, since another stream of it was opened elsewhere: then the one
-- here was closed, with its mark. An epoch that is gone, or another one under its id, is lost whole.
-- Answer: a row only if something is lost. Of how many hosts; of the one that lost most its id, its
-- name if it is still that host's, the mark that was and the one that is.
WITH live AS (
    SELECT * FROM unnest($1::integer[], $2::integer[], $3::bigint[], $4::bigint[])
        AS m (host_id, epoch_id, epoch, mark)
),
found AS (
    SELECT m.*, e.id IS NOT NULL AND l.host_id IS NOT NULL AS known,
           CASE WHEN e.id IS NULL OR l.host_id IS NULL THEN 0
                WHEN l.epoch_id = m.epoch_id THEN l.mark
                ELSE e.mark END AS mark_now
    FROM live AS m
    LEFT JOIN rowcall.epoch AS e ON e.id = m.epoch_id AND e.host_id = m.host_id AND e.epoch = m.epoch
    LEFT JOIN host_latest AS l ON l.host_id = m.host_id
)
SELECT count(*) OVER () AS hosts, f.host_id,
       (SELECT hostname FROM host_info WHERE id = f.host_id AND f.known) AS hostname,
       f.mark, f.mark_now
FROM found AS f
WHERE NOT f.known OR f.mark_now < f.mark
ORDER BY f.mark - f.mark_now DESC, f.host_id
LIMIT 1

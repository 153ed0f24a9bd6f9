-- Which of some live identities are refused, and why: arrays of name $1, fingerprint $2 and begin of the
-- certificate $3; numbers count from 1.
--
-- rowcall.refusal decides, and is asked only of those that it could refuse: few, where all are looked
-- through every 5 s. Indexes: host_access_refused, certificate_revoked.
WITH suspect AS MATERIALIZED (
    SELECT a.host_id FROM rowcall.host_access AS a WHERE a.ended_at IS NOT NULL OR a.refused_before IS NOT NULL
)
SELECT l.number, d.why, d.since, d.reason
FROM unnest($1::text[], $2::bytea[], $3::timestamptz[]) WITH ORDINALITY
    AS l (name, fingerprint, not_before, number)
CROSS JOIN LATERAL rowcall.refusal(rowcall.host_named(l.name), l.fingerprint, l.not_before) AS d
WHERE l.name IN (SELECT h.hostname FROM suspect AS s JOIN host_info AS h ON h.id = s.host_id
                  UNION ALL
                 SELECT a.name FROM suspect AS s JOIN rowcall.host_alias AS a ON a.host_id = s.host_id)
   OR l.fingerprint IN (SELECT c.fingerprint FROM rowcall.certificate AS c WHERE c.revoked_at IS NOT NULL)
ORDER BY l.number

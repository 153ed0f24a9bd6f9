-- Which of some live identities are refused, and why: arrays of name $1, fingerprint $2 and begin of the
-- certificate $3; numbers count from 1.
SELECT l.number, d.why, d.since, d.reason
FROM unnest($1::text[], $2::bytea[], $3::timestamptz[]) WITH ORDINALITY
    AS l (name, fingerprint, not_before, number)
LEFT JOIN host_info AS h ON h.hostname = l.name
LEFT JOIN rowcall.host_alias AS a ON a.name = l.name
CROSS JOIN LATERAL rowcall.refusal(coalesce(h.id, a.host_id), l.fingerprint, l.not_before) AS d
ORDER BY l.number

-- Who ($1 identity, $2 peer, $3 aggregator) did what ($4) to what ($5), with what result ($6), in words
-- ($7). A refusal that repeats within the hour is recorded once. Index: audit_by_target.
INSERT INTO rowcall.audit (identity, peer, aggregator, action, target, result, detail)
SELECT $1::text, $2::text, $3::text, $4::text, $5::text, $6::text, $7::text
WHERE $6 = 'ok' OR NOT EXISTS (
    SELECT FROM rowcall.audit AS a
    WHERE a.target = $5 AND a.at > now() - interval '1 hour' AND a.action = $4 AND a.identity = $1
      AND a.result = $6
)

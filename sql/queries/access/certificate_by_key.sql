-- The certificate that was issued for the key with hash $1: what it is, whom and what it was for, whether
-- it is that of the host that has or had the name $2, and whether it is over.
SELECT c.host_id, c.fingerprint, c.serial, c.not_before, c.not_after, c.certificate_der, c.token_id,
       c.host_id IS NOT DISTINCT FROM rowcall.host_named($2::text) AS same_host,
       c.not_after <= now() AS over,
       d.why, d.since, d.reason
FROM rowcall.certificate AS c
LEFT JOIN LATERAL rowcall.refusal(c.host_id, c.fingerprint, c.not_before) AS d ON true
WHERE c.key_sha256 = $1 AND c.origin <> 'seen'

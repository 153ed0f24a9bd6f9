-- A certificate that was issued: fingerprint $1, for host $2, serial $3, hash of its key $4, from $5 to $6,
-- origin $7, traded for token $8, and itself $9. No row: the key has one already.
INSERT INTO rowcall.certificate (fingerprint, host_id, serial, key_sha256, not_before, not_after, origin, token_id, certificate_der)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT DO NOTHING
RETURNING host_id

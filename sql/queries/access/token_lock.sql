-- Locks the token with id $1 and the hash $2 of its secret: its enrolments come one after the other. No
-- row: there is none of this id, or its secret is another one. Whether it may enrol the name $3: its
-- pattern is taken as by the reports, word for word.
SELECT t.host_glob, t.uses, t.used, t.ephemeral_s, t.may_replace,
       t.revoked_at IS NOT NULL AS revoked,
       t.expires_at <= now() AS expired, t.expires_at,
       t.host_glob IS NULL OR $3::text LIKE translate(replace(replace(replace(
           lower(t.host_glob), '\', '\\'), '%', '\%'), '_', '\_'), '*?', '%_') AS fits
FROM rowcall.token AS t
WHERE t.id = $1 AND t.secret_sha256 = $2
FOR NO KEY UPDATE

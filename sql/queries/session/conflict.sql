-- The host that has the name $1, or had it, is held by the process $2 of an agent, from address $3 on
-- machine $4; a newcomer with the process $5, from address $6 on machine $7, was refused. What went on
-- within 10 minutes is one row; nothing happens where the host is not known.
WITH host AS (
    SELECT rowcall.host_named($1::text) AS id
),
goes_on AS (
    UPDATE rowcall.conflict AS c
    SET last_at = now(), attempts = c.attempts + 1, holder_run = $2::bigint, holder_peer = $3::text,
        holder_machine_id = $4::text, newcomer_peer = $6::text, newcomer_machine_id = $7::text
    FROM host AS h
    WHERE c.host_id = h.id AND c.newcomer_run = $5::bigint AND c.resolved_at IS NULL
      AND c.last_at > now() - interval '10 minutes'
    RETURNING c.host_id
)
INSERT INTO rowcall.conflict (host_id, newcomer_run, holder_run, holder_peer, holder_machine_id,
                              newcomer_peer, newcomer_machine_id)
SELECT h.id, $5, $2, $3, $4, $6, $7 FROM host AS h
WHERE h.id IS NOT NULL AND NOT EXISTS (SELECT FROM goes_on)
ON CONFLICT (host_id, newcomer_run, first_at) DO NOTHING

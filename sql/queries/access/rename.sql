-- Host $1 is called $2 from now on; its name before stays its own, and so may this one have been.
WITH own AS (
    DELETE FROM rowcall.host_alias WHERE name = $2::text AND host_id = $1::integer
),
before AS (
    INSERT INTO rowcall.host_alias (name, host_id)
    SELECT h.hostname, h.id FROM host_info AS h WHERE h.id = $1
)
UPDATE host_info SET hostname = $2 WHERE id = $1

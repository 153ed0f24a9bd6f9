-- The host that has the name $1, or had it, unless that is host $2.
SELECT h.hostname FROM host_info AS h WHERE h.id = rowcall.host_named($1::text) AND h.id <> $2

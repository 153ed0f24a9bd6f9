-- Takes the labels with keys $2 off host $1.
DELETE FROM host_label WHERE host_id = $1::integer AND key = ANY ($2::text[])

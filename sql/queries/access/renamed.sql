-- Which of the names $1 are former ones, and what their hosts are called now; numbers count from 1.
SELECT l.number, h.hostname
FROM unnest($1::text[]) WITH ORDINALITY AS l (name, number)
JOIN rowcall.host_alias AS a ON a.name = l.name
JOIN host_info AS h ON h.id = a.host_id
ORDER BY l.number

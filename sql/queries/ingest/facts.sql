-- Tells what host $1 was at the time $2 of its own record: facts by column $3, a JSON object in which
-- what is absent or null is not known; the boot that they are of, its id $4 and when it was $5; the
-- record's epoch $6 and sequence $7.
--
-- Older than what is known, it becomes a part of the host's history. Its host_info row is locked.
SELECT rowcall.tell_facts($1::integer, $2::timestamptz, false, $3::text::jsonb, $4::text, $5::timestamptz, $6::integer, $7::bigint)

-- Tells what host $1 is now: facts by column $2, a JSON object in which what is absent or null is not
-- known; its boot, id $3 and when it was $4; its clock $5, and the epoch $6 and the sequence $7 of its next
-- record. Whether it is another than it was known to be.
SELECT rowcall.tell_facts($1::integer, $5::timestamptz, true, $2::text::jsonb, $3::text, $4::timestamptz, $6::integer, $7::bigint)

-- Tells what host $1 is now: facts by column $2, a JSON object in which what is absent or null is not
-- known; its boot, id $3 and when it was $4. Whether it is another than it was known to be.
SELECT rowcall.tell_facts($1::integer, now(), true, $2::text::jsonb, $3::text, $4::timestamptz)

-- Deletes up to 10,000 devices of which no reading is left, kept for $1 seconds, for 30 days; tells how many.
SELECT rowcall.forget_devices($1::float8)

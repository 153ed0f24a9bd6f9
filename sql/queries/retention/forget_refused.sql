-- Deletes up to 10,000 refused records that came more than 30 days ago; tells how many.
SELECT rowcall.forget_refused()

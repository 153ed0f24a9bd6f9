-- Deletes what ended 30 days before the oldest sample that $1 seconds of retention keep: up to 10,000
-- gaps, closed epochs, runs, spans and intervals each; tells how many in all.
SELECT rowcall.forget_old($1::float8)

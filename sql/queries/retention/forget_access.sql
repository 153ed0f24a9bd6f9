-- Deletes up to 10,000 each of tokens and conflicts that were over a year ago, of certificates that expired
-- 90 days ago, and of sessions whose aggregator is gone; tells how many in all.
SELECT rowcall.forget_access()

-- Whether migrations can be recorded already.
SELECT to_regclass('rowcall.schema') IS NOT NULL

//! rowcall-aggregator: stream to PostgreSQL, reports.

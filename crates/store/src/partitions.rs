//! Days of `host_usage`.

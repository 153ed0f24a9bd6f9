//! Rowcall's end-to-end tests, on real processes.

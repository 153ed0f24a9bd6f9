//! rowcall-agent: sample, queue, stream.

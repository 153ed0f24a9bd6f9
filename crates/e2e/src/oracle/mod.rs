//! Outside of what is tested, it knows every sample produced and every acknowledgement seen, and
//! says what the database lacks, has twice, or has and shouldn't.
//!
//! A sample counts as produced when its spool says that it is on disk. An agent that is killed
//! between that and the saying leaves a hole in what was said, at the end of its life and of no
//! other place; rows from such holes are counted apart.

pub mod rows;
pub mod said;
pub mod verdict;

pub use verdict::Verdict;

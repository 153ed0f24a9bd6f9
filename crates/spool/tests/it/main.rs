//! The spool on real filesystems.

#[cfg(test)]
mod real;

//! The spool on real filesystems.

#[cfg(test)]
mod figures;
#[cfg(test)]
mod image;
#[cfg(test)]
mod mounts;
#[cfg(test)]
mod real;

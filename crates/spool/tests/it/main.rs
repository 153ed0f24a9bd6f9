//! The spool on real filesystems.

#[cfg(test)]
mod before_devices;
#[cfg(test)]
mod figures;
#[cfg(test)]
mod image;
#[cfg(test)]
mod mounts;
#[cfg(test)]
mod real;

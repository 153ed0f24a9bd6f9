//! The built program, run as a person would run it: its output, its files, its end.

#[cfg(test)]
mod process;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod up;

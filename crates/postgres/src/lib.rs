//! A private PostgreSQL server (majors 15 to 18): finds its binaries, makes a data directory,
//! starts it, guards it and stops it.
//!
//! The server belongs to the process that started it. It listens on a Unix socket only, in a short
//! folder of its own, and lets in three operating system users by peer authentication: the one the
//! server runs as, root, and the one that started it; all of them as the role [`ROLE`], a superuser.
//! As root the server runs as an unprivileged user, since PostgreSQL refuses root.
//!
//! A folder DIR given by the caller holds:
//!
//! | path | what |
//! |---|---|
//! | `DIR/postgres` | the data directory, 0700, owned by the server's user |
//! | `DIR/postgres.log` | what the server says (`postgres.log.1` is the one before it) |
//! | `DIR/postgres.lock` | held with `flock` by the owning process and its guard |
//! | `DIR/postgres.socket` | the path of the socket's folder |
//! | `DIR/postgres.new` | a data directory while `initdb` makes it; redone when interrupted |
//!
//! Limits: Linux (processes are identified through `/proc`); calls block, so an async program uses
//! a blocking thread; a socket's path has at most 107 bytes, so its folder stands under the system's
//! folder for temporary files, not in DIR.
//!
//! ```no_run
//! # fn main() -> Result<(), rowcall_postgres::Error> {
//! let server = rowcall_postgres::Server::options("/var/lib/rowcall").database("host_agent").start()?;
//! let url = server.url("host_agent");
//! # drop(url);
//! # Ok(())
//! # }
//! ```

mod binaries;
mod cluster;
mod error;
mod guard;
mod options;
mod postmaster;
mod run_as;
mod server;
mod socket;
mod text;
mod user;

pub use error::Error;
pub use options::Options;
pub use server::{Server, Shutdown};

/// The majors of PostgreSQL that can be used.
pub const SUPPORTED_MAJORS: std::ops::RangeInclusive<u32> = 15..=18;

/// The PostgreSQL role that everything connects as; a superuser of the private server.
pub const ROLE: &str = "rowcall";

/// The number in the socket's file name. No TCP port is opened.
pub const PORT: u16 = 5432;

//! What the spool asks of a disk: small enough to be simulated, faults included.

mod real;
#[cfg(test)]
pub(crate) mod sim;

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

pub(crate) use real::{RealDisk, check_owner, holder};

/// An open file.
pub(crate) trait File: Send + Sync + Debug {
    /// Reads what is there at `offset`, less at the file's end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of it.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Waits until what was written would survive a crash of the host. After an error nothing is
    /// known of what was written: the file must not be written again.
    fn sync(&self) -> io::Result<()>;
    /// Cuts it.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Its length.
    fn len(&self) -> io::Result<u64>;
    /// Whether it still has a name: a file whose folder was deleted takes writes that nobody will
    /// ever read.
    fn is_linked(&self) -> io::Result<bool>;
}

/// The folder of one spool, locked.
pub(crate) trait Disk: Send + Sync + Debug {
    /// The names in it.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens a file that is there.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Makes a file of zeros, in place of one of that name, with all its room allocated. What
    /// could not be made whole is gone again.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn File>>;
    /// Gives a file another name, in place of one that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file, if it is there.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Waits until names made, changed and removed would survive a crash of the host.
    fn sync_dir(&self) -> io::Result<()>;
    /// Makes the folder and its lock anew where somebody deleted them.
    fn restore(&self) -> io::Result<()>;
    /// Whether what is synced survives a crash of the host.
    fn is_durable(&self) -> bool;
}

/// The next piece of so many zeros that are to be written. It is part of the program's file: on a
/// stack its pages would stay with the thread.
pub(crate) fn zeros(left: u64) -> &'static [u8] {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    let length = usize::try_from(left).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
    ZEROS.get(..length).unwrap_or(&ZEROS)
}

/// Fills the buffer from `offset`; a part that cannot be read is zero, so that a bad sector costs
/// what lies in it and no more. Returns how much of it lies within the file.
pub(crate) fn read_what_can_be(file: &dyn File, buffer: &mut [u8], offset: u64) -> usize {
    const BLOCK: usize = 4096;
    let mut done = 0;
    let mut most = buffer.len();
    while done < buffer.len() {
        let Some(rest) = buffer.get_mut(done..most.max(done + 1)) else { break };
        let at = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(read) => {
                done += read;
                most = buffer.len();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if most > done + BLOCK => most = done + BLOCK,
            Err(_) => {
                rest.fill(0);
                let within = file.len().unwrap_or(0).saturating_sub(at);
                let read = rest.len().min(usize::try_from(within).unwrap_or(usize::MAX));
                if read == 0 {
                    break;
                }
                done += read;
                most = (done + BLOCK).min(buffer.len());
            }
        }
    }
    done
}

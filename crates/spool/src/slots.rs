//! The file of the positions.

use std::io;
use std::sync::Arc;

use crate::disk::{Disk, File};
use crate::positions::{FILE, Positions, SLOT_BYTES};
use crate::recover::Slots;
use crate::scan::offset;

/// Made under this name, then renamed: the old file is whole until the new one is.
pub(crate) const MADE: &str = "positions.new";

/// Writes the two slots in turn. The slot that was synced last is never written before the other
/// one is synced as well.
#[derive(Debug)]
pub(crate) struct SlotFile {
    file: Option<Arc<dyn File>>,
    generation: u64,
    write_to: usize,
    /// The newer slot may have been written by a process that did not sync it.
    is_unsynced: bool,
}

impl SlotFile {
    pub(crate) fn new(slots: Slots) -> Self {
        let Slots { file, generation, write_to, .. } = slots;
        Self { file, generation, write_to, is_unsynced: true }
    }

    /// Its folder was deleted.
    pub(crate) fn forget_file(&mut self) {
        self.file = None;
    }

    pub(crate) fn store(
        &mut self,
        disk: &dyn Disk,
        positions: &Positions,
        sync: bool,
    ) -> io::Result<()> {
        self.generation += 1;
        let bytes = positions.encode(self.generation);
        let Some(file) = &self.file else { return self.make(disk, &bytes) };
        let write = || {
            if self.is_unsynced {
                file.sync()?;
            }
            file.write_at(&bytes, offset(self.write_to * SLOT_BYTES))?;
            if sync {
                file.sync()?;
            }
            if file.is_linked()? { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
        };
        let written = write();
        self.is_unsynced = false;
        match written {
            Ok(()) if sync => self.write_to = 1 - self.write_to,
            Ok(()) => {}
            // What is in the file now is not known, and syncing it again would not tell.
            Err(error) => {
                self.file = None;
                return Err(error);
            }
        }
        Ok(())
    }

    fn make(&mut self, disk: &dyn Disk, bytes: &[u8]) -> io::Result<()> {
        disk.restore()?;
        let file = disk.create(MADE, offset(2 * SLOT_BYTES))?;
        file.write_at(bytes, 0)?;
        file.sync()?;
        disk.rename(MADE, FILE)?;
        disk.sync_dir()?;
        self.file = Some(file);
        self.write_to = 1;
        Ok(())
    }
}

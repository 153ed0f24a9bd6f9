//! A disk in memory that forgets what was not synced, and fails when it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, File};

const SECTOR: usize = 512;

/// What the disk refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Files can't be made: no room.
    pub(crate) full: bool,
    /// Nothing can be written.
    pub(crate) write: bool,
    /// Nothing can be removed.
    pub(crate) remove: bool,
    /// Names can't be synced.
    pub(crate) names: bool,
    /// Syncing fails once, and what was not synced is lost though it still reads back.
    pub(crate) sync_once: bool,
    /// Syncing does nothing, and says that it did: the control.
    pub(crate) sync_lies: bool,
}

#[derive(Clone, Debug, Default)]
struct Content {
    now: Vec<u8>,
    safe: Vec<u8>,
    /// Sectors that the next sync makes safe. One that fails forgets them: the next one says yes,
    /// and they are not safe.
    dirty: BTreeSet<usize>,
    links: u32,
}

#[derive(Clone, Debug, Default)]
struct Folder {
    files: BTreeMap<u64, Content>,
    names: BTreeMap<String, u64>,
    safe_names: BTreeMap<String, u64>,
    next: u64,
    faults: Faults,
    /// Most bytes of all files.
    room: Option<u64>,
    /// The most bytes there ever were, files with a name only.
    most: u64,
}

/// See the module's page.
#[derive(Debug)]
pub(crate) struct SimDisk {
    folder: Arc<Mutex<Folder>>,
    /// The machine that used it is gone: whoever still holds it changes nothing.
    dead: Arc<AtomicBool>,
}

/// Small random numbers, the same for the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

fn dead() -> io::Error {
    io::Error::other("the machine is gone")
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl SimDisk {
    pub(crate) fn new() -> Self {
        Self { folder: Arc::default(), dead: Arc::default() }
    }

    fn lock(&self) -> io::Result<MutexGuard<'_, Folder>> {
        if self.dead.load(Ordering::SeqCst) {
            return Err(dead());
        }
        Ok(self.folder.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn folder(&self) -> MutexGuard<'_, Folder> {
        self.folder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.folder().faults = faults;
    }

    pub(crate) fn faults(&self) -> Faults {
        self.folder().faults
    }

    pub(crate) fn set_room(&self, room: Option<u64>) {
        self.folder().room = room;
    }

    /// Bytes of all files that have a name.
    pub(crate) fn used(&self) -> u64 {
        self.folder().used()
    }

    /// The most bytes that there ever were of them, at any moment.
    pub(crate) fn most_used(&self) -> u64 {
        self.folder().most
    }

    /// The host stops without a word. Of what was not synced, some sectors are there all the same,
    /// the last one perhaps in part; names changed since the last sync may be old or new.
    pub(crate) fn crash(&self, dice: &mut Dice) -> Self {
        self.dead.store(true, Ordering::SeqCst);
        let mut folder = self.folder().clone();
        folder.faults = Faults::default();
        if dice.roll(2) == 0 {
            folder.names = folder.safe_names.clone();
        }
        for content in folder.files.values_mut() {
            content.settle(dice);
        }
        let names = folder.names.clone();
        folder.files.retain(|id, _| names.values().any(|named| named == id));
        folder.files.values_mut().for_each(|content| content.links = 1);
        folder.safe_names = names;
        folder.most = folder.most.max(folder.used());
        Self { folder: Arc::new(Mutex::new(folder)), dead: Arc::default() }
    }

    /// The process is killed: what it wrote stays in the system's memory.
    pub(crate) fn kill(&self) -> Self {
        self.dead.store(true, Ordering::SeqCst);
        let folder = self.folder().clone();
        Self { folder: Arc::new(Mutex::new(folder)), dead: Arc::default() }
    }

    /// The same content, on another disk.
    pub(crate) fn copy(&self) -> Self {
        Self { folder: Arc::new(Mutex::new(self.folder().clone())), dead: Arc::default() }
    }

    /// Changes a file as no program would.
    pub(crate) fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut folder = self.folder();
        let id = folder.names[name];
        let content = folder.files.get_mut(&id).unwrap();
        change(&mut content.now);
        content.safe = content.now.clone();
    }

    /// Turns one bit of a file.
    pub(crate) fn damage_bit(&self, name: &str, bit: usize) {
        let mut folder = self.folder();
        let id = folder.names[name];
        folder.files.get_mut(&id).unwrap().now[bit / 8] ^= 1 << (bit % 8);
    }

    /// What is in a file.
    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        let folder = self.folder();
        folder.files[&folder.names[name]].now.clone()
    }

    /// Somebody deletes everything.
    pub(crate) fn delete_all(&self) {
        let mut folder = self.folder();
        folder.names.clear();
        folder.safe_names.clear();
        folder.files.values_mut().for_each(|content| content.links = 0);
    }
}

fn len(content: &Content) -> u64 {
    u64::try_from(content.now.len()).unwrap()
}

impl Content {
    fn sync(&mut self) {
        self.safe.resize(self.now.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            let from = (sector * SECTOR).min(self.now.len());
            let to = (from + SECTOR).min(self.now.len());
            self.safe[from..to].copy_from_slice(&self.now[from..to]);
        }
    }

    fn settle(&mut self, dice: &mut Dice) {
        let mut after = self.safe.clone();
        if dice.roll(2) == 0 {
            after.resize(self.now.len(), 0);
        }
        let most = dice.roll(4);
        for (at, sector) in after.chunks_mut(SECTOR).enumerate() {
            let from = at * SECTOR;
            let now = self.now.get(from..self.now.len().min(from + sector.len())).unwrap_or(&[]);
            let written = match dice.roll(4) {
                part if part < most => now.len(),
                3 => usize::try_from(dice.roll(512)).unwrap().min(now.len()),
                _ => 0,
            };
            sector[..written].copy_from_slice(&now[..written]);
        }
        self.now = after.clone();
        self.safe = after;
        self.dirty.clear();
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock()?.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let id = *self.lock()?.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(id))
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn File>> {
        let used = self.used();
        let mut folder = self.lock()?;
        if folder.faults.write {
            return Err(io::Error::other("cannot be written"));
        }
        if folder.faults.full || folder.room.is_some_and(|room| used + bytes > room) {
            return Err(full());
        }
        folder.next += 1;
        let id = folder.next;
        let now = vec![0; usize::try_from(bytes).unwrap()];
        let content = Content { safe: now.clone(), now, dirty: BTreeSet::new(), links: 1 };
        folder.files.insert(id, content);
        folder.unlink(name);
        folder.names.insert(name.to_owned(), id);
        folder.most = folder.most.max(folder.used());
        Ok(self.file(id))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut folder = self.lock()?;
        if folder.faults.write {
            return Err(io::Error::other("cannot be written"));
        }
        let id = folder.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        folder.unlink(to);
        folder.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut folder = self.lock()?;
        if folder.faults.write || folder.faults.remove {
            return Err(io::Error::other("cannot be removed"));
        }
        folder.unlink(name);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut folder = self.lock()?;
        if folder.faults.write || folder.faults.names {
            return Err(io::Error::other("cannot be written"));
        }
        if !folder.faults.sync_lies {
            folder.safe_names = folder.names.clone();
        }
        Ok(())
    }

    fn restore(&self) -> io::Result<()> {
        let folder = self.lock()?;
        if folder.faults.write { Err(io::Error::other("cannot be written")) } else { Ok(()) }
    }

    fn is_durable(&self) -> bool {
        true
    }
}

impl Folder {
    fn used(&self) -> u64 {
        self.names.values().map(|id| len(&self.files[id])).sum()
    }

    fn unlink(&mut self, name: &str) {
        if let Some(id) = self.names.remove(name)
            && let Some(content) = self.files.get_mut(&id)
        {
            content.links = 0;
        }
    }
}

impl SimDisk {
    fn file(&self, id: u64) -> Arc<dyn File> {
        let (folder, dead) = (Arc::clone(&self.folder), Arc::clone(&self.dead));
        Arc::new(SimFile { disk: Self { folder, dead }, id })
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    id: u64,
}

impl SimFile {
    fn with<T>(&self, f: impl FnOnce(&mut Content, &mut Faults) -> io::Result<T>) -> io::Result<T> {
        let mut folder = self.disk.lock()?;
        let Folder { files, faults, .. } = &mut *folder;
        f(files.get_mut(&self.id).ok_or_else(dead)?, faults)
    }
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|content, _| {
            let from = usize::try_from(offset).unwrap().min(content.now.len());
            let bytes = &content.now[from..content.now.len().min(from + buffer.len())];
            buffer[..bytes.len()].copy_from_slice(bytes);
            Ok(bytes.len())
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.with(|content, faults| {
            if faults.write {
                return Err(io::Error::other("cannot be written"));
            }
            let from = usize::try_from(offset).unwrap();
            if content.now.len() < from + bytes.len() {
                content.now.resize(from + bytes.len(), 0);
            }
            content.now[from..from + bytes.len()].copy_from_slice(bytes);
            content.dirty.extend(from / SECTOR..(from + bytes.len()).div_ceil(SECTOR));
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|content, faults| {
            if faults.write {
                return Err(io::Error::other("cannot be written"));
            }
            if std::mem::take(&mut faults.sync_once) {
                content.dirty.clear();
                return Err(io::Error::other("cannot be synced"));
            }
            if !faults.sync_lies {
                content.sync();
            }
            Ok(())
        })
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.with(|content, _| {
            content.now.truncate(usize::try_from(bytes).unwrap());
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|content, _| Ok(len(content)))
    }

    fn is_linked(&self) -> io::Result<bool> {
        self.with(|content, _| Ok(content.links > 0))
    }
}

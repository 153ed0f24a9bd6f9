//! What went wrong last with an identity, left where `status` finds it: it asks no process.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rowcall_core::id::UnixMicros;
use serde_json::{Value, json};

use super::folder::Folder;

const FILE: &str = "notes.json";

/// Longest text kept, in bytes.
const MAX_TEXT_BYTES: usize = 2048;

/// Something that went wrong, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) at: UnixMicros,
    pub(crate) text: String,
}

/// What went wrong last; nothing where it is well again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Why this node is not enrolled yet.
    pub(crate) enrolment: Option<Note>,
    /// Why its certificate was not renewed.
    pub(crate) renewal: Option<Note>,
    /// Why aggregators refuse it.
    pub(crate) refused: Option<Note>,
}

/// The notes of a running agent.
#[derive(Clone, Debug)]
pub(crate) struct Notes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Nowhere, for certificates of one's own.
    dir: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    told: Told,
    /// Not on disk yet.
    is_dirty: bool,
    /// Somebody writes.
    is_writing: bool,
}

impl Notes {
    /// In this folder, beside what an earlier process left there.
    pub(crate) fn in_folder(dir: Option<&Path>) -> Self {
        let told = dir.map(read).unwrap_or_default();
        let state = Mutex::new(State { told, ..State::default() });
        Self(Arc::new(Inner { dir: dir.map(Path::to_owned), state }))
    }

    /// What is noted now.
    pub(crate) fn told(&self) -> Told {
        self.0.lock().told.clone()
    }

    /// Notes a change. Where something differs but the time it is written, soon: nobody waits for
    /// the disk.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Told)) {
        let mut state = self.0.lock();
        let before = state.told.clone();
        change(&mut state.told);
        if same(&before, &state.told) {
            state.told = before;
            return;
        }
        state.is_dirty = true;
        if self.0.dir.is_none() || std::mem::replace(&mut state.is_writing, true) {
            return;
        }
        drop(state);
        let inner = Arc::clone(&self.0);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || inner.write())),
            Err(_) => inner.write(),
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until nothing changes any more.
    fn write(&self) {
        loop {
            let told = {
                let mut state = self.lock();
                if !std::mem::take(&mut state.is_dirty) {
                    state.is_writing = false;
                    return;
                }
                state.told.clone()
            };
            let Some(dir) = &self.dir else { return };
            // It only informs.
            if let Err(error) = write(dir, &told) {
                tracing::debug!(dir = %dir.display(), %error, "what is wrong could not be noted");
            }
        }
    }
}

fn same(one: &Told, other: &Told) -> bool {
    let texts = |told: &Told| {
        [&told.enrolment, &told.renewal, &told.refused]
            .map(|note| note.as_ref().map(|note| note.text.clone()))
    };
    texts(one) == texts(other)
}

/// What is noted in a folder; nothing where there is none, or it is damaged.
pub(crate) fn read(dir: &Path) -> Told {
    let bytes = Folder::open(dir).and_then(|folder| folder.read(FILE)).ok().flatten();
    let value: Value =
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or(Value::Null);
    let note = |key: &str| {
        let note = value.get(key)?;
        let at = UnixMicros(note.get("unix_us")?.as_i64()?);
        Some(Note { at, text: note.get("text")?.as_str()?.to_owned() })
    };
    Told { enrolment: note("enrolment"), renewal: note("renewal"), refused: note("refused") }
}

fn write(dir: &Path, told: &Told) -> std::io::Result<()> {
    let note = |note: &Option<Note>| {
        note.as_ref().map(|Note { at, text }| {
            let (text, _) = text.split_at(text.floor_char_boundary(MAX_TEXT_BYTES));
            json!({ "unix_us": at.0, "text": text })
        })
    };
    let value = json!({
        "enrolment": note(&told.enrolment),
        "renewal": note(&told.renewal),
        "refused": note(&told.refused),
    });
    Folder::make(dir)?.write(FILE, value.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_found_by_others_and_gone_when_it_is_well_again() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("identity");
        let notes = Notes::in_folder(Some(&dir));
        assert_eq!(read(&dir), Told::default());
        let note = |at| Some(Note { at: UnixMicros(at), text: "no".into() });
        notes.change(|told| told.renewal = note(5));
        assert_eq!(read(&dir), Told { renewal: note(5), ..Told::default() });
        notes.change(|told| told.renewal = note(6));
        assert_eq!(read(&dir).renewal, note(5), "since when, not how often");
        assert_eq!(Notes::in_folder(Some(&dir)).told().renewal, note(5));
        notes.change(|told| told.renewal = None);
        assert_eq!(read(&dir), Told::default());
        std::fs::write(dir.join(FILE), "{").unwrap();
        assert_eq!(read(&dir), Told::default());
    }
}

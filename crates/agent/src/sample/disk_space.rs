//! Space left on the root filesystem.

use std::path::Path;

use super::kib;

/// What an ordinary user can still fill on the filesystem of `path`, in KiB. `None` when the
/// filesystem doesn't say.
pub(super) fn available_kib(path: &Path) -> Option<i64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    // bavail leaves out what is reserved for root; it counts fragments, not blocks.
    stat.f_bavail.checked_mul(stat.f_frsize).and_then(kib)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_filesystem_has_a_size_and_a_missing_path_has_none() {
        assert!(available_kib(Path::new("/")).is_some_and(|kib| kib >= 0));
        assert_eq!(available_kib(Path::new("/nonexistent/path")), None);
    }
}

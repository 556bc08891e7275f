//! Free disk space.

use std::path::Path;

/// Bytes that an ordinary user may still write to the file system of `folder`, which must exist; `None` where the
/// system does not say.
///
/// `statvfs` of POSIX through rustix; on other systems nothing is known and a full disk is found when it is full.
pub(super) fn free(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let stat = rustix::fs::statvfs(folder).ok()?;
        stat.f_bavail.checked_mul(stat.f_frsize)
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

/// Asks the system to write everything it holds for the file system of `folder` to the disk, so that a rename which
/// follows cannot survive a power failure that its contents do not.
pub(super) fn flush(folder: &Path) {
    #[cfg(target_os = "linux")]
    if let Ok(file) = fs_err::File::open(folder) {
        // Without it only a power failure right now does harm; a file system that cannot do it is no reason to fail.
        let _ = rustix::fs::syncfs(file.file());
    }
    #[cfg(not(target_os = "linux"))]
    let _ = folder;
}

#[cfg(all(test, unix))]
mod tests {
    #[test]
    fn it_is_known_on_unix() {
        let folder = tempfile::tempdir().unwrap();
        assert!(super::free(folder.path()).is_some());
        assert_eq!(super::free(&folder.path().join("missing")), None);
        super::flush(folder.path());
    }
}

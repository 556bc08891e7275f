//! Who may write a folder: one process, or the shards of one stage, and how others find out.
//!
//! The word of authority is an advisory lock of the system (`flock`, `LockFileEx`): it ends with the process that holds
//! it, however that ends. Beside it lies a note for people and for other hosts, whose locks a network file system may not
//! show: `owners/<name>.json` with process, host, command and the last sign of life, renewed every [`HEARTBEAT`]. A note
//! whose process is gone is stale: on this host when the lock is free, on another when it gave no sign for [`STALE`].

mod owner;

use std::{
    fs::TryLockError,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::Duration,
};

pub use owner::Owner;

use crate::{Context, Error, Event};

/// Time between two signs of life.
pub const HEARTBEAT: Duration = Duration::from_secs(10);
/// An owner on another host that gave no sign for this long is taken for dead.
pub const STALE: Duration = Duration::from_secs(120);
/// Time between two tries for a lock that is waited for.
const PATIENCE: Duration = Duration::from_millis(100);
/// Name of the note of a process that writes the whole folder.
const RUN: &str = "run";

/// The right to write a folder, given back when it is dropped or the process ends.
#[derive(Debug)]
pub struct Lock {
    /// Holds the system's lock; the second one is that of a shard.
    _files: Vec<fs_err::File>,
    note: PathBuf,
    owner: Owner,
    lost: Arc<AtomicBool>,
    stop: Option<mpsc::Sender<()>>,
    heart: Option<JoinHandle<()>>,
}

impl Lock {
    /// The right to write everything in `folder`.
    ///
    /// # Errors
    /// [`Error::Held`] if another process has it, or writes a part; [`Error::Io`].
    pub fn whole(folder: &Path, context: &Context<'_>) -> Result<Self, Error> {
        let file = open(&folder.join("lock"))?;
        match file.file().try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(folder)),
            // Some network file systems have no locks; the notes are all there is then.
            Err(TryLockError::Error(_)) => refuse_living(folder, true)?,
        }
        refuse_living(folder, false)?;
        Self::begin(folder, RUN, vec![file], context)
    }

    /// The right to write one part of `folder`, called `name`, beside other parts.
    ///
    /// # Errors
    /// [`Error::Held`] if another process writes the whole, or the same part; [`Error::Io`].
    pub fn part(folder: &Path, name: &str, context: &Context<'_>) -> Result<Self, Error> {
        let file = open(&folder.join("lock"))?;
        match file.file().try_lock_shared() {
            Ok(()) | Err(TryLockError::Error(_)) => {}
            Err(TryLockError::WouldBlock) => return Err(held(folder)),
        }
        let own = open(&owners(folder).join(format!("{name}.lock")))?;
        if let Err(TryLockError::WouldBlock) = own.file().try_lock() {
            return Err(held_by(folder, name));
        }
        for other in [RUN, name] {
            if Owner::read(&note(folder, other)).is_some_and(|owner| owner.lives_elsewhere()) {
                return Err(held_by(folder, other));
            }
        }
        Self::begin(folder, name, vec![file, own], context)
    }

    fn begin(folder: &Path, name: &str, files: Vec<fs_err::File>, context: &Context<'_>) -> Result<Self, Error> {
        let note = note(folder, name);
        if let Some(dead) = Owner::read(&note) {
            let text = format!("{}: taken over from {dead}, which is gone", folder.display());
            (context.report)(Event::Notice { text });
        }
        let owner = Owner::this();
        fs_err::create_dir_all(owners(folder))?;
        owner.write(&note)?;
        let lost = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = mpsc::channel();
        let heart = {
            let (note, owner, lost) = (note.clone(), owner.clone(), Arc::clone(&lost));
            std::thread::spawn(move || beat(&note, owner, &lost, &stopped))
        };
        Ok(Self { _files: files, note, owner, lost, stop: Some(stop), heart: Some(heart) })
    }

    /// Refuses to go on when another host has taken the folder over, as it may when this process was asleep.
    ///
    /// # Errors
    /// [`Error::Held`].
    pub fn check(&self) -> Result<(), Error> {
        match Owner::read(&self.note) {
            Some(now) if self.lost.load(Ordering::Relaxed) || !now.is_same(&self.owner) => {
                let folder = self.note.parent().and_then(Path::parent).unwrap_or(Path::new(".")).to_owned();
                Err(Error::Held { folder, holder: now.to_string() })
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(heart) = self.heart.take() {
            // It does nothing that could panic.
            let _ = heart.join();
        }
        if Owner::read(&self.note).is_some_and(|now| now.is_same(&self.owner)) {
            // Left behind, it would only be taken for stale.
            let _ = fs_err::remove_file(&self.note);
        }
        if let Some(folder) = self.note.parent() {
            let _ = fs_err::remove_dir(folder);
        }
    }
}

/// Renews the note until the sender is dropped, or somebody else has put theirs there.
fn beat(note: &Path, mut owner: Owner, lost: &AtomicBool, stopped: &mpsc::Receiver<()>) {
    while stopped.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
        match Owner::read(note) {
            Some(now) if !now.is_same(&owner) => {
                lost.store(true, Ordering::Relaxed);
                return;
            }
            _ => {
                owner.beat();
                // A full disk stops the run elsewhere; the next sign may be written again.
                let _ = owner.write(note);
            }
        }
    }
}

/// Holds the lock file `path` until it is dropped, after waiting for whoever has it. `what` is named in the notice.
///
/// # Errors
/// [`Error::Interrupted`] if the run is cancelled meanwhile; [`Error::Io`].
pub(crate) fn wait_for(path: &Path, what: &str, context: &Context<'_>) -> Result<fs_err::File, Error> {
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    let file = open(path)?;
    let mut told = false;
    loop {
        match file.file().try_lock() {
            // Without locks both compute the same; each file appears whole.
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(file),
            Err(TryLockError::WouldBlock) => {}
        }
        if !told {
            (context.report)(Event::Notice { text: format!("{what}: waiting for another process that makes it") });
            told = true;
        }
        if context.cancelled.load(Ordering::Relaxed) {
            return Err(Error::Interrupted { stage: what.to_owned() });
        }
        std::thread::sleep(PATIENCE);
    }
}

fn open(path: &Path) -> Result<fs_err::File, Error> {
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    Ok(fs_err::OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?)
}

fn owners(folder: &Path) -> PathBuf {
    folder.join("owners")
}

fn note(folder: &Path, name: &str) -> PathBuf {
    owners(folder).join(format!("{name}.json"))
}

/// Every note in a folder.
fn notes(folder: &Path) -> Result<Vec<Owner>, Error> {
    let folder = owners(folder);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .filter_map(|p| Owner::read(p))
        .collect())
}

/// Refuses when a note's owner lives on another host, or (where the system has no locks) on this one.
fn refuse_living(folder: &Path, here_too: bool) -> Result<(), Error> {
    let lives = |owner: &Owner| owner.lives_elsewhere() || (here_too && owner.lives_here());
    match notes(folder)?.into_iter().find(lives) {
        Some(owner) => Err(Error::Held { folder: folder.to_owned(), holder: owner.to_string() }),
        None => Ok(()),
    }
}

fn held(folder: &Path) -> Error {
    let holders: Vec<String> = notes(folder).unwrap_or_default().iter().map(ToString::to_string).collect();
    let holder = if holders.is_empty() { "another process".to_owned() } else { holders.join("; ") };
    Error::Held { folder: folder.to_owned(), holder }
}

fn held_by(folder: &Path, name: &str) -> Error {
    let holder = Owner::read(&note(folder, name)).map_or_else(|| "another process".to_owned(), |o| o.to_string());
    Error::Held { folder: folder.to_owned(), holder }
}

#[cfg(test)]
mod tests;

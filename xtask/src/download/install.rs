//! From sources, or from a file that is there, to the final place in the data folder.

use std::fs::TryLockError;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use ureq::Agent;

use super::failure::{Failure, size};
use super::fetch::{Wanted, fetch};
use super::lock::Lock;
use super::part::Part;
use super::sources::{Item, Source, Sources, plain_name};
use super::unpack::{UnpackError, holds, unpack};
use super::verify::{Expected, Fingerprint, fingerprint};
use super::{Policy, http, space};

/// Folder in the data folder for what is not complete.
const WORK: &str = ".download";

/// What a file of unknown length is taken for.
const UNKNOWN_BYTES: u64 = 1 << 30;

/// Where an item comes from.
#[derive(Debug)]
pub(super) enum Found {
    /// From the network, the item's sources in their order.
    Sources(Item),
    /// From a file of the person who called.
    File {
        /// What it is.
        item: Item,
        /// Where it lies; it stays there.
        path: PathBuf,
        /// The name its sha256 is recorded under.
        name: String,
        /// Its identity.
        print: Fingerprint,
    },
}

impl Found {
    /// What it is.
    pub(super) fn item(&self) -> &Item {
        match self {
            Self::Sources(item) | Self::File { item, .. } => item,
        }
    }
}

/// Works in one data folder; another process is kept out.
#[derive(Debug)]
pub(super) struct Installer<'a> {
    data_dir: PathBuf,
    work: PathBuf,
    lock: Lock,
    agent: Agent,
    policy: &'a Policy,
    /// Holds the lock of the operating system until it is closed.
    _guard: fs_err::File,
}

impl<'a> Installer<'a> {
    /// Takes hold of a data folder, which is made when it is new.
    ///
    /// # Errors
    /// When it cannot be written, or another process downloads into it.
    pub(super) fn new(data_dir: &Path, policy: &'a Policy) -> anyhow::Result<Self> {
        let work = data_dir.join(WORK);
        fs_err::create_dir_all(&work)?;
        let guard = fs_err::File::create(work.join("lock"))?;
        match guard.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("another download into {} is running; wait for its end", data_dir.display())
            }
            // A file system without locks: two at a time are then up to the caller.
            Err(TryLockError::Error(_)) => {}
        }
        let lock = Lock::read(data_dir)?;
        let agent = http::client(policy);
        Ok(Self { data_dir: data_dir.to_path_buf(), work, lock, agent, policy, _guard: guard })
    }

    /// Finds out which file of `sources` a person means by `--from`.
    ///
    /// # Errors
    /// When it is none of them.
    pub(super) fn choose(&self, sources: &Sources, from: &str) -> anyhow::Result<Found> {
        let names: Vec<&str> = sources.files.iter().flat_map(|item| &item.sources).map(|s| s.name.as_str()).collect();
        let by_name = |name: &str| {
            sources.files.iter().find_map(|item| Some((item, item.sources.iter().find(|source| source.name == name)?)))
        };
        let unknown = || format!("{from} is none of the expected files: {}", names.join(", "));
        if from.starts_with("https://") || from.starts_with("http://") {
            let last = from.split(['?', '#']).next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
            let (item, known) = match by_name(last) {
                Some(found) => found,
                None => {
                    ensure!(sources.files.len() == 1, "{}; give a URL that ends with one of these names", unknown());
                    (&sources.files[0], &sources.files[0].sources[0])
                }
            };
            // A mirror of an archive may have packed the same files anew; then it is a file of its own.
            let same = known.name == last || item.unpack.is_none();
            let name = if same || !plain_name(last) { &known.name } else { last };
            let source = Source { url: from.to_owned(), name: name.to_owned(), ..known.clone() };
            let source = if same { source } else { Source { bytes: None, sha256: None, ..source } };
            return Ok(Found::Sources(Item { sources: vec![source], ..item.clone() }));
        }

        let path = PathBuf::from(from);
        let kind = fs_err::metadata(&path).context("--from is neither a URL nor a file")?;
        ensure!(kind.is_file(), "{from} is no file; a folder that is unpacked already can be used as it is");
        let mut beginning = Vec::new();
        fs_err::File::open(&path)?.take(512).read_to_end(&mut beginning)?;
        if http::is_web_page(&beginning) {
            return Err(http::web_page(from).into());
        }
        let print = fingerprint(&path)?;
        let own_name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let by_hash = sources.files.iter().find_map(|item| {
            let same = |source: &&Source| source.sha256.as_ref().is_some_and(|hash| print.sha256.starts_with(hash));
            Some((item, item.sources.iter().find(same)?))
        });
        let (item, name) = match by_hash.or_else(|| by_name(own_name)) {
            Some((item, source)) => (item, source.name.clone()),
            None => {
                ensure!(sources.files.len() == 1, "{}, and its sha256 {} is none of theirs", unknown(), print.sha256);
                let item = &sources.files[0];
                // Of an archive packed by others only the contents can be compared.
                let name = if item.unpack.is_some() { own_name } else { &item.sources[0].name };
                (item, name.to_owned())
            }
        };
        ensure!(plain_name(&name), "{from} has no name that can be recorded; rename it");
        Ok(Found::File { item: item.clone(), path, name, print })
    }

    /// Whether an item is in its place and whole.
    ///
    /// # Errors
    /// When something else is in its place.
    pub(super) fn present(&self, item: &Item) -> anyhow::Result<bool> {
        let path = self.data_dir.join(&item.path);
        if !path.exists() {
            return Ok(false);
        }
        let advice = "move it away, or choose another folder with --data-dir, and call again";
        if let Some(inside) = &item.unpack {
            let contents = inside.contents.join(" and ");
            ensure!(holds(&path, &inside.contents), "{} is there, but without {contents}; {advice}", path.display());
            return Ok(true);
        }
        let print = fingerprint(&path)?;
        let differences = item.sources.iter().map(|source| self.expected(source).difference(&print));
        match differences.collect::<Option<Vec<_>>>() {
            Some(all) => bail!("{} is there, but {}; {advice}", path.display(), all[0]),
            None => Ok(true),
        }
    }

    /// Brings an item to its place.
    ///
    /// # Errors
    /// When none of its sources gives it; every one is named with its failure.
    pub(super) fn install(&mut self, found: &Found, by_hand: &str) -> anyhow::Result<()> {
        let item = match found {
            Found::Sources(item) => item,
            Found::File { item, path, name, print } => return self.install_file(item, path, name, print),
        };
        let mut failures = Vec::new();
        for source in &item.sources {
            match self.install_source(item, source) {
                Ok(()) => return Ok(()),
                Err(failure) => failures.push(failure.to_string()),
            }
        }
        bail!("`{}` could not be downloaded:\n  {}\n{}", item.path, failures.join("\n  "), by_hand.trim_end())
    }

    fn install_source(&mut self, item: &Item, source: &Source) -> Result<(), Failure> {
        let expected = self.expected(source);
        let (url, token) = self.policy.hub.resolve(&source.url)?;
        let local = |error: io::Error| Failure::local(&url, &error);
        let wanted = Wanted {
            url: &url,
            token,
            name: &source.name,
            expected: &expected,
            about_bytes: source.bytes.or(source.about_bytes).unwrap_or(UNKNOWN_BYTES),
            archive: item.unpack.is_some(),
            besides: item.unpack.as_ref().map_or(0, |unpack| unpack.about_bytes),
        };
        let part = Part::new(self.work.join(format!("{}.part", source.name)));
        let mut print = None;
        while print.is_none() {
            let pieced = fetch(&self.agent, &wanted, &part, self.policy)?;
            let found = fingerprint(part.path()).map_err(local)?;
            match expected.difference(&found) {
                None => print = Some(found),
                Some(difference) => {
                    part.discard().map_err(local)?;
                    // Pieces of different versions; a file of one piece is what the server has.
                    if !pieced {
                        let next = "it is another file and was removed; if it is right, remove its entry from \
                                    scgs-lock.toml, or else take another source with --from";
                        return Err(Failure::lasting(&url, format!("the file came, but {difference}"), next));
                    }
                }
            }
        }
        let print = print.expect("the loop ends with it");
        let result = match &item.unpack {
            None => self.place_file(item, &part, &source.name, &print, &url),
            Some(_) => self.place_folder(item, part.path(), &source.name, &print, &url),
        };
        match result {
            // Renamed or unpacked; an archive is of no more use.
            Ok(()) => part.discard().map_err(local),
            Err(error) => {
                let kept = error.downcast_ref::<UnpackError>().is_none_or(no_room);
                if !kept {
                    part.discard().map_err(local)?;
                }
                let next =
                    if kept { "the download itself is kept for the next call" } else { "nothing of it was kept" };
                Err(Failure::lasting(&url, format!("the file came, but {error:#}"), next))
            }
        }
    }

    /// A file of the person who called, which stays as it is.
    fn install_file(&mut self, item: &Item, path: &Path, name: &str, print: &Fingerprint) -> anyhow::Result<()> {
        let source = item.sources.iter().find(|source| source.name == name);
        let expected = match source {
            Some(source) => self.expected(source),
            None => Expected { locked: self.lock.sha256(name), ..Expected::default() },
        };
        if let Some(difference) = expected.difference(print) {
            bail!("{} is not the file it should be: {difference}; get it again", path.display());
        }
        let needed = item.unpack.as_ref().map_or(print.bytes, |unpack| unpack.about_bytes);
        if let Some(free) = (self.policy.free_space)(&self.data_dir).filter(|free| *free < needed) {
            let (free, needed) = (size(free), size(needed));
            bail!("the disk of {} has {free} free, {needed} are needed; free space", self.data_dir.display());
        }
        let origin = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        if item.unpack.is_some() {
            return self.place_folder(item, path, name, print, &origin).with_context(|| path.display().to_string());
        }
        let part = Part::new(self.work.join(format!("{name}.part")));
        part.discard()?;
        fs_err::copy(path, part.path())?;
        ensure!(fingerprint(part.path())? == *print, "{} changed while it was copied; call again", path.display());
        self.place_file(item, &part, name, print, &origin)
    }

    fn place_file(
        &mut self,
        item: &Item,
        part: &Part,
        name: &str,
        print: &Fingerprint,
        origin: &str,
    ) -> anyhow::Result<()> {
        self.lock.record(name, print, origin)?;
        space::flush(&self.data_dir);
        part.finish(&self.target(item)?)?;
        Ok(())
    }

    fn place_folder(
        &mut self,
        item: &Item,
        archive: &Path,
        name: &str,
        print: &Fingerprint,
        origin: &str,
    ) -> anyhow::Result<()> {
        let limits = item.unpack.as_ref().context("not an archive")?;
        let into = self.work.join(format!("{name}.unpacked"));
        remove_folder(&into)?;
        let folder = match unpack(archive, &into, limits) {
            Ok(folder) => folder,
            Err(error) => {
                remove_folder(&into)?;
                return Err(error.into());
            }
        };
        // Recorded only now: the check sums inside of the archive have shown that it is whole.
        self.lock.record(name, print, origin)?;
        space::flush(&self.data_dir);
        fs_err::rename(folder, self.target(item)?)?;
        remove_folder(&into)?;
        Ok(())
    }

    fn expected(&self, source: &Source) -> Expected {
        Expected::new(source, self.lock.sha256(&source.name))
    }

    /// The final path; its folder is made.
    fn target(&self, item: &Item) -> io::Result<PathBuf> {
        let path = self.data_dir.join(&item.path);
        fs_err::create_dir_all(path.parent().expect("it lies in the data folder"))?;
        Ok(path)
    }
}

/// Whether unpacking ended for a reason that is not the archive's.
fn no_room(error: &UnpackError) -> bool {
    let UnpackError::Io(error) = error else { return false };
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::PermissionDenied)
}

/// Removes a folder that may not be there.
fn remove_folder(path: &Path) -> io::Result<()> {
    if path.exists() { fs_err::remove_dir_all(path) } else { Ok(()) }
}

//! The packed cache: the pictures of a list, transformed, in one file that is mapped into memory.
//!
//! ```text
//! scgs-pack-1\n                 magic
//! 8 bytes, little endian        length of the header
//! header                        JSON: key, pictures, width, height
//! zeros up to 4096 * n
//! pictures * 3 * height * width bytes, each picture as three planes
//! ```
//!
//! The key is a sha256 over the transform and, for every picture, its path, length and time of change. A file with another key
//! or length is built anew. It is written under a temporary name and renamed, so processes that build it at the same time
//! replace each other's equal files. The normalisation is applied when values are read, so it is not part of the key.

use std::{
    io,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use memmap2::Mmap;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Normalisation, PictureError, Prepare, atomic};

const MAGIC: &[u8] = b"scgs-pack-1\n";
/// The pictures start at a multiple of this.
const PAGE: usize = 4096;
/// Pictures decoded at a time while a pack is built.
const CHUNK: usize = 64;
/// A header is a line of JSON; anything longer is no header of ours.
const MAX_HEADER: usize = 1 << 20;

/// Why there is no pack.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Occurs when the file cannot be written or read; the message names the path.
    #[error("{0}; check the free disk space of the cache folder, or go without one")]
    Io(#[from] io::Error),
    /// Occurs when pictures cannot be read; nothing is kept.
    #[error("{} picture(s) cannot be read", .0.len())]
    Pictures(Vec<PictureError>),
    /// Occurs when `progress` asks to stop; nothing is kept.
    #[error("stopped")]
    Stopped,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    key: String,
    pictures: usize,
    width: u32,
    height: u32,
}

/// Transformed pictures in a mapped file.
#[derive(Debug)]
pub struct Pack {
    map: Mmap,
    start: usize,
    pictures: usize,
    size: (u32, u32),
}

impl Pack {
    /// Opens the pack of `paths` at `file`, and builds it first where it is missing, stale or damaged. `progress(done)` is
    /// called while it is built, with the number of pictures so far; `false` stops.
    ///
    /// # Errors
    /// [`PackError`].
    pub fn open_or_build(
        file: &Path,
        paths: &[PathBuf],
        prepare: &Prepare,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Self, PackError> {
        let (width, height) = prepare.size();
        let header = Header { key: key(paths, prepare)?, pictures: paths.len(), width, height };
        if let Some(pack) = Self::open(file, &header)? {
            return Ok(pack);
        }
        tracing::debug!(file = %file.display(), "the pack is missing or stale and is built");
        build(file, &header, paths, prepare, progress)?;
        Self::open(file, &header)?.ok_or_else(|| {
            let text = format!("`{}` is not what was just written; something else writes there", file.display());
            PackError::Io(io::Error::other(text))
        })
    }

    /// `None` where the file is missing or another one.
    fn open(file: &Path, wanted: &Header) -> Result<Option<Self>, PackError> {
        if !file.is_file() {
            return Ok(None);
        }
        let opened = fs_err::File::open(file)?;
        // SAFETY: a file with this name is never changed in place: it is written under another name and renamed, and a later
        // one takes its place without touching it. Only a foreign program that cuts the file short could harm.
        let map = unsafe { Mmap::map(opened.file())? };
        let Some((found, start)) = read_header(&map) else { return Ok(None) };
        let size = (wanted.width, wanted.height);
        let bytes = wanted.pictures * each(size);
        if found != *wanted || map.len() != start + bytes {
            return Ok(None);
        }
        Ok(Some(Self { map, start, pictures: wanted.pictures, size }))
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.pictures
    }

    /// Whether there is no picture.
    pub fn is_empty(&self) -> bool {
        self.pictures == 0
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// Writes the normalised values of the pictures from `first` on into `out`, `[N, 3, height, width]`, row major.
    ///
    /// # Panics
    /// When `out` is no whole number of pictures, or there are not so many.
    pub fn values_into(&self, first: usize, normalisation: &Normalisation, out: &mut [f32]) {
        let each = each(self.size);
        assert!(out.len().is_multiple_of(each), "whole pictures");
        let n = out.len() / each;
        assert!(first + n <= self.pictures, "pictures {first}..{} of {}", first + n, self.pictures);
        let table = normalisation.table();
        let from = self.start + first * each;
        let source = &self.map[from..from + out.len()];
        let plane = each / 3;
        out.par_chunks_mut(plane).zip(source.par_chunks(plane)).enumerate().for_each(|(at, (out, bytes))| {
            let table = &table[at % 3];
            for (out, &byte) in out.iter_mut().zip(bytes) {
                *out = table[usize::from(byte)];
            }
        });
        self.forget(from, source.len());
    }

    /// Tells the system that this part of the map is not needed soon. Without it all that was read counts as memory of the
    /// process.
    fn forget(&self, from: usize, len: usize) {
        #[cfg(unix)]
        {
            // SAFETY: the map is shared and read-only, so that its pages come back from the file with the same content.
            let advised = unsafe { self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, from, len) };
            // It is advice: a system that does not take it is no failure.
            let _ = advised;
        }
        #[cfg(not(unix))]
        let _ = (from, len);
    }
}

/// Bytes of a picture.
fn each((width, height): (u32, u32)) -> usize {
    3 * width as usize * height as usize
}

/// The header and where the pictures start.
fn read_header(bytes: &[u8]) -> Option<(Header, usize)> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok().filter(|&length| length <= MAX_HEADER)?;
    let header = serde_json::from_slice(rest.get(..length)?).ok()?;
    Some((header, (MAGIC.len() + 8 + length).next_multiple_of(PAGE)))
}

fn build(
    file: &Path,
    header: &Header,
    paths: &[PathBuf],
    prepare: &Prepare,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<(), PackError> {
    if let Some(parent) = file.parent() {
        fs_err::create_dir_all(parent)?;
    }
    let mut stopped = None;
    let written = atomic::write_with(file, |out| {
        let json = serde_json::to_vec(header)?;
        let length = MAGIC.len() + 8 + json.len();
        out.write_all(MAGIC)?;
        out.write_all(&(json.len() as u64).to_le_bytes())?;
        out.write_all(&json)?;
        out.write_all(&vec![0; length.next_multiple_of(PAGE) - length])?;
        let mut stop = |why: PackError| {
            stopped = Some(why);
            io::Error::other("not finished")
        };
        let mut done = 0;
        for chunk in paths.chunks(CHUNK) {
            let planes: Vec<Result<Vec<u8>, PictureError>> =
                chunk.par_iter().map(|path| Ok(to_planes(prepare.picture(path)?.as_raw()))).collect();
            let mut bad = Vec::new();
            for planes in planes {
                match planes {
                    Ok(planes) => out.write_all(&planes)?,
                    Err(error) => bad.push(error),
                }
            }
            if !bad.is_empty() {
                return Err(stop(PackError::Pictures(bad)));
            }
            done += chunk.len();
            if !progress(done) {
                return Err(stop(PackError::Stopped));
            }
        }
        Ok(())
    });
    match (stopped, written) {
        (Some(why), _) => Err(why),
        (None, written) => Ok(written?),
    }
}

fn to_planes(pixels: &[u8]) -> Vec<u8> {
    let plane = pixels.len() / 3;
    let mut planes = vec![0; pixels.len()];
    for (at, pixel) in pixels.chunks_exact(3).enumerate() {
        for channel in 0..3 {
            planes[channel * plane + at] = pixel[channel];
        }
    }
    planes
}

/// Changes with the transform and with the path, length and time of change of every picture.
fn key(paths: &[PathBuf], prepare: &Prepare) -> io::Result<String> {
    let mut hasher = Sha256::new();
    hasher.update(MAGIC);
    let steps = serde_json::to_vec(prepare.transform())?;
    hasher.update((steps.len() as u64).to_le_bytes());
    hasher.update(steps);
    let facts: io::Result<Vec<(u64, u128)>> = paths
        .par_iter()
        .map(|path| {
            let metadata = fs_err::metadata(path)?;
            // A system without times of change knows lengths all the same.
            let time = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            Ok((metadata.len(), time.map_or(0, |time| time.as_nanos())))
        })
        .collect();
    for (path, (length, time)) in paths.iter().zip(facts?) {
        let name = path.as_os_str().as_encoded_bytes();
        hasher.update((name.len() as u64).to_le_bytes());
        hasher.update(name);
        hasher.update(length.to_le_bytes());
        hasher.update(time.to_le_bytes());
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
#[path = "pack_tests.rs"]
mod tests;

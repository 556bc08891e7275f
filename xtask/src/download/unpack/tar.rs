//! tar.gz files.
//!
//! The headers that carry long names are read here and not by the `tar` crate, which takes them into memory whole,
//! however long they are.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use tar::{Archive, EntryType};

use super::UnpackError;
use super::writer::{LONGEST_PATH, Writer, refused};
use crate::download::sources::Unpack;

/// The most bytes a header block of a long name or of attributes may have.
const LONGEST_HEADER: u64 = 1 << 16;

/// What an entry costs besides its contents: headers, and padding to 512 bytes.
const OVERHEAD: u64 = 4096;

/// Unpacks a tar.gz.
///
/// # Errors
/// [`UnpackError`].
pub(super) fn unpack(file: impl Read, writer: &mut Writer<'_>, limits: &Unpack) -> Result<(), UnpackError> {
    // Twice the overhead: the zeros at the end may fill a whole block of the writer's choice.
    let most = limits.max_bytes.saturating_add((limits.max_entries + 256).saturating_mul(2 * OVERHEAD));
    let mut archive = Archive::new(Capped { inner: MultiGzDecoder::new(io::BufReader::new(file)), left: most });
    let result = entries(&mut archive, writer);
    let mut rest = archive.into_inner();
    if result.is_err() && rest.left == 0 {
        return Err(UnpackError::TooLarge(limits.max_bytes));
    }
    result?;
    // The check sum of gzip comes after the last entry.
    io::copy(&mut rest, &mut io::sink())?;
    Ok(())
}

fn entries(archive: &mut Archive<impl Read>, writer: &mut Writer<'_>) -> Result<(), UnpackError> {
    let mut long_name: Option<Vec<u8>> = None;
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        writer.count()?;
        let kind = entry.header().entry_type();
        let own_name = entry.path_bytes().into_owned();
        match kind {
            EntryType::GNULongName => {
                let mut name = header(&mut entry, &own_name)?;
                name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
                long_name = Some(name);
                continue;
            }
            EntryType::XHeader => {
                if let Some(name) = attributes(&header(&mut entry, &own_name)?, &own_name)? {
                    long_name = Some(name);
                }
                continue;
            }
            // Such as the commit an archive was made from; says nothing of one file.
            EntryType::XGlobalHeader => continue,
            _ => {}
        }
        let name = long_name.take().unwrap_or(own_name);
        match kind {
            EntryType::Directory => writer.folder(&name)?,
            // In the oldest format a folder is a file whose name ends with a slash.
            EntryType::Regular if name.ends_with(b"/") => writer.folder(&name)?,
            EntryType::Regular | EntryType::Continuous => writer.file(&name, &mut entry)?,
            EntryType::Symlink | EntryType::Link | EntryType::GNULongLink => {
                return Err(refused(&name, "it is a link"));
            }
            _ => return Err(refused(&name, "it is neither a file nor a folder")),
        }
    }
    Ok(())
}

/// The contents of an entry that describes the next one.
fn header(entry: &mut impl Read, name: &[u8]) -> Result<Vec<u8>, UnpackError> {
    let mut bytes = Vec::new();
    entry.take(LONGEST_HEADER + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST_HEADER {
        return Err(refused(name, "its header is too long"));
    }
    Ok(bytes)
}

/// The `path` among the records `LENGTH KEY=VALUE\n` of a pax header.
fn attributes(bytes: &[u8], name: &[u8]) -> Result<Option<Vec<u8>>, UnpackError> {
    let damaged = || refused(name, "its extended header is damaged");
    let mut path = None;
    let mut rest = bytes;
    while !rest.is_empty() {
        let blank = rest.iter().position(|byte| *byte == b' ').ok_or_else(damaged)?;
        let digits = std::str::from_utf8(&rest[..blank]).map_err(|_| damaged())?;
        let length: usize = digits.parse().map_err(|_| damaged())?;
        let record = rest.get(blank + 1..length).and_then(|record| record.strip_suffix(b"\n")).ok_or_else(damaged)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(damaged)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        match key {
            b"path" if value.len() <= LONGEST_PATH => path = Some(value.to_vec()),
            b"path" => return Err(refused(name, "its name is too long")),
            // A size here replaces that of the entry, for files of 8 GB and more; a sparse file has its own map.
            b"size" => return Err(refused(name, "its size is that of no picture")),
            key if key.starts_with(b"GNU.sparse") => return Err(refused(name, "it is a sparse file")),
            _ => {}
        }
        rest = &rest[length..];
    }
    Ok(path)
}

/// Ends with an error after so many bytes.
struct Capped<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            // Not at the end means too large.
            return match self.inner.read(&mut [0])? {
                0 => Ok(0),
                _ => Err(io::Error::other("more bytes than the data set can have")),
            };
        }
        let n = self.inner.read(&mut buffer[..most])?;
        self.left -= n as u64;
        Ok(n)
    }
}

//! Features on their way to the disk, so that a pass over many pictures goes on where it was stopped.
//!
//! A file begins with a mark and the sha256 of what is computed; a record follows for each batch: number of rows, rows of
//! both matrices, CRC-32C. What a killed process left unfinished at the end is cut off.

use std::{
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
};

use sha2::{Digest, Sha256};

use super::{BATCH, Features};
use crate::Error;

const MARK: &[u8; 8] = b"scgsfea1";
const HEADER: usize = 8 + 32;

/// An open file that grows by one record per batch.
#[derive(Debug)]
pub(super) struct Partial {
    file: fs_err::File,
}

impl Partial {
    /// Opens or begins the file at `path` for the pictures `features.ids`, appends the rows that are there to `features` and
    /// returns the number of their pictures.
    pub(super) fn open(path: &Path, features: &mut Features, side: usize) -> Result<(Self, usize), Error> {
        let mut identity = Sha256::new();
        identity.update(env!("CARGO_PKG_VERSION"));
        [BATCH, side, features.width].into_iter().for_each(|n| identity.update((n as u64).to_le_bytes()));
        features.ids.iter().for_each(|id| identity.update(id.to_le_bytes()));
        let header = [MARK.as_slice(), &identity.finalize()].concat();
        let mut file = fs_err::OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (mut good, mut rows) = (HEADER, 0);
        if bytes.get(..HEADER) == Some(header.as_slice()) {
            while let Some((count, size, values)) = record(&bytes[good..], features.width) {
                let (pooled, background) = values.split_at(count * features.width);
                features.pooled.extend_from_slice(pooled);
                features.background.extend_from_slice(background);
                good += size;
                rows += count;
            }
        } else {
            file.file().set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&header)?;
        }
        file.file().set_len(good as u64)?;
        file.seek(SeekFrom::End(0))?;
        Ok((Self { file }, rows))
    }

    /// Appends the last `count` rows of `features`.
    pub(super) fn push(&mut self, features: &Features, count: usize) -> Result<(), Error> {
        let start = features.pooled.len() - count * features.width;
        let mut record = (count as u32).to_le_bytes().to_vec();
        for matrix in [&features.pooled, &features.background] {
            record.extend(matrix[start..].iter().flat_map(|v| v.to_le_bytes()));
        }
        record.extend(crc32c::crc32c(&record).to_le_bytes());
        Ok(self.file.write_all(&record)?)
    }
}

/// The first record of `bytes`: its rows, its size, its values; `None` where it is torn.
fn record(bytes: &[u8], width: usize) -> Option<(usize, usize, Vec<f32>)> {
    let count = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    // A batch that is not full is the last one.
    let body = 4 + (1..=BATCH).contains(&count).then_some(count * width * 8)?;
    let (data, sum) = (bytes.get(..body)?, bytes.get(body..body + 4)?);
    (crc32c::crc32c(data).to_le_bytes() == sum).then(|| (count, body + 4, super::floats(&data[4..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Features {
        Features { ids: (0..40).collect(), width: 3, pooled: Vec::new(), background: Vec::new() }
    }

    /// Both batches of 40 pictures that fit into 32, in a file.
    fn written(path: &Path) -> Features {
        let mut features = empty();
        let (mut partial, rows) = Partial::open(path, &mut features, 64).unwrap();
        assert_eq!(rows, 0);
        for batch in 0..2 {
            features.pooled.extend((0..BATCH * 3).map(|i| (batch * 100 + i) as f32));
            features.background.extend((0..BATCH * 3).map(|i| -((batch * 100 + i) as f32)));
            partial.push(&features, BATCH).unwrap();
        }
        features
    }

    #[test]
    fn what_was_written_is_read_back_and_a_torn_end_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.partial");
        let whole = written(&path);
        let mut read = empty();
        assert_eq!(Partial::open(&path, &mut read, 64).unwrap().1, 2 * BATCH);
        assert_eq!(read, whole);
        let bytes = fs_err::read(&path).unwrap();
        for (cut, rows) in [(1, BATCH), (5, BATCH), (bytes.len() - HEADER - 2, 0)] {
            fs_err::write(&path, &bytes[..bytes.len() - cut]).unwrap();
            let mut read = empty();
            assert_eq!(Partial::open(&path, &mut read, 64).unwrap().1, rows, "{cut} bytes missing");
            assert_eq!(read.pooled, whole.pooled[..rows * 3]);
        }
        let mut flipped = bytes;
        flipped[HEADER + 9] ^= 1;
        fs_err::write(&path, flipped).unwrap();
        assert_eq!(Partial::open(&path, &mut empty(), 64).unwrap().1, 0, "damage is found by the checksum");
    }

    #[test]
    fn other_pictures_or_another_size_begin_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.partial");
        written(&path);
        assert_eq!(Partial::open(&path, &mut empty(), 32).unwrap().1, 0);
        written(&path);
        let mut other = Features { ids: (1..41).collect(), ..empty() };
        assert_eq!(Partial::open(&path, &mut other, 64).unwrap().1, 0);
    }
}

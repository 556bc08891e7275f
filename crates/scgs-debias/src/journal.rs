//! Rows of finished items of a stage, so that an interrupted one goes on after the last of them.
//!
//! CSV without a header, one line per item with its CRC-32C in front: numbers read back as they were written, and a line that
//! a killed process left unfinished is cut off. The item's files are written before its row.

use std::{
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, run_folder::table_error};

/// An open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    file: fs_err::File,
    path: PathBuf,
}

impl Journal {
    /// Opens or begins a journal and gives the rows that are in it.
    pub(crate) fn open<T: DeserializeOwned>(path: &Path) -> Result<(Self, Vec<T>), Error> {
        let mut file = fs_err::OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (mut rows, mut good) = (Vec::new(), 0);
        for line in bytes.split_inclusive(|&b| b == b'\n') {
            let Some(row) = row(line) else { break };
            rows.push(row);
            good += line.len();
        }
        file.file().set_len(good as u64)?;
        file.seek(SeekFrom::End(0))?;
        Ok((Self { file, path: path.to_owned() }, rows))
    }

    /// Appends a row.
    pub(crate) fn push<T: Serialize>(&mut self, row: &T) -> Result<(), Error> {
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
        writer.serialize(row).map_err(|e| table_error(&self.path, &e))?;
        let line = writer.into_inner().map_err(|e| table_error(&self.path, &e))?;
        // A text with a line break in it would end the line early.
        let line = String::from_utf8_lossy(&line).trim_end_matches('\n').replace(['\n', '\r'], " ");
        let line = format!("{:08x},{line}\n", crc32c::crc32c(line.as_bytes()));
        Ok(self.file.write_all(line.as_bytes())?)
    }
}

/// The row of a line; `None` where it is torn.
fn row<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    let (sum, line) = std::str::from_utf8(line).ok()?.strip_suffix('\n')?.split_once(',')?;
    if u32::from_str_radix(sum, 16).ok()? != crc32c::crc32c(line.as_bytes()) {
        return None;
    }
    csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes()).deserialize().next()?.ok()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Item {
        id: u64,
        area: Option<f64>,
        why: Option<String>,
    }

    #[test]
    fn rows_come_back_exactly_and_a_torn_line_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("items.partial");
        let items: Vec<Item> = (0..50u32)
            .map(|i| Item {
                id: u64::from(i),
                area: (i % 3 > 0).then(|| f64::from(i) / 7.0 / 3.0),
                why: (i % 3 == 0).then(|| format!("no, \"{i}\"")),
            })
            .collect();
        let (mut journal, none) = Journal::open::<Item>(&path).unwrap();
        assert!(none.is_empty());
        items.iter().for_each(|item| journal.push(item).unwrap());
        drop(journal);
        assert_eq!(Journal::open::<Item>(&path).unwrap().1, items);
        let whole = fs_err::read(&path).unwrap();
        for cut in 1..12 {
            fs_err::write(&path, &whole[..whole.len() - cut]).unwrap();
            let (mut journal, rows) = Journal::open::<Item>(&path).unwrap();
            assert_eq!(rows, items[..49], "{cut}");
            journal.push(&items[49]).unwrap();
            drop(journal);
            assert_eq!(fs_err::read(&path).unwrap(), whole);
        }
    }
}

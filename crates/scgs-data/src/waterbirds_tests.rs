//! The reader on tables with one fault each.

use super::*;
use crate::read;

const HEADER: &str = "img_id,img_filename,y,split,place,place_filename";

fn definition() -> Definition {
    Definition::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/waterbirds.toml")).unwrap()
}

/// The twelve rows of a test are not the published 11,788.
fn read_counted(root: &Path) -> Result<Grouped, DataError> {
    read(&definition(), root, ReadOptions { accept_counts: true, ..ReadOptions::default() })
}

/// Twelve rows, one per split and group, with their pictures; `edit` changes the table.
fn folder(edit: impl FnOnce(String) -> String) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut table = format!("{HEADER}\n");
    for i in 0..12 {
        let name = format!("birds/ä {i}.jpg");
        table += &format!("{},{name},{},{},{},\"/o/ocean,{i}.jpg\"\n", i + 1, i / 2 % 2, i / 4, i % 2);
        fs_err::create_dir_all(folder.path().join("birds")).unwrap();
        fs_err::write(folder.path().join(name), "x").unwrap();
    }
    fs_err::write(folder.path().join(METADATA), edit(table)).unwrap();
    folder
}

fn message(edit: impl FnOnce(String) -> String) -> String {
    let folder = folder(edit);
    let error = read_counted(folder.path()).unwrap_err().to_string();
    error.replace(&folder.path().display().to_string(), "ROOT")
}

#[test]
fn a_good_table_is_read() {
    let folder = folder(|table| table);
    let grouped = read_counted(folder.path()).unwrap();
    let sample = &grouped.index().samples[7];
    assert_eq!((sample.id, sample.label, sample.split), (8, 1, Split::Val));
    assert_eq!(sample.path, Path::new("birds/ä 7.jpg"));
    assert_eq!(grouped.attribute(7), 1);
    for split in Split::ALL {
        assert!(grouped.counts(split).groups.iter().all(|group| group.n == 1));
    }
}

#[test]
fn bom_windows_line_ends_more_columns_and_another_order_are_fine() {
    let plain = folder(|table| table);
    let windows = folder(|table| {
        let rows = table.lines().map(|line| {
            let (id, rest) = line.split_once(',').unwrap();
            format!("{rest},extra,{id}\r\n")
        });
        format!("\u{feff}{}", rows.collect::<String>())
    });
    let samples = |folder: &Path| read_counted(folder).unwrap().index().samples.clone();
    assert_eq!(samples(plain.path()), samples(windows.path()));
}

#[test]
fn missing_columns_are_named_beside_the_found_ones() {
    assert_eq!(
        message(|table| table.replacen("split,place,", "part,where,", 1)),
        "ROOT/metadata.csv: column(s) `split`, `place` missing; found `img_id`, `img_filename`, `y`, `part`, `where`, \
         `place_filename`. Rename the columns of the file or check that it is the right one"
    );
    assert!(message(|_| String::new()).contains("`img_id`"));
}

#[test]
fn bad_values_are_named_with_line_value_and_range() {
    let row = |line: &str| message(|table| table + line + "\n");
    assert!(row("13,a.jpg,0,3,0,p").contains("line 14: split is `3`, expected 0 (train), 1 (val) or 2 (test)"));
    assert!(row("13,a.jpg,2,0,0,p").contains("line 14: y is `2`, expected one of 0 (landbird), 1 (waterbird)"));
    assert!(row("13,a.jpg,0,0,-1,p").contains("line 14: place is `-1`, expected one of 0 (land), 1 (water)"));
    assert!(row("x,a.jpg,0,0,0,p").contains("line 14: img_id is `x`, expected a whole number"));
    assert!(row("5,a.jpg,0,0,0,p").contains("line 14: img_id 5 occurs already in line 6"));
    assert!(row("13,/etc/passwd,0,0,0,p").contains("line 14: img_filename is `/etc/passwd`"));
    assert!(row("13,birds/../../a.jpg,0,0,0,p").contains("no `..`"));
    assert!(row("13,,0,0,0,p").contains("line 14: img_filename is ``"));
    assert!(row("13,a.jpg").contains("line 14: 2 fields, the header has 6"));
}

#[test]
fn ten_bad_rows_are_listed_and_the_others_counted() {
    let text = message(|table| table + &"x,a.jpg,0,0,0,p\n".repeat(12));
    assert!(text.starts_with("ROOT/metadata.csv: 12 row(s) cannot be used:\n  line 14: "), "{text}");
    assert!(text.contains("line 23") && !text.contains("line 24") && text.contains("and 2 more"), "{text}");
}

#[test]
fn missing_pictures_are_listed() {
    let text = message(|table| table + "13,birds/gone.jpg,0,0,0,p\n");
    assert!(text.starts_with("ROOT: 1 of 13 pictures are missing:\n  line 14: birds/gone.jpg\n"), "{text}");
}

#[test]
fn an_empty_group_is_named_unless_allowed() {
    let drop_row =
        |table: String| table.lines().filter(|line| !line.starts_with("7,")).fold(String::new(), |t, l| t + l + "\n");
    let text = message(drop_row);
    assert!(text.contains("group waterbird x land has no picture in the val split"), "{text}");
    let folder = folder(drop_row);
    let grouped =
        read(&definition(), folder.path(), ReadOptions { allow_empty_groups: true, accept_counts: true }).unwrap();
    assert_eq!(grouped.counts(Split::Val).total(), 3);
}

#[test]
fn no_rows_and_no_file_are_different_errors() {
    assert!(message(|_| format!("{HEADER}\n")).contains("no pictures"));
    let empty = tempfile::tempdir().unwrap();
    let error = read_counted(empty.path()).unwrap_err();
    assert!(matches!(error, DataError::Io(_)) && error.to_string().contains("metadata.csv"), "{error}");
}

#[test]
fn what_is_written_reads_back() {
    let folder = folder(|table| table);
    let path = folder.path().join(METADATA);
    let before = fs_err::read_to_string(&path).unwrap();
    let rows: Vec<MetadataRow> = read_rows(&path, &definition()).unwrap().into_iter().map(|(_, row)| row).collect();
    write_metadata(&path, &rows).unwrap();
    assert_eq!(fs_err::read_to_string(&path).unwrap(), before);
}

#[test]
fn counts_are_compared_with_the_published_ones() {
    let folder = folder(|table| table);
    let grouped = read_counted(folder.path()).unwrap();
    let error = check_counts(&grouped, &definition()).unwrap_err().to_string();
    assert!(error.contains("train  landbird x land                3498        1       -3497"), "{error}");
    let mut ones = definition();
    let published = crate::PublishedCounts { train: vec![1; 4], val: vec![1; 4], test: vec![1; 4] };
    ones.counts = Some(published);
    check_counts(&grouped, &ones).unwrap();
    ones.counts = None;
    check_counts(&grouped, &ones).unwrap();
}

//! Tests of the three log files. TensorBoard itself has opened the fixture: `tests/fixtures/logs/read.py`.

use std::{collections::BTreeMap, path::PathBuf};

use super::*;
use crate::minibatch::Metrics;

/// Two phases, the second with a validation split and a state.
fn log() -> Vec<LogLine> {
    let line = |phase, epoch: usize, state: &[f64], validation| LogLine {
        phase,
        metrics: Metrics {
            epoch,
            step: 150 * epoch,
            loss: 0.75 / epoch as f64,
            accuracy: 0.5 + 0.125 * epoch as f64,
            learning_rate: 0.001,
            state: state.to_vec(),
        },
        validation,
    };
    vec![
        line("first", 1, &[], None),
        line("train", 1, &[0.25, 0.75], Some(0.625)),
        line("train", 2, &[0.1, 0.9], Some(0.5)),
    ]
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/logs").join(name)
}

/// To regenerate: run this test with SCGS_WRITE_EVENTS=1, then the script.
#[test]
fn the_event_file_is_the_one_that_tensorboard_read() {
    let ours = events::file(&scalars(&log()));
    if std::env::var_os("SCGS_WRITE_EVENTS").is_some() {
        atomic::write(fixture(EVENTS), &ours).unwrap();
    }
    assert_eq!(fs_err::read(fixture(EVENTS)).unwrap(), ours);
}

/// What TensorBoard's reader gave back, curve by curve.
#[test]
fn tensorboard_reads_every_point() {
    #[derive(serde::Deserialize)]
    struct Point {
        step: usize,
        value: f64,
    }
    let read: BTreeMap<String, Vec<Point>> =
        serde_json::from_slice(&fs_err::read(fixture("read.json")).unwrap()).unwrap();
    let mut expected: BTreeMap<String, Vec<(usize, f64)>> = BTreeMap::new();
    for Scalar { tag, step, value } in scalars(&log()) {
        expected.entry(tag).or_default().push((step, f64::from(value as f32)));
    }
    let read: BTreeMap<String, Vec<(usize, f64)>> =
        read.into_iter().map(|(tag, points)| (tag, points.iter().map(|p| (p.step, p.value)).collect())).collect();
    assert_eq!(read, expected);
    assert_eq!(expected["train/state/1"], [(150, 0.75), (300, f64::from(0.9f32))]);
    assert_eq!(expected.len(), 3 + 6);
}

#[test]
fn the_table_has_a_column_for_every_number() {
    let text = String::from_utf8(table(&log()).unwrap()).unwrap();
    let expected = "\
phase,epoch,step,loss,accuracy,learning_rate,validation,state_0,state_1
first,1,150,0.75,0.625,0.001,,,
train,1,150,0.75,0.625,0.001,0.625,0.25,0.75
train,2,300,0.375,0.75,0.001,0.5,0.1,0.9
";
    assert_eq!(text, expected);
    let empty = String::from_utf8(table(&[]).unwrap()).unwrap();
    assert_eq!(empty, "phase,epoch,step,loss,accuracy,learning_rate,validation\n");
}

#[test]
fn all_three_files_are_written_and_copied() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    fs_err::create_dir(&a).unwrap();
    fs_err::create_dir(&b).unwrap();
    write(&a, &log()).unwrap();
    copy(&a, &b).unwrap();
    for name in [JSONL, CSV, EVENTS] {
        assert_eq!(fs_err::read(a.join(name)).unwrap(), fs_err::read(b.join(name)).unwrap(), "{name}");
    }
    let lines = fs_err::read_to_string(a.join(JSONL)).unwrap();
    assert_eq!(lines.lines().count(), 3);
    assert!(lines.starts_with(r#"{"phase":"first","epoch":1,"step":150,"loss":0.75"#), "{lines}");
}

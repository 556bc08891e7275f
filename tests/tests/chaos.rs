//! The short form of `cargo xtask chaos`: a few kills in both training modes.

#![cfg(unix)]
use scgs_tests::chaos;

#[test]
fn a_run_that_is_killed_and_goes_on_leaves_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let plans: Vec<_> = chaos::plans().into_iter().filter(|plan| plan.name != "painter").collect();
    let table = chaos::run(dir.path(), &plans, 6, 11, &|line| println!("{line}")).unwrap();
    assert_eq!(table.values().map(|row| row.kills).sum::<usize>(), 6);
    for ((plan, stage), row) in &table {
        assert!(row.differing.is_empty(), "{plan}, killed in {stage}: {:?}", row.differing);
        assert!(row.runs > 0, "{plan}, {stage}: compared");
    }
}

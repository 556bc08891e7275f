//! How fast pictures are loaded, beside torchvision where asked.

use std::process::Command;

use anyhow::ensure;
use serde_json::{Value, json};
use xshell::Shell;

use super::{Args, Rounds, call, last_line, row};
use crate::workspace::Workspace;

/// The torchvision side.
const SCRIPT: &str = "xtask/src/bench/loader.py";

/// Makes the pictures where they are not there yet, and measures.
pub(super) fn rows(workspace: &Workspace, shell: &Shell, args: &Args) -> anyhow::Result<Vec<Value>> {
    let target = workspace.target_dir(shell)?;
    let program = target.join("release/examples").join(format!("loader{}", std::env::consts::EXE_SUFFIX));
    let folder = target.join(format!("bench-loader-{}", args.pictures));
    if !folder.join("complete").is_file() {
        println!("making {} pictures in {}", args.pictures, folder.display());
        call(Command::new(&program).arg("make").arg(&folder).arg(args.pictures.to_string()))?;
        fs_err::write(folder.join("complete"), "")?;
    }
    let ours = |mode: &str| call(Command::new(&program).arg(mode).arg(&folder)).and_then(|text| last_line(&text));
    let (mut cold, mut cache, mut python) = (Rounds::default(), Rounds::default(), Rounds::default());
    let rounds = args.rounds.unwrap_or(3);
    for round in 1..=rounds {
        let first = ours("cold")?;
        cold.add(&first)?;
        cache.add(&ours("cache")?)?;
        if args.vs_python {
            let script = workspace.root().join(SCRIPT);
            let theirs = call(Command::new(&args.python).arg(script).arg(&folder)).and_then(|text| last_line(&text))?;
            ensure!(theirs["pictures"] == first["pictures"], "torchvision has seen {} pictures", theirs["pictures"]);
            python.add(&theirs)?;
        }
        println!("round {round} of {rounds}");
    }
    let index = call(Command::new(&program).arg("index")).and_then(|text| last_line(&text))?;
    let mut rows = vec![
        row("loader-cold", "cpu", &cold, &python, 3.0),
        row("loader-cache", "cpu", &cache, &python, 10.0),
        json!({
            "name": "celeba-index", "device": "cpu", "seconds": index["seconds"], "peak_bytes": index["peak_bytes"],
            "pictures": index["pictures"], "goal_seconds": 0.5,
        }),
    ];
    for row in &mut rows[..2] {
        row["pictures"] = json!(args.pictures);
        row["pictures_per_second"] = json!(row["seconds"].as_f64().map(|seconds| args.pictures as f64 / seconds));
    }
    Ok(rows)
}

//! `scgs completions` and `scgs man`

use std::process::ExitCode;

use anyhow::Context as _;

use super::{print, print_json};
use crate::{
    args::{CompletionsArgs, ManArgs},
    help,
};

/// Prints the completions of a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut help::command(), "scgs", &mut script);
    let script = String::from_utf8(script).context("the script is not UTF-8")?;
    if args.common.json {
        print_json(&serde_json::json!({ "schema": 1, "shell": args.shell.to_string(), "script": script }))?;
    } else {
        print(script.trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes `scgs.1` and one page per command.
pub(crate) fn man(args: &ManArgs) -> anyhow::Result<ExitCode> {
    fs_err::create_dir_all(&args.dir)?;
    let mut whole = help::command();
    whole.build();
    let mut pages = Vec::new();
    let subcommands = whole.get_subcommands().filter(|c| c.get_name() != "help").cloned();
    for command in std::iter::once(whole.clone()).chain(subcommands) {
        // `scgs run` becomes scgs-run(1).
        let name = command.get_bin_name().unwrap_or("scgs").replace(' ', "-");
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        let path = args.dir.join(format!("{name}.1"));
        scgs_data::atomic::write(&path, page)?;
        pages.push(path);
    }
    if args.common.json {
        print_json(&serde_json::json!({ "schema": 1, "pages": pages }))?;
    } else {
        print(&format!("{} pages in {}", pages.len(), args.dir.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

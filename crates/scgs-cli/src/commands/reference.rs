//! `scgs reference`, for `cargo xtask reference`: what the program itself knows about its commands and settings.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Command;
use scgs_debias::{Settings, settings::DiffusionSettings};

use super::{print, print_json};
use crate::{args::ReferenceArgs, help};

/// Columns of the help in the page.
const WIDTH: usize = 100;

/// Writes `commands.md`, the page of every command, and `defaults.toml`, every setting with its default.
pub(crate) fn run(args: &ReferenceArgs) -> anyhow::Result<ExitCode> {
    fs_err::create_dir_all(&args.dir)?;
    let defaults = defaults().context("the default settings are no TOML")?;
    let files = [(args.dir.join("commands.md"), commands()), (args.dir.join("defaults.toml"), defaults)];
    for (path, text) in &files {
        scgs_data::atomic::write(path, text)?;
    }
    if args.common.json {
        print_json(&serde_json::json!({ "schema": 1, "files": files.map(|(path, _)| path) }))?;
    } else {
        print(&format!("commands.md and defaults.toml in {}", args.dir.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Every setting with its default, also the table that a run's configuration leaves out where nothing in it is set.
fn defaults() -> Result<String, toml::ser::Error> {
    let mut table = toml::Table::try_from(Settings::default())?;
    if let Some(toml::Value::Table(synthesis)) = table.get_mut("synthesis") {
        synthesis.insert("diffusion".into(), toml::Value::try_from(DiffusionSettings::default())?);
    }
    toml::to_string(&table)
}

/// The help of every command that people call.
fn commands() -> String {
    let mut whole = help::command().term_width(WIDTH);
    whole.build();
    let mut page = String::from(
        "# Commands\n\nWhat `scgs COMMAND -h` says, written by `cargo xtask reference`. Every command ends with one of these exit codes: 0 done,\n\
         1 a comparison or check failed, 2 bad input or missing data, 130 interrupted.\n\n",
    );
    let shown = |c: &&Command| !c.is_hide_set() && c.get_name() != "help";
    for command in whole.get_subcommands().filter(shown) {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let name = command.get_name();
        // `scgs help` also writes what a variable is set to here.
        let mut command = command.clone().mut_args(|arg| arg.hide_env_values(true)).term_width(WIDTH);
        let help = command.render_help().to_string();
        page += &format!("## scgs {name}\n\n{about}.\n\n```text\n");
        // The description stands above, and clap pads some lines.
        for line in help.lines().skip_while(|line| !line.starts_with("Usage:")) {
            page += line.trim_end();
            page.push('\n');
        }
        page += "```\n\n";
    }
    page.truncate(page.trim_end().len());
    page + "\n"
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_has_every_command_once_and_hides_what_people_do_not_call() {
        let page = super::commands();
        let headings: Vec<&str> = page.lines().filter_map(|l| l.strip_prefix("## scgs ")).collect();
        assert!(headings.contains(&"run") && headings.contains(&"doctor") && !headings.contains(&"reference"));
        assert!(page.contains("Usage: scgs run [OPTIONS]"), "{page}");
        assert!(page.lines().all(|l| l == l.trim_end()));
    }
}

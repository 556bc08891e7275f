//! `scgs report`

use std::process::ExitCode;

use super::{print, print_json};
use crate::{args::ReportArgs, report};

pub(crate) fn run(args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let page = match args.run_dirs.as_slice() {
        [one] => report::write(one)?,
        several => report::write_comparison(several, &args.out)?,
    };
    if let (Some(picture), Some(first)) = (&args.examples, args.run_dirs.first()) {
        report::examples::write(first, picture)?;
    }
    if args.common.json {
        print_json(&serde_json::json!({ "schema": 1, "report": page, "examples": args.examples }))?;
    } else {
        print(&page.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

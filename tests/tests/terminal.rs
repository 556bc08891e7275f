//! What a person reads in the terminal: the help of every command, its output, its errors. Each is a file in
//! `snapshots/`, so that a change of any of them is seen. After a wanted change: `INSTA_UPDATE=always cargo nextest run
//! --release --workspace -E 'binary(terminal)'`, then read the difference.

#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use std::path::Path;

use safetensors::{Dtype, tensor::TensorView};
use scgs_tests::{Said, TINY, finish, mock_run::MockRun, scgs, tiny_run};

/// The command with a fixed width and no colours.
fn said(folder: &Path, words: &[&str]) -> Said {
    finish(scgs(folder, words).env("COLUMNS", "110").env("NO_COLOR", "1").env_remove("SCGS_LOG"))
}

/// A help without what this machine's environment adds to it.
fn help(words: &[&str]) -> Said {
    let dir = tempfile::tempdir().unwrap();
    finish(scgs(dir.path(), words).env("COLUMNS", "110").env("NO_COLOR", "1").env_remove("SCGS_DATASETS"))
}

/// Every command that `scgs --help` lists.
fn commands() -> Vec<String> {
    let help = help(&["--help"]).stdout;
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A description that goes on in the next line is indented further.
    let list = list.filter(|line| !line.starts_with("   "));
    list.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

/// Both outputs and the exit code; what differs between machines and moments is replaced.
fn shown(folder: &Path, said: &Said) -> String {
    let tidy = |text: &str| {
        let text = text.replace(&folder.display().to_string(), "FOLDER");
        let text = text.replace(&scgs_tests::root().display().to_string(), "PROJECT").replace("scgs.exe", "scgs");
        text.lines().map(|line| line.trim_end().to_owned() + "\n").collect::<String>()
    };
    let code = said.code.map_or_else(|| "signal".to_owned(), |code| code.to_string());
    format!("exit code {code}\n--- standard output\n{}--- standard error\n{}", tidy(&said.stdout), tidy(&said.stderr))
}

/// Digits as `#`, so that a figure may change but not its place.
fn without_figures(text: &str) -> String {
    let mut out = String::new();
    for part in text.split_inclusive(|c: char| !c.is_ascii_digit()) {
        let figures = part.trim_end_matches(|c: char| !c.is_ascii_digit());
        if !figures.is_empty() && figures.len() < part.len() || part.chars().all(|c| c.is_ascii_digit()) {
            out.push('#');
        }
        out.push_str(&part[figures.len()..]);
    }
    out
}

fn check(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    // clap pads some lines.
    let trimmed: String = text.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    settings.bind(|| insta::assert_snapshot!(name, trimmed));
}

#[test]
fn help_of_every_command() {
    let whole = help(&["--help"]);
    whole.expect(0, &[]);
    check("help", &whole.stdout);
    let commands = commands();
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands {
        let said = help(&[&command, "--help"]);
        said.expect(0, &[]);
        for part in ["Examples:", "Exit codes: 0 done", "--json", "--quiet"] {
            assert!(said.stdout.contains(part), "`scgs {command} --help` has no {part}");
        }
        check(&format!("help-{command}"), &said.stdout);
    }
}

#[test]
fn a_command_without_words_says_what_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    // These need none: they would start, the last one in a build that has it.
    let whole = ["doctor", "inpaint-quality", "serve"];
    for command in commands().iter().filter(|c| !whole.contains(&c.as_str())) {
        let said = said(dir.path(), &[command]);
        assert_eq!(said.code, Some(2), "scgs {command}: {}", said.stderr);
        check(&format!("bare-{command}"), &shown(dir.path(), &said));
    }
}

#[test]
fn errors_say_what_where_and_what_next() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("c.toml"), "[mask]\nruel = 1\n").unwrap();
    fs_err::write(dir.path().join("broken.safetensors"), "no").unwrap();
    fs_err::create_dir(dir.path().join("empty")).unwrap();
    let lite = ["--arch", "efficientnet-lite0", "--weights", "broken.safetensors", "--images", "empty"];
    let cases: Vec<(&str, Vec<&str>)> = vec![
        ("unknown-command", vec!["rum"]),
        ("run-unknown-data-set", vec!["run", "--dataset", "waterbird"]),
        ("run-no-data-folder", vec!["run", "--dataset", "waterbirds"]),
        ("run-unknown-method", vec!["run", "--dataset", "habitat", "--methods", "scsg"]),
        (
            "run-impossible-settings",
            vec!["run", "--dataset", "habitat", "--set", "identify.folds=1", "--set", "train.c=-1"],
        ),
        ("run-runs-is-a-file", vec!["run", "--dataset", "habitat", "--runs", "c.toml/runs"]),
        ("run-unknown-setting", vec!["run", "--dataset", "habitat", "--config", "c.toml"]),
        ("run-unknown-device", vec!["run", "--dataset", "habitat", "--device", "gpu"]),
        ("report-no-run", vec!["report", "empty"]),
        ("eval-no-data-folder", [&["eval", "--dataset", "habitat"], &lite[..4]].concat()),
        ("predict-no-pictures", [&["predict"], &lite[..], &["--out", "o.safetensors"]].concat()),
        ("cam-unknown-method", [&["cam"], &lite[..], &["--method", "gradcam3", "--out", "o"]].concat()),
        ("cluster-damaged-file", vec!["cluster", "--features", "broken.safetensors", "--k", "2", "--out", "o.csv"]),
        ("compose-unknown-setting", vec!["compose", "--out", "data", "--set", "habitat.sise=1"]),
        ("completions-unknown-shell", vec!["completions", "tcsh"]),
        ("man-no-folder", vec!["man", "c.toml"]),
        ("mask-quality-unknown-look", vec!["mask-quality", "--out", "m.md", "--look", "cam", "--region", "otsu"]),
        (
            "train-inpainter-no-time",
            vec!["train-inpainter", "--dataset", "habitat", "--out", "o.safetensors", "--minutes", "0"],
        ),
        ("inpaint-quality-no-weights", vec!["inpaint-quality", "--weights", "none.safetensors", "--out", "p.md"]),
    ];
    for (name, words) in cases {
        let said = said(dir.path(), &words);
        assert_eq!(said.code, Some(2), "{words:?}: {}", said.stderr);
        check(&format!("error-{name}"), &shown(dir.path(), &said));
    }
}

#[test]
fn output_of_commands() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let values: Vec<u8> = [0.0_f32, 0.0, 0.5, 0.0, 8.0, 8.0, 8.5, 8.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![4, 2], &values).unwrap();
    fs_err::write(folder.join("f.safetensors"), safetensors::serialize([("features", view)], None).unwrap()).unwrap();
    let cluster = ["cluster", "--features", "f.safetensors", "--k", "2", "--out", "c.csv"];
    check("output-cluster", &shown(folder, &said(folder, &cluster)));
    check("output-cluster-json", &shown(folder, &said(folder, &[&cluster[..], &["--json"]].concat())));

    let run = MockRun::default().write(folder).unwrap();
    check("output-report", &shown(folder, &said(folder, &["report", run.to_str().unwrap()])));
    check("output-report-json", &shown(folder, &said(folder, &["report", run.to_str().unwrap(), "--json"])));
    check("output-man", &without_figures(&shown(folder, &said(folder, &["man", "pages"]))));
    let page = fs_err::read_to_string(folder.join("pages/scgs-cluster.1")).unwrap();
    assert!(page.contains("scgs\\-cluster") && page.contains("Exit codes"), "{page}");

    let mut compose = vec!["compose", "--out", "data"];
    TINY.iter().filter(|set| set.starts_with("habitat")).for_each(|set| compose.extend(["--set", set]));
    check("output-compose", &shown(folder, &said(folder, &compose)));
    let plan = said(folder, &tiny_run(&["--methods", "erm,scgs", "--dry-run"]));
    plan.expect(0, &[]);
    // The settings follow, all of them.
    check("output-run-dry", &shown(folder, &plan).lines().take(6).collect::<Vec<_>>().join("\n"));
}

#[test]
fn completions_know_every_command_and_shell() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = said(dir.path(), &["completions", shell]);
        said.expect(0, &[]);
        for command in commands() {
            assert!(said.stdout.contains(&command), "{shell} does not know {command}");
        }
    }
    // bash itself reads its script, and offers what begins so.
    let script = said(dir.path(), &["completions", "bash"]).stdout;
    fs_err::write(dir.path().join("scgs.bash"), script).unwrap();
    let ask = "source scgs.bash; COMP_WORDS=(scgs mask); COMP_CWORD=1; _scgs scgs mask scgs; echo \"${COMPREPLY[@]}\"";
    let said = finish(std::process::Command::new("bash").current_dir(dir.path()).args(["-c", ask]));
    assert_eq!(said.stdout.trim_end(), "mask-quality", "{}", said.stderr);
}

#[test]
fn a_run_shows_its_stages_and_its_table() {
    let dir = tempfile::tempdir().unwrap();
    let run = said(dir.path(), &tiny_run(&["--methods", "erm,duplicate,scgs"]));
    run.expect(0, &[]);
    // Times and accuracies differ between machines; the columns are padded by them.
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ") + "\n";
    let configurations = fs_err::read_dir(dir.path().join("runs/habitat")).unwrap();
    let names = configurations.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    // The folder of the configuration is named by a hash of twelve digits.
    let hash = names.into_iter().find(|name| name.len() == 12).unwrap();
    let lines: String =
        without_figures(&shown(dir.path(), &run).replace(&hash, "HASH")).lines().map(squeezed).collect();
    check("output-run", &lines.replace("─", "").replace("═", ""));
    let quiet = said(dir.path(), &tiny_run(&["--methods", "erm,duplicate,scgs", "--quiet", "--json"]));
    assert_eq!(quiet.stderr, "");
    serde_json::from_str::<serde_json::Value>(&quiet.stdout).unwrap();
}

#[cfg(unix)]
#[test]
fn colours_obey_the_terminal_and_no_color() {
    let dir = tempfile::tempdir().unwrap();
    let binary = scgs_tests::binary();
    // `script` (util-linux) gives the command a terminal.
    let ask = |env: &str| {
        let line = format!("{env} {} report nowhere", binary.display());
        finish(std::process::Command::new("script").current_dir(dir.path()).args(["-qec", &line, "log"])).stdout
    };
    assert!(ask("TERM=xterm").contains("\u{1b}[1;31merror:"), "{:?}", ask("TERM=xterm"));
    assert!(!ask("TERM=xterm NO_COLOR=1").contains('\u{1b}'), "{:?}", ask("TERM=xterm NO_COLOR=1"));
    let piped = said(dir.path(), &["report", "nowhere"]);
    assert!(piped.stderr.starts_with("error: ") && piped.stderr.contains("\nhint: "), "{}", piped.stderr);
}

//! The command line with what the help shows beyond the options: examples and exit codes.
//!
//! The examples stand here and not beside the arguments, so that one test can read them all as a shell would.

use clap::{Command, CommandFactory as _};

use crate::args::Cli;

/// Command and its examples: what to type, and what it does.
const EXAMPLES: &[(&str, &[(&str, &str)])] = &[
    (
        "run",
        &[
            ("scgs run --dataset habitat", "the whole loop on the embedded pictures, about ten minutes on two cores"),
            ("scgs run --dataset habitat --profile quick", "the same, small: to see that everything works"),
            ("scgs run --dataset habitat --methods erm,duplicate,scgs --seeds 5", "with a spread"),
            ("scgs run --dataset waterbirds --data-dir data/waterbirds --device cuda:0", "your own copy, on a GPU"),
            (
                "scgs run --dataset celeba --data-dir data/celeba --launcher slurm --shards 64 --slurm=--gres=gpu:1 --dry-run",
                "the scripts for a cluster; without --dry-run they are submitted",
            ),
            ("scgs run --config my-run.toml --set synthesis.share=1.0 --dry-run", "print every setting and stop"),
        ],
    ),
    (
        "suite",
        &[
            (
                "scgs suite datasets/suites/habitat-claims.toml --out docs/experiments/habitat.md --seeds 5",
                "the paper's claims, the controls and the search on one page",
            ),
            (
                "scgs suite my-suite.toml --out page.md --seeds 3 --set habitat.train=300",
                "your own cells, on fewer pictures",
            ),
        ],
    ),
    (
        "synthesize",
        &[(
            "scgs synthesize --dataset habitat --shard 3/8",
            "the third of eight parts, after `scgs run --dataset habitat --until masks`",
        )],
    ),
    ("merge", &[("scgs merge runs/habitat/0123456789ab/seed-0", "missing, duplicate and corrupt pictures are named")]),
    (
        "train",
        &[
            (
                "scgs train --method groupdro --arch efficientnet-lite0 --dataset habitat --out models/groupdro",
                "one method alone",
            ),
            (
                "scgs train --method jtt --arch resnet50 --dataset waterbirds --data-dir data/waterbirds --profile paper --out models/jtt",
                "with the published settings",
            ),
        ],
    ),
    (
        "sweep",
        &[
            (
                "scgs sweep --dataset habitat --methods jtt --axis jtt.upweight=5,20,50 --seeds 3",
                "a grid, ranked on the validation split",
            ),
            (
                "scgs sweep --dataset habitat --methods scgs --axis train.c=log:1e-4..1 --random 10",
                "ten points drawn at random",
            ),
        ],
    ),
    (
        "inpaint",
        &[(
            "scgs inpaint --model stable-diffusion-inpainting --image dog.png --mask mask.png --prompt bird --steps 25 --guidance 7.5 --seed 1 --out bird.png",
            "white in the mask is repainted; the model is a folder in diffusers' layout",
        )],
    ),
    (
        "export",
        &[(
            "scgs export runs/habitat/0123456789ab/seed-0 --out exported",
            "real and new pictures in the Waterbirds layout, as an image folder and with metadata.jsonl",
        )],
    ),
    (
        "eval",
        &[(
            "scgs eval --dataset waterbirds --data-dir data/waterbirds --arch resnet50 --weights erm.pth --json",
            "accuracy per group of a model of your own",
        )],
    ),
    (
        "report",
        &[
            ("scgs report runs/habitat/0123456789ab", "write the page of a run again"),
            (
                "scgs report runs/habitat/0123456789ab --examples chain.jpg",
                "and draw three training pictures with what was made of them",
            ),
            ("scgs report runs/habitat/0123456789ab runs/habitat/ba9876543210 --out both.html", "compare two runs"),
        ],
    ),
    (
        "compose",
        &[
            ("scgs compose --out data/habitat", "pictures and metadata.csv as Waterbirds has them"),
            ("scgs compose --out data/tiny --set habitat.size=64 --set habitat.train=400", "smaller"),
        ],
    ),
    (
        "mask-quality",
        &[
            ("scgs mask-quality --seeds 1 --out masks.md", "the table of docs/experiments/mask-quality.md, one seed"),
            ("scgs mask-quality --look layercam/last/true --region otsu+largest --out masks.md", "one way of looking"),
        ],
    ),
    (
        "inpaint-quality",
        &[(
            "scgs inpaint-quality --pictures 100 --out painters.md",
            "what each inpainter paints, against real pictures",
        )],
    ),
    (
        "train-inpainter",
        &[(
            "scgs train-inpainter --dataset habitat --out inpainter.safetensors --minutes 30",
            "train for half an hour",
        )],
    ),
    (
        "predict",
        &[(
            "scgs predict --arch resnet50 --weights resnet50.pth --images pictures --out logits.safetensors",
            "one row of logits per picture, names in logits.csv",
        )],
    ),
    (
        "cam",
        &[
            (
                "scgs cam --arch resnet50 --weights resnet50.pth --images pictures --method gradcam++ --out maps",
                "what speaks for the predicted class",
            ),
            (
                "scgs cam --arch resnet50 --weights erm.pth --images pictures --method layercam --target 1 --layer layer3 --out maps",
                "for class 1, at another layer",
            ),
        ],
    ),
    (
        "cluster",
        &[
            ("scgs cluster --features features.safetensors --k 5 --out clusters.csv", "five clusters"),
            (
                "scgs cluster --features features.safetensors --k auto --l2-normalise --pca 50 --out clusters.csv",
                "chosen",
            ),
        ],
    ),
    (
        "serve",
        &[(
            "SCGS_REMOTE_TOKEN=secret scgs serve --device cuda:0",
            "then, with the same token, `scgs run --device remote:ws://127.0.0.1:7341`; needs the feature `remote`",
        )],
    ),
    (
        "doctor",
        &[
            ("scgs doctor", "which devices this build has, and how fast they are here"),
            ("scgs doctor --equality --devices cuda:0", "does the GPU give the numbers of the CPU device?"),
        ],
    ),
    (
        "completions",
        &[(
            "scgs completions bash > ~/.local/share/bash-completion/completions/scgs",
            "for the bash of one user; zsh, fish, elvish and powershell are known too",
        )],
    ),
    ("man", &[("scgs man ~/.local/share/man/man1", "then `man scgs-run`")]),
];

/// What every command ends with.
pub(crate) const EXIT_CODES: &str =
    "Exit codes: 0 done, 1 a comparison or check failed, 2 bad input or missing data, 130 interrupted";

/// The command line as it is parsed, completed and described.
pub(crate) fn command() -> Command {
    let mut command = Cli::command();
    let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    for name in names {
        command = command.mut_subcommand(&name, |sub| sub.after_help(after(&name)));
    }
    command
}

/// The end of a command's help.
fn after(name: &str) -> String {
    let Some((_, examples)) = EXAMPLES.iter().find(|(command, _)| *command == name) else {
        return EXIT_CODES.to_owned();
    };
    let mut text = "Examples:\n".to_owned();
    for (line, what) in *examples {
        text += &format!("  {line}\n      {what}\n");
    }
    text + "\n" + EXIT_CODES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_examples_that_parse() {
        for sub in command().get_subcommands() {
            // What xtask calls is not for people.
            if sub.is_hide_set() {
                continue;
            }
            let found = EXAMPLES.iter().find(|(name, _)| *name == sub.get_name());
            let (name, examples) =
                found.unwrap_or_else(|| panic!("`scgs {}` needs an example in help.rs", sub.get_name()));
            for (line, _) in *examples {
                // A shell takes away what is redirected.
                let words = line.split(' ').skip_while(|word| *word != "scgs").take_while(|word| *word != ">");
                let matches = command().try_get_matches_from(words).unwrap_or_else(|e| panic!("{line}\n{e}"));
                assert_eq!(matches.subcommand_name(), Some(*name), "{line}");
            }
        }
    }
}

//! `scgs mask-quality`

use std::process::ExitCode;

use anyhow::Context as _;
use scgs_data::{Definition, atomic};
use scgs_debias::{
    Context, Error, Settings,
    look::{AttentionTarget, Look},
    mask_quality::{self, Block, Comparison, Table},
    pipeline::{self, Afterwards, Plan},
    region::Region,
};

use super::{print, print_json};
use crate::{CANCELLED, args_masks::MaskQualityArgs, device, progress};

/// Rows shown on the terminal; the file has them all.
const SHOWN: usize = 12;

pub(crate) fn run(args: &MaskQualityArgs) -> anyhow::Result<ExitCode> {
    let comparison = comparison(args)?;
    // Object masks exist for the composed data set alone.
    let definition = Definition::read(args.datasets.join("habitat.toml"))?;
    let settings = Settings::resolve(&definition, None, None, &args.sets)?;
    let device = device::open(&args.device.device)?;
    let plan = Plan {
        definition,
        settings,
        arms: Vec::new(),
        runs: args.runs.clone(),
        datasets: args.datasets.clone(),
        data_dir: None,
        backgrounds: None,
        device: args.device.device.clone(),
        accept_counts: false,
        afterwards: Afterwards::Nothing,
        memory: None,
    };
    let context = Context::new(device, &CANCELLED, &progress::show);
    let mut opened = Vec::new();
    let mut measures = Vec::new();
    for seed in args.seed..args.seed + args.seeds {
        progress::notice(&format!("{} seed {seed} on {}", plan.definition.name, plan.device));
        let seed = pipeline::open(&plan, seed, &context)?;
        pipeline::until_clusters(seed.inputs(&plan), &context)?;
        measures.push(mask_quality::measure(seed.inputs(&plan), &context, &comparison)?);
        opened.push(seed);
    }
    let mut table = Table::new(command(args), &measures).context("a seed has no pictures to measure")?;
    if args.causal > 0 {
        // Deletion and insertion ask for the label's probability, hence the looks that explain the label.
        let looks = comparison.looks().into_iter().filter(|look| look.target == AttentionTarget::True);
        let looks: Vec<Look> = looks.collect();
        let mut found = Vec::new();
        for seed in &opened {
            found.extend(mask_quality::causal(seed.inputs(&plan), &context, &looks, args.causal)?);
        }
        table.add_causal(&found);
    }
    let json = args.out.with_extension("json");
    if let Some(folder) = args.out.parent().filter(|f| !f.as_os_str().is_empty()) {
        fs_err::create_dir_all(folder)?;
    }
    atomic::write(&args.out, table.markdown().as_bytes())?;
    atomic::write(&json, format!("{}\n", serde_json::to_string(&table)?).as_bytes())?;
    if args.common.json {
        print_json(&table)?;
    } else {
        for row in table.rows.iter().take(SHOWN) {
            print(&format!("{:.3}  {:.3}  {} {}", row.iou.mean, row.iou_others.mean, row.look, row.region))?;
        }
        print(&format!(
            "\nobject IoU on the error set, on others; all in {} and {}",
            args.out.display(),
            json.display()
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn comparison(args: &MaskQualityArgs) -> anyhow::Result<Comparison> {
    let looks: Vec<Look> = args.look.iter().map(|l| l.parse()).collect::<Result<_, Error>>()?;
    let regions: Vec<Region> = args.region.iter().map(|r| r.parse()).collect::<Result<_, Error>>()?;
    match (looks.first().cloned(), regions.first().cloned()) {
        (Some(look), Some(region)) => {
            Ok(Comparison { blocks: vec![Block { looks, regions }], reference: (look, region) })
        }
        _ => Ok(mask_quality::default_comparison()),
    }
}

/// The command that makes the table again. Where runs lie changes nothing.
fn command(args: &MaskQualityArgs) -> String {
    let mut command = format!("scgs mask-quality --seeds {}", args.seeds);
    if args.seed > 0 {
        command += &format!(" --seed {}", args.seed);
    }
    for (name, values) in [("set", &args.sets), ("look", &args.look), ("region", &args.region)] {
        command.extend(values.iter().map(|value| format!(" --{name} '{value}'")));
    }
    command + &format!(" --causal {} --out {}", args.causal, args.out.display())
}

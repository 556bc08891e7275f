//! Kills a run again and again, lets it go on, and compares what it leaves with a run that nobody touched.
//!
//! Where to kill is drawn from a seed: the stage with the fewest kills so far, a random share of the time that it takes
//! undisturbed. What is under way at the kill is read from the folder afterwards, and that is what the table counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{hashes, scgs};

/// Names of files that differ between two runs of the same settings, and why.
pub const APART: [(&str, &str); 6] = [
    ("history.json", "seconds per stage"),
    ("run.json", "seconds per stage"),
    ("index.html", "shows the seconds"),
    ("done", "the line of facts names the folder"),
    ("lock", "empty: the system's lock is on it"),
    (".writing-", "what was being written at a kill; a run removes those in its own folder"),
];

/// A command that is killed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// For the table.
    pub name: &'static str,
    /// The words after `scgs`.
    pub words: Vec<String>,
    /// Share of the kills, beside those of the other commands.
    pub weight: usize,
}

/// What the table says about a stage.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Kills while the stage was under way.
    pub kills: usize,
    /// Runs with such a kill that were finished and compared.
    pub runs: usize,
    /// Files that differed.
    pub differing: BTreeSet<String>,
}

/// The table, by plan and stage.
pub type Table = BTreeMap<(&'static str, String), Row>;

/// The smallest commands that touch every stage: the last layer trained, every layer trained, the painter trained.
pub fn plans() -> Vec<Plan> {
    let plan = |name, weight, words: &str| {
        let words = words.split_whitespace().map(str::to_owned).collect();
        Plan { name, words, weight }
    };
    let tiny = "--set habitat.size=48 --set synthesis.share=0.25 --set synthesis.sources=12 --set synthesis.objects=8";
    vec![
        plan(
            "head",
            4,
            &format!(
                "run --dataset habitat --methods erm,duplicate,scgs-context-only,scgs,scgs-random-mask,jtt,oracle-balanced \
                 --set habitat.train=100 \
                 --set habitat.val=16 --set habitat.test=24 --set backbone.input_size=64 --set attention.input_size=64 \
                 {tiny} --set synthesis.inpainter=small-diffusion --set synthesis.small.steps=2"
            ),
        ),
        plan(
            "full",
            4,
            &format!(
                "run --dataset habitat --methods erm,scgs,lff --set habitat.train=40 --set habitat.val=8 \
                 --set habitat.test=8 --set backbone.input_size=32 --set attention.input_size=64 {tiny} \
                 --set train.mode=full --set train.epochs=2 --set train.batch=8 --set train.learning_rate=1e-4 \
                 --set checkpoint.every=2"
            ),
        ),
        plan(
            "painter",
            1,
            "train-inpainter --dataset habitat --out painter/weights.safetensors --steps 12 --batch 1 --every 2",
        ),
    ]
}

/// Kills `kills` runs, spread over `plans` and their stages; random choices follow from `seed`.
///
/// # Errors
/// If a command cannot be started, fails by itself, or files cannot be read.
pub fn run(folder: &Path, plans: &[Plan], kills: usize, seed: u64, say: &dyn Fn(&str)) -> io::Result<Table> {
    let mut random = Random(seed.wrapping_add(1));
    let mut table = Table::new();
    let weights: usize = plans.iter().map(|plan| plan.weight).sum();
    let mut before = 0;
    for plan in plans {
        let share = kills * (before + plan.weight) / weights - kills * before / weights;
        before += plan.weight;
        let whole = folder.join(format!("{}-whole", plan.name));
        fs_err::create_dir_all(&whole)?;
        let begun = Instant::now();
        complete(&whole, plan)?;
        let wanted = products(&whole)?;
        let seconds = durations(&whole, begun.elapsed().as_secs_f64());
        say(&format!(
            "{}: {} files to compare, {:.1} s undisturbed",
            plan.name,
            wanted.len(),
            begun.elapsed().as_secs_f64()
        ));
        let mut counts: BTreeMap<String, usize> = seconds.keys().map(|stage| (stage.clone(), 0)).collect();
        let (mut done, mut life) = (0, 0);
        while done < share {
            life += 1;
            let cut = folder.join(format!("{}-{life}", plan.name));
            fs_err::create_dir_all(&cut)?;
            let mut hit = BTreeSet::new();
            while done < share {
                let fewest = counts.values().min().copied().unwrap_or_default();
                let open = |stage: &&String| !finished(&cut, stage) && counts[*stage] <= fewest;
                let Some(target) = counts.keys().find(open).cloned() else { break };
                let wait = seconds[&target] * random.share();
                let Some(stage) = kill(&cut, plan, &target, wait)? else { break };
                say(&format!("{}: killed in {stage}", plan.name));
                done += 1;
                *counts.entry(stage.clone()).or_default() += 1;
                // A stage that is over before it can be hit is not tried for ever.
                if stage != target {
                    *counts.entry(target).or_default() += 1;
                }
                table.entry((plan.name, stage.clone())).or_default().kills += 1;
                hit.insert(stage);
            }
            complete(&cut, plan)?;
            let differing = differences(&wanted, &products(&cut)?);
            say(&format!("{}: finished, {} files differ {differing:?}", plan.name, differing.len()));
            for stage in hit {
                let row = table.entry((plan.name, stage)).or_default();
                row.runs += 1;
                row.differing.extend(differing.iter().cloned());
            }
            fs_err::remove_dir_all(&cut)?;
        }
    }
    Ok(table)
}

/// The table as JSON.
pub fn json(table: &Table, seed: u64) -> Value {
    let rows: Vec<Value> = table
        .iter()
        .map(|((plan, stage), row)| {
            json!({ "plan": plan, "stage": stage, "kills": row.kills, "runs_compared": row.runs,
                    "identical": row.differing.is_empty(), "differing": row.differing })
        })
        .collect();
    let apart: BTreeMap<&str, &str> = APART.into_iter().collect();
    json!({ "schema": 1, "seed": seed, "kills": table.values().map(|row| row.kills).sum::<usize>(), "not_compared": apart, "rows": rows })
}

/// Starts the command, kills it `wait` seconds after `target` has begun, and says what was under way; `None` when it ended by
/// itself before.
fn kill(folder: &Path, plan: &Plan, target: &str, wait: f64) -> io::Result<Option<String>> {
    let words: Vec<&str> = plan.words.iter().map(String::as_str).collect();
    let mut child = scgs(folder, &words).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let pause = Duration::from_millis(1);
    while child.try_wait()?.is_none() && !begun(folder, target) {
        std::thread::sleep(pause);
    }
    std::thread::sleep(Duration::from_secs_f64(wait));
    let ended = child.try_wait()?.is_some();
    // SIGKILL: nothing in the process runs after it.
    child.kill()?;
    child.wait()?;
    Ok((!ended).then(|| under_way(folder)))
}

fn complete(folder: &Path, plan: &Plan) -> io::Result<()> {
    let words: Vec<&str> = plan.words.iter().map(String::as_str).collect();
    let output = scgs(folder, &words).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("scgs {words:?}: {}", String::from_utf8_lossy(&output.stderr))))
}

fn products(folder: &Path) -> io::Result<BTreeMap<PathBuf, String>> {
    let mut files = hashes(folder)?;
    files.retain(|path, _| {
        let inside = path.components().map(|part| part.as_os_str().to_string_lossy());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let apart = |(part, _): &(&str, &str)| name == *part || (*part == "lock" && name.ends_with(".lock"));
        !APART.iter().any(apart) && !inside.into_iter().any(|part| part.starts_with(".writing-"))
    });
    Ok(files)
}

fn differences(a: &BTreeMap<PathBuf, String>, b: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let names: BTreeSet<&PathBuf> = a.keys().chain(b.keys()).collect();
    names.into_iter().filter(|name| a.get(*name) != b.get(*name)).map(|name| name.display().to_string()).collect()
}

/// The folder of the seed, once there is one.
fn seed_folder(folder: &Path) -> Option<PathBuf> {
    let runs = fs_err::read_dir(folder.join("runs/habitat")).ok()?;
    let mut hashes: Vec<PathBuf> = runs.flatten().map(|entry| entry.path().join("seed-0")).collect();
    hashes.retain(|path| path.is_dir() && !path.ends_with("data/seed-0"));
    hashes.pop()
}

/// Seconds per stage of an undisturbed run; a command without stages is one.
fn durations(folder: &Path, all: f64) -> BTreeMap<String, f64> {
    let Some(seed) = seed_folder(folder) else { return BTreeMap::from([("training".to_owned(), all)]) };
    let text =
        fs_err::read(seed.join("run.json")).or_else(|_| fs_err::read(seed.join("history.json"))).unwrap_or_default();
    let history: Value = serde_json::from_slice(&text).unwrap_or_default();
    let of = |stage: &str| history["seconds"][stage].as_f64().or(history["stages"][stage]["seconds"].as_f64());
    let stages = stages(&seed);
    stages
        .into_iter()
        .map(|stage| (stage.clone(), of(&stage).unwrap_or(0.05)))
        .chain([("data".to_owned(), 0.5)])
        .collect()
}

fn stages(seed: &Path) -> Vec<String> {
    let entries = fs_err::read_dir(seed).into_iter().flatten().flatten();
    let names = entries.filter(|e| e.path().is_dir()).map(|e| e.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(|c: char| c.is_ascii_digit())).collect();
    names.sort();
    names
}

/// The folders of composed pictures.
fn data(folder: &Path) -> Vec<PathBuf> {
    let of = |path: PathBuf| fs_err::read_dir(path).into_iter().flatten().flatten().map(|e| e.path());
    of(folder.join("runs/habitat/data"))
        .map(|key| key.join("seed-0"))
        .flat_map(of)
        .filter(|path| path.is_dir())
        .collect()
}

fn begun(folder: &Path, stage: &str) -> bool {
    match stage {
        "data" => !data(folder).is_empty(),
        "training" => folder.join("painter/weights.state.safetensors").exists() || folder.join("painter").exists(),
        _ => seed_folder(folder).is_some_and(|seed| seed.join(stage).is_dir()),
    }
}

fn finished(folder: &Path, stage: &str) -> bool {
    match stage {
        "data" => data(folder).iter().any(|path| path.join("done").is_file()),
        "training" => folder.join("painter/weights.safetensors").is_file(),
        _ => seed_folder(folder).is_some_and(|seed| seed.join(stage).join("done").is_file()),
    }
}

/// What a killed process was doing.
fn under_way(folder: &Path) -> String {
    if folder.join("painter").exists() {
        return "training".to_owned();
    }
    if data(folder).iter().any(|path| !path.join("done").is_file()) {
        return "data".to_owned();
    }
    let Some(seed) = seed_folder(folder) else { return "start".to_owned() };
    let open = stages(&seed).into_iter().rev().find(|stage| !seed.join(stage).join("done").is_file());
    open.unwrap_or_else(|| "between stages".to_owned())
}

/// Marsaglia's xorshift64*: the choices need no better one, and no dependency.
struct Random(u64);

impl Random {
    /// 0 up to 1.
    fn share(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }
}

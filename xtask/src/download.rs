//! `cargo xtask download <name>`: data sets and weights from the network, whole and verified or not at all.
//!
//! What a name stands for is in `datasets/sources/<name>.toml`. A file grows as `.download/<file>.part` in the data
//! folder, is compared with its length and sha256, unpacked beside it where it is an archive, and gets its final name
//! by a rename. So what has its final name is complete.

mod failure;
mod fetch;
mod http;
mod hub;
mod install;
mod lock;
mod part;
mod progress;
mod sources;
mod space;
mod unpack;
mod verify;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;

use crate::Outcome;
use crate::workspace::Workspace;
use hub::Hub;
use install::{Found, Installer};
use sources::Sources;

/// What can be downloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Waterbirds, about 0.5 GB.
    Waterbirds,
    /// CelebA, about 1.3 GB.
    Celeba,
    /// MetaShift, cats and dogs.
    Metashift,
    /// ResNet-18 trained on ImageNet, 47 MB.
    WeightsResnet18,
    /// ResNet-34 trained on ImageNet, 87 MB.
    WeightsResnet34,
    /// ResNet-50 trained on ImageNet, two versions of 103 MB.
    WeightsResnet50,
    /// ResNet-101 trained on ImageNet, two versions of 179 MB.
    WeightsResnet101,
    /// Stable Diffusion 1.5 for inpainting, half precision, 2.1 GB.
    #[value(name = "weights-sd15-inpaint")]
    WeightsSd15Inpaint,
}

/// What to download, and where to.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    name: Name,
    /// Folder to download into
    #[arg(long, value_name = "P", default_value = "data")]
    data_dir: PathBuf,
    /// A file you already have, or the URL of a mirror
    #[arg(long, value_name = "FILE_OR_URL")]
    from: Option<String>,
}

/// How patient a download is.
#[derive(Debug, Clone)]
struct Policy {
    /// Tries in a row that bring a file no further.
    tries_in_vain: u32,
    /// Tries in all for one URL.
    tries: u32,
    /// Wait after the first failure; each further one in vain doubles it.
    wait_first: Duration,
    /// The longest wait of our own choice.
    wait_max: Duration,
    /// The longest wait that a server may ask for; after a longer one the next source is tried.
    retry_after_max: Duration,
    /// In so long a time something must happen ..
    stall: Duration,
    /// .. and at least so many bytes must come.
    least_bytes: u64,
    /// Whether `HTTPS_PROXY` and its kin count.
    proxy_from_environment: bool,
    /// How Hugging Face is reached.
    hub: Hub,
    /// Free bytes at a folder; see [`space::free`].
    free_space: fn(&Path) -> Option<u64>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            tries_in_vain: 5,
            tries: 100,
            wait_first: Duration::from_secs(1),
            wait_max: Duration::from_secs(30),
            retry_after_max: Duration::from_secs(120),
            stall: Duration::from_secs(30),
            least_bytes: 30 * 1024,
            proxy_from_environment: true,
            hub: Hub::from_environment(),
            free_space: space::free,
        }
    }
}

/// Downloads what is not there yet.
///
/// # Errors
/// When something is missing in the end; the message says what was tried and how to get it by hand.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<Outcome> {
    let value = args.name.to_possible_value().expect("no value is hidden");
    let path = workspace.root().join("datasets/sources").join(format!("{}.toml", value.get_name()));
    let sources = Sources::read(&path)?;
    println!("{}\nlicence: {}", sources.title, sources.licence);
    let first = download(&sources, &args.data_dir, args.from.as_deref(), &Policy::default())?;
    let folder = first.parent().unwrap_or(&first).display().to_string();
    let usage = sources.usage.replace("{folder}", &folder).replace("{path}", &first.display().to_string());
    println!("use it with: {usage}");
    Ok(Outcome::Done)
}

/// Puts every file of `sources`, or what `from` is, into the data folder; gives the path of the first of these.
fn download(sources: &Sources, data_dir: &Path, from: Option<&str>, policy: &Policy) -> anyhow::Result<PathBuf> {
    let mut installer = Installer::new(data_dir, policy)?;
    let chosen = match from {
        None => Vec::from_iter(sources.files.iter().cloned().map(Found::Sources)),
        Some(from) => vec![installer.choose(sources, from)?],
    };
    for found in &chosen {
        let path = data_dir.join(&found.item().path);
        if installer.present(found.item())? {
            println!("{} is there already", path.display());
        } else {
            installer.install(found, &sources.by_hand)?;
            println!("{} is complete", path.display());
        }
    }
    Ok(data_dir.join(&chosen[0].item().path))
}

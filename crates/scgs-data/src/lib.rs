//! Data sets for studying spurious correlations: definitions, readers, pixels, and a composer for an embedded data set.
//!
//! ```
//! use scgs_data::{Definition, HabitatConfig, ReadOptions, Split, habitat};
//! # fn main() -> Result<(), scgs_data::DataError> {
//! # let datasets = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets");
//! # let temporary = tempfile::tempdir()?;
//! # let out = temporary.path().join("habitat");
//! let config = HabitatConfig { size: 32, train: 200, val: 8, test: 8, ..HabitatConfig::default() };
//! habitat::compose(&datasets.join("habitat"), &out, &config, 7, &|_, _| ())?;
//! let definition = Definition::read(datasets.join("habitat.toml"))?;
//! let grouped = scgs_data::read(&definition, &out, ReadOptions::default())?;
//! println!("{}", grouped.counts(Split::Train));
//! # assert_eq!(grouped.index().of(Split::Train).len(), 200);
//! let paths: Vec<_> = grouped.index().of(Split::Val).iter().map(|s| grouped.index().absolute(s)).collect();
//! let batch = scgs_data::load_batch(&paths, 64, &scgs_data::Normalisation::IMAGENET);
//! assert_eq!(batch.map(|values| values.len()).ok(), Some(8 * 3 * 64 * 64));
//! # Ok(())
//! # }
//! ```
//!
//! [`Index`] is what training code gets; it has no spurious attribute. [`Grouped`] adds it for evaluation and oracles.
//! Random draws come from [`stream()`], keyed by what is drawn for; files appear whole or not at all ([`atomic`]).
//!
//! # Features
//! None: the crate always builds whole, without C code and without a network.

pub mod atomic;
mod celeba;
mod definition;
mod error;
pub mod export;
mod folder;
mod groups_file;
pub mod habitat;
mod index;
mod loader;
pub mod lookalike;
mod metadata;
mod metashift;
mod pack;
mod pixels;
mod random_state;
mod read;
mod stream;
mod transform;
pub mod waterbirds;

pub use definition::{CelebaOptions, ColumnMap, Definition, FolderOptions, Layout, PublishedCounts, WaterbirdsOptions};
pub use error::{DataError, RowProblem};
pub use habitat::{HabitatConfig, compose, compose_balanced_train};
pub use index::{GroupCount, GroupCounts, Grouped, Index, Sample, Split};
pub use loader::{Batches, Prepare};
pub use pack::{Pack, PackError};
pub use pixels::{
    MAX_PIXELS, Normalisation, PictureError, PictureProblem, load_batch, read_rgb, resize_bilinear, to_chw,
};
pub use random_state::RandomState;
pub use read::read;
pub use stream::stream;
pub use transform::{Step, Transform, TransformError};
pub use waterbirds::{MetadataRow, ReadOptions, check_counts, write_metadata};

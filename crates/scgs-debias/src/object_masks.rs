//! True object masks, which only composed data sets have: for evaluation, and for arms that are marked "oracle".

use scgs_cam::Mask;
use scgs_data::Index;

use crate::{Error, run_folder::table_error};

/// Whether the data set has them.
pub(crate) fn exist(index: &Index) -> bool {
    index.root.join("masks").is_dir()
}

/// The true object of a picture.
///
/// # Errors
/// [`Error::Config`] where there is none, [`Error::RunFolder`] for a damaged file.
pub(crate) fn read(index: &Index, id: u64) -> Result<Mask, Error> {
    let path = index.root.join("masks").join(format!("{id}.png"));
    if !path.is_file() {
        return Err(Error::Config {
            origin: "object masks".into(),
            message: format!(
                "{} does not exist: only composed data sets have true object masks; use habitat",
                path.display()
            ),
        });
    }
    let grey = image::load_from_memory(&fs_err::read(&path)?).map_err(|e| table_error(&path, &e))?.to_luma8();
    let (width, height) = (grey.width() as usize, grey.height() as usize);
    Ok(Mask::new(width, height, grey.pixels().map(|p| p[0] > 127).collect())?)
}

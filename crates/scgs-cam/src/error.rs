//! The errors of this crate.

/// Why an attention map could not be computed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CamError {
    /// Occurs when the number of scores is not the number of pictures in the batch.
    #[error("{scores} score(s) for a batch of {pictures} picture(s); give exactly one score per picture")]
    ScoreCount {
        /// Scores given.
        scores: usize,
        /// Pictures in the activation.
        pictures: usize,
    },
    /// Occurs when a score names a class that the logits do not have.
    #[error("the score of row {row} asks for class {class}, but there are {classes} class(es), 0 to {}", classes.saturating_sub(1))]
    NoSuchClass {
        /// Row in the batch.
        row: usize,
        /// The class asked for.
        class: usize,
        /// Classes there are.
        classes: usize,
    },
    /// Occurs when activations, logits, gradients or pictures are NaN or infinite.
    #[error(
        "the {what} of row {row} hold(s) NaN or infinity; look for a damaged picture or diverged weights, and leave this row out"
    )]
    NotFinite {
        /// Which values: `activation`, `logits`, `gradient`, `picture`, `attention`.
        what: &'static str,
        /// Row in the batch.
        row: usize,
    },
    /// Occurs when the weights of a linear head are NaN or infinite.
    #[error(
        "the head's weight for class {class} holds NaN or infinity; the weights are damaged or diverged, load others"
    )]
    HeadNotFinite {
        /// The class whose row is bad.
        class: usize,
    },
    /// Occurs when the weights of a linear head are not `classes x channels` values.
    #[error(
        "a linear head over {channels} channels needs a multiple of {channels} weights, got {len}; pass [classes, channels], row by row"
    )]
    HeadShape {
        /// Channels of the activation.
        channels: usize,
        /// Weights given.
        len: usize,
    },
    /// Occurs when the closure returns another number of rows than it was given.
    #[error("the network returned {rows} row(s) of logits for {pictures} picture(s); return one row per picture")]
    LogitRows {
        /// Rows returned.
        rows: usize,
        /// Pictures given.
        pictures: usize,
    },
    /// Occurs when an activation, a batch of pictures or a target size has no cells, or batches do not belong together.
    #[error("{what} of shape {shape:?} cannot be used; {expected}")]
    Shape {
        /// What has the shape.
        what: &'static str,
        /// The shape.
        shape: Vec<usize>,
        /// What was expected.
        expected: &'static str,
    },
    /// Occurs when the logits do not depend on the activation, so that there is no gradient.
    #[error(
        "the logits do not depend on the activation; the closure must run the rest of the network on the tensor it is given, without `inner` or `detach`"
    )]
    NoGradient,
    /// Occurs when Score-CAM is asked for without the network and the pictures.
    #[error("scorecam masks pictures, not activations; call `score_cam` with the pictures and the whole network")]
    NeedsPictures,
    /// Occurs when maps of different sizes are fused.
    #[error(
        "attention maps of {width} x {height} and {other_width} x {other_height} cannot be fused; compute all at one size"
    )]
    MapSizes {
        /// Width of the first map.
        width: usize,
        /// Height of the first map.
        height: usize,
        /// Width of the other map.
        other_width: usize,
        /// Height of the other map.
        other_height: usize,
    },
    /// Occurs when no map is given to fuse.
    #[error("there is no attention map to fuse; give at least one")]
    NoMaps,
    /// Occurs when a name is no attention method.
    #[error(
        "`{0}` is no attention method; use gradcam, gradcam++, gradcam++:EPS (a number or scale-free), xgradcam, layercam, eigencam or scorecam"
    )]
    UnknownMethod(String),
    /// Occurs when the epsilon of Grad-CAM++ is neither a number of at least 0 nor `scale-free`.
    #[error("`{0}` is no epsilon; use a number of at least 0, such as 1e-6, or scale-free")]
    BadEpsilon(String),
}

/// Why a mask could not be made or compared.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MaskError {
    /// Occurs when the values are not width x height, or one of the sides is 0.
    #[error("a {width} x {height} mask or map needs {} value(s) and at least one pixel, got {len}", width.saturating_mul(*height))]
    Shape {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// Values given.
        len: usize,
    },
    /// Occurs when two things that belong together have different sizes.
    #[error("the {what} is {other_width} x {other_height}, expected {width} x {height}; bring both to one size first")]
    SizeMismatch {
        /// What has the wrong size.
        what: &'static str,
        /// Expected width.
        width: usize,
        /// Expected height.
        height: usize,
        /// The width it has.
        other_width: usize,
        /// The height it has.
        other_height: usize,
    },
    /// Occurs when an attention value is NaN or infinite.
    #[error("the attention map holds NaN or infinity at pixel ({x}, {y}); compute it again from finite activations")]
    NotFinite {
        /// Column of the first such pixel.
        x: usize,
        /// Row of the first such pixel.
        y: usize,
    },
    /// Occurs when a setting is outside its range.
    #[error("{name} is {value}, expected {expected}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: f64,
        /// The allowed range.
        expected: &'static str,
    },
    /// Occurs when a rule that looks at colours is used without the picture.
    #[error(
        "the mask rule grab-cut looks at the picture's colours; pass the picture, or use another rule such as otsu"
    )]
    NeedsPicture,
    /// Occurs when a name is no way to repaint.
    #[error("`{0}` is no way to repaint; use attended, complement, all-but-object, replace, every-class or swap")]
    UnknownRepaint(String),
    /// Occurs when a deletion or insertion curve gets another number of scores than pictures.
    #[error(
        "the scoring closure returned {scores} score(s) for {pictures} picture(s); return one finite score per picture"
    )]
    ScoreCount {
        /// Scores returned (finite ones).
        scores: usize,
        /// Pictures given.
        pictures: usize,
    },
}

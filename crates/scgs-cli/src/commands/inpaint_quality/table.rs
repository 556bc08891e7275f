//! The figures.

use serde::Serialize;

/// Distances of one painter's pictures to real ones.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) task: String,
    pub(super) painter: String,
    pub(super) frechet: f64,
    pub(super) kernel: f64,
    /// Share of the pictures in which the judge sees the wanted kind.
    pub(super) recognised: Option<f64>,
    /// Seconds per picture.
    #[serde(skip)]
    pub(super) seconds: Option<f64>,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Table {
    pub(super) command: String,
    pub(super) pictures: usize,
    pub(super) rows: Vec<Row>,
}

impl Row {
    fn cells(&self) -> [String; 5] {
        [
            self.task.clone(),
            self.painter.clone(),
            format!("{:.1}", self.frechet),
            format!("{:.2}", 1000.0 * self.kernel),
            self.recognised.map_or("-".into(), |share| format!("{share:.2}")),
        ]
    }
}

impl Table {
    /// For the terminal.
    pub(super) fn lines(&self) -> String {
        let mut text = format!(
            "{:<13} {:<19} {:>8} {:>8} {:>10} {:>8}\n",
            "task", "painted by", "Frechet", "KID/1000", "recognised", "s each"
        );
        for row in &self.rows {
            let [task, painter, frechet, kernel, recognised] = row.cells();
            let seconds = row.seconds.map_or("-".into(), |s| format!("{s:.3}"));
            text += &format!("{task:<13} {painter:<19} {frechet:>8} {kernel:>8} {recognised:>10} {seconds:>8}\n");
        }
        text.trim_end().to_owned()
    }

    /// For the documentation; `picture` is the sheet of examples beside it.
    pub(super) fn markdown(&self, picture: &str) -> String {
        let mut text = format!(
            "# How well the small inpainter paints\n\n\
             Made by `{}`. Evaluation only: it uses the true object masks.\n\n\
             Scenes of 128 x 128 pixels are composed of photos outside the core, which no generator has learned from. Half of \
             these photos make the scenes that are repainted, the other half the real ones that the results are compared \
             with; \"real, other photos\" is the distance between the two halves before anything is painted, the best that can be \
             expected. {} scenes per row and task.\n\n\
             - **object**: the object is replaced by one of the other kind, inside its outline grown by 4 pixels. The background \
             crop and the Telea fill paint no object; they show how much of a figure comes from the seam and the context.\n\
             - **background**: background goes on where the outline of an object was drawn on an empty scene.\n\
             - **surroundings**: everything but the object is painted anew, two thirds to four fifths of the picture.\n\n\
             Frechet: distance between Gaussians on the 64 leading principal components of the real crops' features \
             (EfficientNet-Lite0, ImageNet, 1280 pooled values); not comparable with published FIDs. KID: unbiased squared maximum mean \
             discrepancy with the cubic kernel on all features. Recognised: share in which a logistic classifier, trained on the real \
             crops, sees the wanted kind; for the first row the kind that is there.\n\n\
             | task | painted by | Frechet | 1000 KID | recognised |\n| --- | --- | --- | --- | --- |\n",
            self.command, self.pictures
        );
        for row in &self.rows {
            text += &format!("| {} |\n", row.cells().join(" | "));
        }
        text += &format!(
            "\n![examples]({picture})\n\nExamples, the first scenes of each task and not chosen. From the left: the scene with its mask, then \
             the painters in the order of the table. Rows: four objects, two backgrounds, two surroundings.\n"
        );
        text
    }
}

//! Seeds put together: means, spread over seeds, Markdown.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde::Serialize;

use super::{Causal, PictureMeasures, SeedMeasures, Set};
use crate::Spread;

/// A mean over pictures, averaged over seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mean {
    /// Mean of the seeds' means.
    pub mean: f64,
    /// Sample standard deviation of the seeds' means; absent for one seed.
    pub sd: Option<f64>,
    /// The seeds' means, in the order of the seeds.
    pub seeds: Vec<f64>,
}

impl Mean {
    fn of(seeds: Vec<f64>) -> Option<Self> {
        let spread = Spread::of(&seeds)?;
        Some(Self { mean: spread.mean, sd: spread.sd, seeds })
    }

    fn text(&self) -> String {
        self.sd.map_or_else(|| format!("{:.3}", self.mean), |sd| format!("{:.3} ± {sd:.3}", self.mean))
    }
}

/// One way of masking.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableRow {
    /// The look, as text; `control` for random masks.
    pub look: String,
    /// The region, as text.
    pub region: String,
    /// Overlap with the true object on the error set.
    pub iou: Mean,
    /// The same on the other pictures.
    pub iou_others: Mean,
    /// Masked share of the picture, error set.
    pub area: Mean,
    /// Share of pictures of the error set with overlap below .1.
    pub missed: Mean,
    /// Share of the attention inside the object, error set; absent for controls.
    pub energy: Option<Mean>,
    /// Share of pictures whose strongest pixel is on the object, error set; absent for controls.
    pub pointing: Option<Mean>,
    /// Pictures of the error set without attention, all seeds.
    pub without: usize,
}

/// Deletion and insertion of one look.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CausalRow {
    /// The look, as text.
    pub look: String,
    /// Area under the probability of the true class while attended pixels are deleted.
    pub deletion: Mean,
    /// The same while they are inserted.
    pub insertion: Mean,
    /// Pictures, all seeds.
    pub n: usize,
}

/// All ways of masking, the best on the error set first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// How to make the table.
    pub command: String,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// Pictures in the error sets, all seeds.
    pub errors: usize,
    /// Other pictures, all seeds.
    pub others: usize,
    /// Mean area of the true objects in the error sets.
    pub object_area: f64,
    /// One row per look and region.
    pub rows: Vec<TableRow>,
    /// One row per look that was tested.
    pub causal: Vec<CausalRow>,
}

impl Table {
    /// Puts seeds together. `None` without a picture in the error set of every seed.
    pub fn new(command: String, seeds: &[SeedMeasures]) -> Option<Self> {
        let of = |set: Set| -> Vec<Vec<&PictureMeasures>> {
            seeds.iter().map(|s| s.pictures.iter().filter(|p| p.set == set).collect()).collect()
        };
        let (errors, others) = (of(Set::Errors), of(Set::Others));
        let keys: BTreeSet<&(String, String)> = errors.iter().flatten().flat_map(|p| p.overlap.keys()).collect();
        let mut rows = Vec::new();
        for key in keys {
            let iou = |p: &PictureMeasures| p.overlap[key].iou;
            let focus = |p: &PictureMeasures| p.focus.get(&key.0).copied();
            rows.push(TableRow {
                look: key.0.clone(),
                region: key.1.clone(),
                iou: over_seeds(&errors, &|p| Some(iou(p)))?,
                iou_others: over_seeds(&others, &|p| Some(iou(p)))?,
                area: over_seeds(&errors, &|p| Some(p.overlap[key].area))?,
                missed: over_seeds(&errors, &|p| Some(f64::from(u8::from(iou(p) < 0.1))))?,
                energy: over_seeds(&errors, &|p| focus(p).map(|f| f.energy)),
                pointing: over_seeds(&errors, &|p| focus(p).map(|f| f64::from(u8::from(f.hit)))),
                without: errors.iter().flatten().filter(|p| focus(p).is_some_and(|f| !f.some)).count(),
            });
        }
        // Keys are sorted and the sort is stable, so that ties have one order.
        rows.sort_by(|a, b| b.iou.mean.total_cmp(&a.iou.mean));
        Some(Self {
            command,
            seeds: seeds.iter().map(|s| s.seed).collect(),
            errors: errors.iter().map(Vec::len).sum(),
            others: others.iter().map(Vec::len).sum(),
            object_area: over_seeds(&errors, &|p| Some(p.object))?.mean,
            rows,
            causal: Vec::new(),
        })
    }

    /// Adds deletion and insertion of every seed.
    pub fn add_causal(&mut self, found: &[Causal]) {
        let mut by_look: BTreeMap<&str, Vec<&Causal>> = BTreeMap::new();
        for c in found {
            by_look.entry(&c.look).or_default().push(c);
        }
        self.causal = by_look
            .into_iter()
            .filter_map(|(look, all)| {
                Some(CausalRow {
                    look: look.to_owned(),
                    deletion: Mean::of(all.iter().map(|c| c.deletion).collect())?,
                    insertion: Mean::of(all.iter().map(|c| c.insertion).collect())?,
                    n: all.iter().map(|c| c.n).sum(),
                })
            })
            .collect();
    }

    /// The table as a Markdown page.
    pub fn markdown(&self) -> String {
        let mut page = String::new();
        let seeds: Vec<String> = self.seeds.iter().map(u64::to_string).collect();
        // Writing to a String cannot fail.
        let _ = write!(
            page,
            "# Which mask finds the object\n\n\
             Made by `{}`.\n\n\
             Evaluation only: the true object masks that the figures are measured against exist because the pictures are \
             composed. No stage of a run reads them, or this table; the defaults were chosen from it by a person.\n\n\
             Seeds {} (n = {}); {} pictures of the error sets and {} other training pictures; the true object covers \
             {:.3} of a picture of the error sets. Figures are means of the seeds' means ± sample standard deviation over \
             seeds, on the error set unless a column says otherwise.\n\n\
             * look: method / layers (`&`: maps averaged) / class whose logit is explained (difference: true minus the strongest \
             other).\n\
             * IoU: intersection over union of region and object; 0 where nothing is positive (\"none\": such pictures). \
             missed: share of pictures with IoU below .1.\n\
             * energy: share of the attention inside the object. pointing: share of pictures whose strongest pixel lies on the \
             object, or within 3 % of the width of it.\n\
             * control: random masks with the areas of the reference's regions.\n\n",
            self.command,
            seeds.join(", "),
            self.seeds.len(),
            self.errors,
            self.others,
            self.object_area
        );
        page.push_str("| look | region | IoU | IoU, others | area | missed | energy | pointing | none |\n");
        page.push_str("| --- | --- | --: | --: | --: | --: | --: | --: | --: |\n");
        for r in &self.rows {
            let optional = |m: &Option<Mean>| m.as_ref().map_or_else(String::new, |m| format!("{:.3}", m.mean));
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} | {:.3} | {:.3} | {} | {} | {} |",
                r.look,
                r.region,
                r.iou.text(),
                r.iou_others.text(),
                r.area.mean,
                r.missed.mean,
                optional(&r.energy),
                optional(&r.pointing),
                r.without
            );
        }
        if !self.causal.is_empty() {
            page.push_str(
                "\n## Deletion and insertion\n\n\
                 Area under the classifier's probability of the true class while the most attended pixels turn grey first \
                 (deletion, low is good) or are put on the blurred picture first (insertion, high is good); a sample of the \
                 error sets.\n\n\
                 | look | deletion | insertion | pictures |\n| --- | --: | --: | --: |\n",
            );
            for r in &self.causal {
                let _ = writeln!(page, "| {} | {} | {} | {} |", r.look, r.deletion.text(), r.insertion.text(), r.n);
            }
        }
        page
    }
}

/// The mean of the seeds' means over pictures that have the value; `None` if a seed has none.
fn over_seeds(seeds: &[Vec<&PictureMeasures>], value: &dyn Fn(&PictureMeasures) -> Option<f64>) -> Option<Mean> {
    let means: Option<Vec<f64>> = seeds
        .iter()
        .map(|pictures| {
            let values: Vec<f64> = pictures.iter().filter_map(|p| value(p)).collect();
            Spread::of(&values).map(|s| s.mean)
        })
        .collect();
    Mean::of(means?)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Focus, Overlap},
        *,
    };

    fn picture(set: Set, ious: [f64; 2]) -> PictureMeasures {
        let key = |region: &str| ("layercam/last/true".to_owned(), region.to_owned());
        let overlap = [("otsu", ious[0]), ("knee", ious[1])].map(|(r, iou)| (key(r), Overlap { iou, area: 0.2 }));
        let focus = [("layercam/last/true".to_owned(), Focus { energy: 0.5, hit: ious[0] > 0.5, some: true })];
        PictureMeasures { id: 0, set, object: 0.1, focus: focus.into(), overlap: overlap.into() }
    }

    #[test]
    fn seeds_count_equally_and_the_best_comes_first() {
        let errors = |ious| picture(Set::Errors, ious);
        let seeds = [
            SeedMeasures { seed: 3, pictures: vec![errors([0.6, 0.2]), picture(Set::Others, [0.9, 0.9])] },
            SeedMeasures {
                seed: 4,
                pictures: vec![errors([0.0, 0.4]), errors([0.4, 0.6]), picture(Set::Others, [0.7, 0.7])],
            },
        ];
        let table = Table::new("scgs mask-quality".into(), &seeds).unwrap();
        assert_eq!((table.errors, table.others, &table.seeds), (3, 2, &vec![3, 4]));
        // Means of the seeds' means: knee (.2 + .5) / 2, Otsu (.6 + .2) / 2.
        let otsu = &table.rows[0];
        assert_eq!((otsu.region.as_str(), table.rows[1].region.as_str()), ("otsu", "knee"));
        assert_eq!(otsu.iou.seeds, [0.6, 0.2]);
        assert!((otsu.iou.mean - 0.4).abs() < 1e-12 && (table.rows[1].iou.mean - 0.35).abs() < 1e-12);
        assert!((otsu.iou_others.mean - 0.8).abs() < 1e-12);
        assert_eq!((&otsu.missed.seeds, &otsu.pointing.as_ref().unwrap().seeds), (&vec![0.0, 0.5], &vec![1.0, 0.0]));
        let page = table.markdown();
        assert!(page.contains("| layercam/last/true | otsu | 0.400 ± 0.283 | 0.800 ± 0.141 | 0.200 |"), "{page}");
        assert_eq!(Table::new(String::new(), &[SeedMeasures { seed: 0, pictures: Vec::new() }]), None);
    }
}

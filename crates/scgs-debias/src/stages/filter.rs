//! Which new pictures are dropped: `synthesis.filter`.

use image::{GrayImage, RgbImage, imageops};

use super::synthesis::Synthetic;
use crate::{Error, settings::FilterSettings};

/// Side of the pictures that are compared with each other.
const THUMBNAIL: u32 = 16;

/// What the filter knows of a new picture.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Mean absolute difference to the source in the repainted part, 0..=1.
    change: f64,
    thumbnail: RgbImage,
}

impl Seen {
    /// `mask` is white where the picture was repainted; all three have the same size.
    pub(super) fn of(old: &RgbImage, new: &RgbImage, mask: &GrayImage) -> Self {
        let repainted = mask.pixels().zip(old.pixels().zip(new.pixels())).filter(|(m, _)| m[0] > 127);
        let (sum, n) = repainted.fold((0u64, 0u64), |(sum, n), (_, (old, new))| {
            (sum + old.0.iter().zip(new.0).map(|(a, b)| u64::from(a.abs_diff(b))).sum::<u64>(), n + 3)
        });
        Self {
            change: if n == 0 { 0.0 } else { sum as f64 / (n * 255) as f64 },
            thumbnail: imageops::resize(new, THUMBNAIL, THUMBNAIL, imageops::FilterType::Triangle),
        }
    }

    fn distance(&self, other: &Self) -> f64 {
        let (a, b) = (self.thumbnail.as_raw(), other.thumbnail.as_raw());
        let sum: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        sum as f64 / (a.len() * 255) as f64
    }
}

/// Notes what every picture changed, drops what the settings ask for, and lets kept pictures of the same class stand in, in
/// turn.
///
/// # Errors
/// [`Error::AllDropped`] if nothing of a class is left.
pub(super) fn apply(
    settings: &FilterSettings,
    rows: &mut [Synthetic],
    seen: &[Seen],
    classes: &[String],
) -> Result<(), Error> {
    let mut kept: Vec<usize> = Vec::new();
    for i in 0..rows.len() {
        let row = &rows[i];
        let wrong = row.erm_predicted != row.y;
        let twin = settings.duplicate.and_then(|limit| {
            kept.iter().find(|&&k| rows[k].y == row.y && seen[k].distance(&seen[i]) < limit).map(|&k| rows[k].img_id)
        });
        let dropped = if settings.confident_error.is_some_and(|limit| wrong && row.erm_confidence >= limit) {
            Some(format!("the classifier sees {} with {:.2}", classes[row.erm_predicted], row.erm_confidence))
        } else if settings.unchanged.is_some_and(|limit| seen[i].change < limit) {
            Some(format!("changed by {:.3} only", seen[i].change))
        } else {
            twin.map(|id| format!("like picture {id}"))
        };
        if dropped.is_none() {
            kept.push(i);
        }
        let row = &mut rows[i];
        row.change = seen[i].change;
        row.uses = usize::from(dropped.is_none());
        row.dropped = dropped;
    }
    for (class, name) in classes.iter().enumerate() {
        let made = rows.iter().filter(|r| r.y == class).count();
        let of_class: Vec<usize> = kept.iter().copied().filter(|&i| rows[i].y == class).collect();
        if made > 0 && of_class.is_empty() {
            return Err(Error::AllDropped { class: name.clone(), made });
        }
        for i in 0..made - of_class.len() {
            rows[of_class[i % of_class.len()]].uses += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use image::{Luma, Rgb};

    use super::*;

    fn row(i: u64, y: usize, predicted: usize, confidence: f64) -> Synthetic {
        Synthetic {
            img_id: i,
            img_filename: String::new(),
            y,
            split: 0,
            place: -1,
            place_filename: String::new(),
            source_id: i,
            repeat: 0,
            mask: String::new(),
            inpainter: String::new(),
            prompt: String::new(),
            seed: String::new(),
            scheduler: String::new(),
            model_sha256: String::new(),
            mask_sha256: String::new(),
            erm_predicted: predicted,
            erm_confidence: confidence,
            change: 0.0,
            dropped: None,
            uses: 1,
        }
    }

    fn grey(value: u8) -> RgbImage {
        RgbImage::from_pixel(32, 32, Rgb([value; 3]))
    }

    #[test]
    fn change_is_measured_where_it_was_repainted() {
        let mask = GrayImage::from_fn(32, 32, |x, _| Luma([if x < 8 { 255 } else { 0 }]));
        let new = RgbImage::from_fn(32, 32, |x, _| Rgb([if x < 8 { 151 } else { 100 }; 3]));
        assert!((Seen::of(&grey(100), &new, &mask).change - 0.2).abs() < 1e-12);
    }

    #[test]
    fn every_rule_drops_what_it_names_and_the_number_stays() {
        let mask = GrayImage::from_pixel(32, 32, Luma([255]));
        let names = ["mammal".to_owned(), "bird".to_owned()];
        let seen: Vec<Seen> = [10, 90, 92, 200, 60].iter().map(|&v| Seen::of(&grey(0), &grey(v), &mask)).collect();
        let fresh =
            || vec![row(0, 0, 0, 0.9), row(1, 0, 1, 0.97), row(2, 0, 0, 0.6), row(3, 0, 1, 0.6), row(4, 1, 1, 0.9)];
        let reasons = |settings: &FilterSettings| {
            let mut rows = fresh();
            apply(settings, &mut rows, &seen, &names).unwrap();
            let of_class = |class| rows.iter().filter(|r| r.y == class).map(|r| r.uses).sum::<usize>();
            assert_eq!((of_class(0), of_class(1)), (4, 1), "as many as were made");
            assert!(rows.iter().all(|r| (r.uses == 0) == r.dropped.is_some()));
            rows.iter().map(|r| r.dropped.clone().unwrap_or_default()).collect::<Vec<_>>()
        };
        assert!(reasons(&FilterSettings::default()).iter().all(String::is_empty));
        let confident = FilterSettings { confident_error: Some(0.95), ..FilterSettings::default() };
        assert_eq!(reasons(&confident)[1], "the classifier sees bird with 0.97");
        assert_eq!(reasons(&confident)[3], "", "wrong, but not sure");
        let unchanged = FilterSettings { unchanged: Some(0.1), ..FilterSettings::default() };
        assert_eq!(reasons(&unchanged)[0], "changed by 0.039 only");
        let duplicate = FilterSettings { duplicate: Some(0.02), ..FilterSettings::default() };
        assert_eq!(reasons(&duplicate)[2], "like picture 1");
        let nothing = FilterSettings { unchanged: Some(0.5), ..FilterSettings::default() };
        let message = apply(&nothing, &mut fresh(), &seen, &names).unwrap_err().to_string();
        assert!(message.contains("class bird"), "{message}");
    }
}

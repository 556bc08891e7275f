//! The soft seam between what was painted and what was kept.

use image::GrayImage;
use imageproc::distance_transform::euclidean_squared_distance_transform;

/// How much of the painted picture each pixel takes, 0..=1, row by row: 0 outside the mask, 1 deeper inside it than
/// `feather` pixels, rising in between. The picture's frame is no border.
pub(crate) fn inside(mask: &GrayImage, feather: f32) -> Vec<f32> {
    if feather == 0.0 || mask.pixels().all(|p| p[0] == 255) {
        return mask.pixels().map(|p| if p[0] == 255 { 1.0 } else { 0.0 }).collect();
    }
    // The transform measures the way to the nearest white pixel: here the nearest one that is kept.
    let kept = GrayImage::from_fn(mask.width(), mask.height(), |x, y| image::Luma([255 - mask.get_pixel(x, y)[0]]));
    // A masked pixel beside the border is 1 away from a kept one and half a pixel deep.
    let share = |squared: f64| (((squared.sqrt() - 0.5) as f32) / feather).clamp(0.0, 1.0);
    euclidean_squared_distance_transform(&kept).pixels().map(|p| share(p[0])).collect()
}

/// Left, top, width and height of the white part of a mask, if there is one.
pub(crate) fn bounds(mask: &GrayImage) -> Option<(u32, u32, u32, u32)> {
    let mut found: Option<[u32; 4]> = None;
    for (x, y, _) in mask.enumerate_pixels().filter(|(_, _, p)| p[0] == 255) {
        let [left, top, right, bottom] = found.unwrap_or([x, y, x, y]);
        found = Some([left.min(x), top.min(y), right.max(x), bottom.max(y)]);
    }
    found.map(|[left, top, right, bottom]| (left, top, right - left + 1, bottom - top + 1))
}

/// `old` where `share` is 0, `new` where it is 1; between them in between, rounded.
pub(crate) fn blend(old: u8, new: u8, share: f32) -> u8 {
    // The conversion saturates; the half rounds. With share 0 the sum is `old` exactly.
    (f32::from(old) + (f32::from(new) - f32::from(old)) * share + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use image::Luma;

    use super::*;

    #[test]
    fn the_seam_lies_inside_the_mask() {
        let mask = GrayImage::from_fn(20, 3, |x, _| Luma([if x >= 8 { 255 } else { 0 }]));
        let share = inside(&mask, 2.0);
        let row = &share[20..40];
        assert!(row[..8].iter().all(|&v| v == 0.0));
        assert_eq!(&row[8..12], &[0.25, 0.75, 1.0, 1.0]);
        assert_eq!(row[19], 1.0, "the frame is no border");
        assert!(inside(&GrayImage::from_pixel(4, 4, Luma([255])), 2.0).iter().all(|&v| v == 1.0));
        assert_eq!(inside(&mask, 0.0)[8], 1.0);
    }

    #[test]
    fn blending_keeps_the_ends_exact() {
        for value in 0..=255 {
            assert_eq!(blend(value, 255 - value, 0.0), value);
            assert_eq!(blend(255 - value, value, 1.0), value);
        }
        assert_eq!(blend(10, 20, 0.5), 15);
    }
}

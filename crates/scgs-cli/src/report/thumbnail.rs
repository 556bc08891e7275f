//! Small pictures as `data:` addresses.

use std::{io::Cursor, path::Path};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use image::{DynamicImage, ImageFormat, codecs::jpeg::JpegEncoder, imageops::FilterType};

/// The longer side of a thumbnail in pixels.
const SIDE: u32 = 128;
/// JPEG's own scale, 1 to 100.
const QUALITY: u8 = 78;

/// What a picture shows decides how it is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Colours: JPEG.
    Photo,
    /// Attention in grey, smooth: JPEG.
    Map,
    /// Black and white: PNG.
    Mask,
}

/// Reads a picture and packs it at no more than 128 pixels a side.
pub(crate) fn embed(path: &Path, kind: Kind) -> anyhow::Result<String> {
    embed_at(path, kind, SIDE)
}

/// The same with another longest side.
pub(crate) fn embed_at(path: &Path, kind: Kind, side: u32) -> anyhow::Result<String> {
    let bytes = fs_err::read(path)?;
    let picture = image::load_from_memory(&bytes).with_context(|| format!("{} is damaged", path.display()))?;
    // A picture that is small already is not blown up.
    let picture = if picture.width().max(picture.height()) > side {
        picture.resize(side, side, FilterType::Triangle)
    } else {
        picture
    };
    pack(&picture, kind).with_context(|| format!("cannot pack {}", path.display()))
}

fn pack(picture: &DynamicImage, kind: Kind) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let media = match kind {
        Kind::Photo => {
            picture.to_rgb8().write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, QUALITY))?;
            "jpeg"
        }
        Kind::Map => {
            picture.to_luma8().write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, QUALITY))?;
            "jpeg"
        }
        Kind::Mask => {
            picture.to_luma8().write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)?;
            "png"
        }
    };
    Ok(format!("data:image/{media};base64,{}", STANDARD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;

    #[test]
    fn large_pictures_shrink_and_small_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        for (size, expected) in [((640, 320), (128, 64)), ((9, 5), (9, 5))] {
            let path = dir.path().join("picture.png");
            RgbImage::from_fn(size.0, size.1, |x, y| image::Rgb([x as u8, y as u8, 7])).save(&path).unwrap();
            for (kind, media) in [(Kind::Photo, "jpeg"), (Kind::Map, "jpeg"), (Kind::Mask, "png")] {
                let text = embed(&path, kind).unwrap();
                let base64 = text.strip_prefix(&format!("data:image/{media};base64,")).unwrap();
                let picture = image::load_from_memory(&STANDARD.decode(base64).unwrap()).unwrap();
                assert_eq!((picture.width(), picture.height()), expected);
            }
        }
    }

    #[test]
    fn a_damaged_picture_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("half.png");
        fs_err::write(&path, [0x89, b'P', b'N', b'G', 1, 2]).unwrap();
        let message = format!("{:#}", embed(&path, Kind::Photo).unwrap_err());
        assert!(message.contains("half.png is damaged"), "{message}");
    }
}

//! PNG files that say how they were made.

use std::{io, path::Path};

use image::RgbImage;
use scgs_data::atomic;

/// Writes a picture as PNG with pairs of keyword and text: `tEXt` chunks where the text is plain ASCII, `iTXt` chunks (UTF-8)
/// elsewhere. The file appears whole or not at all, and equal content is equal bytes.
///
/// A keyword has 1 to 79 ASCII characters; `prompt` and the like are common.
///
/// # Errors
/// What the system says, with the path in front; the same for a keyword or text that PNG cannot hold (a NUL character).
pub fn save_png_with_text(path: impl AsRef<Path>, picture: &RgbImage, texts: &[(String, String)]) -> io::Result<()> {
    atomic::write_with(path, |file| {
        let mut encoder = png::Encoder::new(file, picture.width(), picture.height());
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        for (keyword, text) in texts {
            if text.contains('\0') || keyword.contains('\0') {
                let reason = format!("the text `{keyword}` has a NUL character, which PNG cannot hold");
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
            let added = match text.is_ascii() {
                true => encoder.add_text_chunk(keyword.clone(), text.clone()),
                false => encoder.add_itxt_chunk(keyword.clone(), text.clone()),
            };
            added.map_err(io::Error::other)?;
        }
        let mut writer = encoder.write_header().map_err(as_io)?;
        writer.write_image_data(picture.as_raw()).map_err(as_io)?;
        writer.finish().map_err(as_io)
    })
}

/// The system's own error where there is one, so that a full disk is told from a wrong picture.
fn as_io(error: png::EncodingError) -> io::Error {
    match error {
        png::EncodingError::IoError(error) => error,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use image::Rgb;

    use super::*;

    #[test]
    fn texts_and_pixels_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let picture = RgbImage::from_fn(5, 3, |x, y| Rgb([x as u8, y as u8, 9]));
        let texts = [("prompt", "ein Häher ❄"), ("seed", "7"), ("negative_prompt", "")];
        let texts = texts.map(|(keyword, text)| (keyword.to_owned(), text.to_owned()));
        save_png_with_text(&path, &picture, &texts).unwrap();
        assert_eq!(image::open(&path).unwrap().into_rgb8(), picture);
        let mut reader = png::Decoder::new(std::io::Cursor::new(fs_err::read(&path).unwrap())).read_info().unwrap();
        reader.finish().unwrap();
        let info = reader.info();
        let mut found: BTreeMap<String, String> =
            info.uncompressed_latin1_text.iter().map(|chunk| (chunk.keyword.clone(), chunk.text.clone())).collect();
        found.extend(info.utf8_text.iter().map(|chunk| (chunk.keyword.clone(), chunk.get_text().unwrap())));
        assert_eq!(found, BTreeMap::from(texts));
    }

    #[test]
    fn what_png_cannot_hold_is_refused_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let texts = [("prompt".to_owned(), "a\0b".to_owned())];
        let error = save_png_with_text(folder.path().join("a.png"), &RgbImage::new(2, 2), &texts).unwrap_err();
        assert!(error.to_string().contains("NUL"), "{error}");
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 0);
    }
}

//! TensorBoard's event files: `TFRecord` frames (TensorFlow, `tensorflow/core/lib/io/record_writer.h`) of `Event` messages
//! (`tensorflow/core/util/event.proto`), of which three fields are used.
//!
//! The two crates that write such files stamp the clock into every event and into the file's name, so that two equal runs
//! would differ; one of them needs a protocol buffer compiler to build.

use super::Scalar;

/// The version every reader expects in the first event.
const VERSION: &str = "brain.Event:2";

/// The bytes of a file with one event per point.
pub(super) fn file(scalars: &[Scalar]) -> Vec<u8> {
    let mut out = Vec::new();
    // file_version = 3
    record(&mut out, &event(0, 3, VERSION.as_bytes()));
    for scalar in scalars {
        // Value { tag = 1, simple_value = 2 }
        let mut value = Vec::new();
        bytes(&mut value, 1, scalar.tag.as_bytes());
        value.push((2 << 3) | 5);
        value.extend((scalar.value as f32).to_le_bytes());
        // Summary { value = 1 }
        let mut summary = Vec::new();
        bytes(&mut summary, 1, &value);
        // summary = 5
        record(&mut out, &event(scalar.step as u64, 5, &summary));
    }
    out
}

/// `Event { wall_time = 1, step = 2, <field> }`. The time is always 0.
fn event(step: u64, field: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![(1 << 3) | 1];
    out.extend(0f64.to_le_bytes());
    out.push(2 << 3);
    varint(&mut out, step);
    bytes(&mut out, field, content);
    out
}

/// A field of bytes, text or a message.
fn bytes(out: &mut Vec<u8>, field: u8, content: &[u8]) {
    out.push((field << 3) | 2);
    varint(out, content.len() as u64);
    out.extend(content);
}

/// Seven bits per byte, the lowest first.
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(((value & 0x7f) as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Length and content, each followed by its checksum.
fn record(out: &mut Vec<u8>, content: &[u8]) {
    let length = (content.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked_crc(&length).to_le_bytes());
    out.extend(content);
    out.extend(masked_crc(content).to_le_bytes());
}

/// CRC-32C, rotated and shifted so that a checksum of data with checksums in it stays good.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, appendix B.4: CRC-32C of 32 zero bytes, and of the bytes 0 to 31.
    #[test]
    fn checksums_are_those_of_the_standard() {
        let unmasked = |data: &[u8]| masked_crc(data).wrapping_sub(0xa282_ead8).rotate_left(15);
        assert_eq!(unmasked(&[0; 32]), 0x8a91_36aa);
        assert_eq!(unmasked(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
    }

    #[test]
    fn whole_numbers_take_seven_bits_per_byte() {
        let of = |value| {
            let mut out = Vec::new();
            varint(&mut out, value);
            out
        };
        assert_eq!([of(0), of(127), of(128), of(300)], [vec![0], vec![127], vec![128, 1], vec![172, 2]]);
    }

    #[test]
    fn a_frame_is_length_checksum_content_checksum() {
        let mut out = Vec::new();
        record(&mut out, b"abc");
        assert_eq!(out[..8], [3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(out[8..12], masked_crc(&out[..8]).to_le_bytes());
        assert_eq!(&out[12..15], b"abc");
        assert_eq!(out[15..], masked_crc(b"abc").to_le_bytes());
    }
}

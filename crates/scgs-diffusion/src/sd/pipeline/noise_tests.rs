//! PyTorch's random numbers.

use rand_chacha::rand_core::SeedableRng as _;

use super::*;
use crate::sd::pipeline::tests::Pictures;

#[test]
fn numbers_are_those_of_torch_randn() {
    let file = Pictures::open("seeds");
    let mut noise = TorchNoise::new(5);
    for (i, count) in [3, 16, 100, 4, 40, 15, 256].into_iter().enumerate() {
        let expected = file.numbers(&format!("randn.{i}"));
        let found = noise.normal(Draw::Initial, count);
        assert_eq!(found.len(), expected.len());
        let most = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max);
        println!("draw {i} of {count}: {most:e}");
        assert!(most < 2e-6, "draw {i} of {count}: {most:e}\n{found:?}\n{expected:?}");
    }
}

#[test]
fn seeds_count_by_their_lower_32_bits_as_in_pytorch() {
    let draw = |seed: u64| TorchNoise::new(seed).normal(Draw::Step, 32);
    assert_eq!(draw(3), draw((1 << 32) + 3));
    assert_ne!(draw(3), draw(4));
}

#[test]
fn a_stream_gives_its_numbers_in_the_order_of_the_draws() {
    let stream = || ChaCha8Rng::seed_from_u64(1);
    let (mut one, mut other) = (stream(), stream());
    let first = one.normal(Draw::Encoder, 10);
    assert_eq!(first, other.normal(Draw::Initial, 10));
    assert_ne!(first, one.normal(Draw::Encoder, 10));
}

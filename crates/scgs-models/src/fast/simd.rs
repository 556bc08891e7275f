//! Loops for the widest vectors that the processor has, chosen at run time.
//!
//! Each is written once, plainly; the compiler makes code of it for AVX-512, for AVX2, and for any processor. On one
//! machine the same one is always taken, so results repeat.

/// Outputs that are summed in registers at a time.
pub(super) const BLOCK: usize = 64;
/// Numbers of one vector at most.
pub(super) const LANES: usize = 16;

/// A kernel element: what it multiplies, and where its run of inputs begins.
#[derive(Clone, Copy)]
pub(super) struct Tap {
    pub(super) weight: f32,
    pub(super) at: usize,
}

/// `slope * x + offset`.
#[derive(Clone, Copy)]
pub(super) struct Line {
    pub(super) slope: f32,
    pub(super) offset: f32,
}

/// The least and the largest value of an activation function that is the identity in between.
pub(super) type Range = [f32; 2];

/// Whether the processor has AVX-512 as far as it is used here.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("fma")
}

/// Defines `$name` as `$body`, compiled for several processors.
macro_rules! for_each_processor {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)? = $body:ident) => {
        $(#[$doc])*
        pub(super) fn $name($($arg: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,fma,avx2")]
                fn wide($($arg: $type),*) $(-> $result)? {
                    $body::<true>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn middle($($arg: $type),*) $(-> $result)? {
                    $body::<true>($($arg),*)
                }
                if $crate::fast::simd::has_avx512() {
                    // SAFETY: the processor has the features, as was just asked.
                    return unsafe { wide($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: as above.
                    return unsafe { middle($($arg),*) };
                }
            }
            $body::<false>($($arg),*)
        }
    };
}
pub(super) use for_each_processor;

for_each_processor! {
    /// `out[i] = start + sum over taps of weight * input[at + i]` for `i` below `count`.
    ///
    /// Whole blocks are computed: `out` and what each tap reads reach to the next multiple of [`BLOCK`].
    fn weighted_sum(taps: &[Tap], input: &[f32], start: f32, count: usize, out: &mut [f32]) = weighted_sum_body
}

for_each_processor! {
    /// The sum of the products of two equally long runs.
    fn dot(a: &[f32], b: &[f32]) -> f32 = dot_body
}

for_each_processor! {
    /// Adds a number to each value and keeps it in a range.
    fn add_and_clamp(values: &mut [f32], add: f32, range: Range) = add_and_clamp_body
}

for_each_processor! {
    /// 0 in place of the values whose `others` do not lie strictly inside a range.
    fn keep_inside(values: &mut [f32], others: &[f32], range: Range) = keep_inside_body
}

for_each_processor! {
    /// The larger of each pair, into the first row.
    fn raise(values: &mut [f32], others: &[f32]) = raise_body
}

for_each_processor! {
    /// `x = exp(scale * (x - largest x))`; returns the sum.
    fn exponentials(values: &mut [f32], scale: f32) -> f32 = exponentials_body
}

for_each_processor! {
    /// `out = clamp(line(x))`.
    fn line_and_clamp(x: &[f32], line: Line, range: Range, out: &mut [f32]) = line_and_clamp_body
}

for_each_processor! {
    /// Sum and sum of squares of `x - pivot`.
    fn moments(x: &[f32], pivot: f32) -> [f64; 2] = moments_body
}

for_each_processor! {
    /// With `dz` the gradient before [`line_and_clamp`]'s clamping: the sums of `dz` and of `dz * (x - mean)`.
    fn gradient_sums(dy: &[f32], x: &[f32], line: Line, range: Range, mean: f32) -> [f64; 2] = gradient_sums_body
}

for_each_processor! {
    /// With `dz` as above: `dx = factors[0] * dz + factors[1] + factors[2] * (x - mean)`.
    fn gradient(dy: &[f32], x: &[f32], line: Line, range: Range, mean: f32, factors: [f32; 3], dx: &mut [f32])
        = gradient_body
}

#[inline(always)]
fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    // Without the instruction a fused product is a slow call of the library.
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

#[inline(always)]
fn weighted_sum_body<const FUSED: bool>(taps: &[Tap], input: &[f32], start: f32, count: usize, out: &mut [f32]) {
    for first in (0..count).step_by(BLOCK) {
        let mut sums = [start; BLOCK];
        for tap in taps {
            let run = &input[tap.at + first..][..BLOCK];
            for (sum, &value) in sums.iter_mut().zip(run) {
                *sum = multiply_add::<FUSED>(tap.weight, value, *sum);
            }
        }
        out[first..][..BLOCK].copy_from_slice(&sums);
    }
}

#[inline(always)]
fn dot_body<const FUSED: bool>(a: &[f32], b: &[f32]) -> f32 {
    const STEP: usize = 4 * LANES;
    let mut sums = [0.0_f32; STEP];
    let (mut a, mut b) = (a.chunks_exact(STEP), b.chunks_exact(STEP));
    for (a, b) in a.by_ref().zip(b.by_ref()) {
        for lane in 0..STEP {
            sums[lane] = multiply_add::<FUSED>(a[lane], b[lane], sums[lane]);
        }
    }
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    rest + sums.iter().sum::<f32>()
}

/// `exp(x)` within 2e-7 relative for any finite x (Cephes' expf: range reduction by ln 2 and a polynomial), clamped
/// where f32 would overflow. The compiler makes vector code of it, which it cannot of the library's.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    // Adding and taking off 1.5 * 2^23 rounds to the nearest integer, which is then in the lowest bits: a conversion would not
    // be made for a whole vector.
    const ROUND: f32 = 12_582_912.0;
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    // ln 2 in two parts, so that the first product is exact.
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4_f32;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_66, 0.5] {
        p = p * r + c;
    }
    let p = p * r * r + r + 1.0;
    p * f32::from_bits(rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23)
}

/// As `f32::clamp`, for a range that may be open: NaN stays.
#[inline(always)]
pub(super) fn clamped(value: f32, [low, high]: Range) -> f32 {
    let value = if value < low { low } else { value };
    if value > high { high } else { value }
}

#[inline(always)]
fn add_and_clamp_body<const FUSED: bool>(values: &mut [f32], add: f32, range: Range) {
    values.iter_mut().for_each(|value| *value = clamped(*value + add, range));
}

#[inline(always)]
fn keep_inside_body<const FUSED: bool>(values: &mut [f32], others: &[f32], [low, high]: Range) {
    values
        .iter_mut()
        .zip(others)
        .for_each(|(value, &other)| *value = if other > low && other < high { *value } else { 0.0 });
}

#[inline(always)]
fn exponentials_body<const FUSED: bool>(values: &mut [f32], scale: f32) -> f32 {
    let (chunks, rest) = values.as_chunks_mut::<LANES>();
    let mut most = [f32::NEG_INFINITY; LANES];
    for chunk in &*chunks {
        for (most, &value) in most.iter_mut().zip(chunk) {
            *most = larger(*most, value);
        }
    }
    let most = most.iter().chain(&*rest).copied().fold(f32::NEG_INFINITY, larger);
    let mut sums = [0.0_f32; LANES];
    for chunk in chunks {
        for (value, sum) in chunk.iter_mut().zip(&mut sums) {
            *value = exp(scale * (*value - most));
            *sum += *value;
        }
    }
    for (value, sum) in rest.iter_mut().zip(&mut sums) {
        *value = exp(scale * (*value - most));
        *sum += *value;
    }
    sums.iter().sum()
}

/// NaN if one of them is.
#[inline(always)]
pub(super) fn larger(a: f32, b: f32) -> f32 {
    if a > b || a.is_nan() { a } else { b }
}

#[inline(always)]
fn raise_body<const FUSED: bool>(values: &mut [f32], others: &[f32]) {
    values.iter_mut().zip(others).for_each(|(value, &other)| *value = larger(*value, other));
}

#[inline(always)]
fn line_and_clamp_body<const FUSED: bool>(x: &[f32], line: Line, range: Range, out: &mut [f32]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = clamped(multiply_add::<FUSED>(line.slope, x, line.offset), range);
    }
}

/// Sums two terms of each place in lanes of f32, which are emptied into f64 now and then so that they lose no digits.
#[inline(always)]
fn sums(count: usize, term: impl Fn(usize) -> [f32; 2]) -> [f64; 2] {
    const EMPTIED: usize = 64 * LANES;
    let mut totals = [0.0_f64; 2];
    for start in (0..count).step_by(EMPTIED) {
        let end = count.min(start + EMPTIED);
        let (mut of_a, mut of_b) = ([0.0_f32; LANES], [0.0_f32; LANES]);
        let whole = start + (end - start) / LANES * LANES;
        for first in (start..whole).step_by(LANES) {
            for (lane, (sum_a, sum_b)) in of_a.iter_mut().zip(&mut of_b).enumerate() {
                let [a, b] = term(first + lane);
                *sum_a += a;
                *sum_b += b;
            }
        }
        for place in whole..end {
            let [a, b] = term(place);
            totals[0] += f64::from(a);
            totals[1] += f64::from(b);
        }
        for (total, lanes) in totals.iter_mut().zip([of_a, of_b]) {
            *total += lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>();
        }
    }
    totals
}

#[inline(always)]
fn moments_body<const FUSED: bool>(x: &[f32], pivot: f32) -> [f64; 2] {
    sums(x.len(), |i| {
        let distance = x[i] - pivot;
        [distance, distance * distance]
    })
}

/// `dy` where the activation function has slope 1, else 0.
#[inline(always)]
fn before_clamp<const FUSED: bool>(dy: f32, x: f32, line: Line, [low, high]: Range) -> f32 {
    let z = multiply_add::<FUSED>(line.slope, x, line.offset);
    if z > low && z < high { dy } else { 0.0 }
}

#[inline(always)]
fn gradient_sums_body<const FUSED: bool>(dy: &[f32], x: &[f32], line: Line, range: Range, mean: f32) -> [f64; 2] {
    let (dy, x) = (&dy[..x.len()], x);
    sums(x.len(), |i| {
        let dz = before_clamp::<FUSED>(dy[i], x[i], line, range);
        [dz, dz * (x[i] - mean)]
    })
}

#[inline(always)]
fn gradient_body<const FUSED: bool>(
    dy: &[f32],
    x: &[f32],
    line: Line,
    range: Range,
    mean: f32,
    [a, b, c]: [f32; 3],
    dx: &mut [f32],
) {
    for ((dx, &dy), &x) in dx.iter_mut().zip(dy).zip(x) {
        let dz = before_clamp::<FUSED>(dy, x, line, range);
        *dx = multiply_add::<FUSED>(a, dz, multiply_add::<FUSED>(c, x - mean, b));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_processors_code_computes_the_same_sums() {
        let input: Vec<f32> = (0..400).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
        let taps = [Tap { weight: 0.5, at: 3 }, Tap { weight: -2.0, at: 70 }];
        let (mut chosen, mut plain) = (vec![0.0; 192], vec![0.0; 192]);
        weighted_sum(&taps, &input, 0.25, 130, &mut chosen);
        weighted_sum_body::<false>(&taps, &input, 0.25, 130, &mut plain);
        for i in 0..130 {
            let expected = 0.25 + 0.5 * input[3 + i] - 2.0 * input[70 + i];
            assert!((chosen[i] - expected).abs() < 1e-6 && (plain[i] - expected).abs() < 1e-6, "output {i}");
        }
        let expected: f64 = input[..150].iter().zip(&input[200..350]).map(|(a, b)| f64::from(a * b)).sum();
        for found in [dot(&input[..150], &input[200..350]), dot_body::<false>(&input[..150], &input[200..350])] {
            assert!((f64::from(found) - expected).abs() < 1e-4, "{found} instead of {expected}");
        }
    }
}

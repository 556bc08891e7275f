//! Tests of samplers and pairing rules.

use scgs_data::stream;

use super::*;

const LABELS: [usize; 8] = [0, 0, 0, 0, 1, 1, 1, 1];
const DOMAINS: [usize; 8] = [0, 0, 0, 1, 1, 1, 1, 0];

#[test]
fn an_epoch_visits_every_row_as_often_as_it_is_listed() {
    let rows = [0, 1, 2, 3, 3, 3];
    let batches = epoch(&rows, 4, &Sampler::Shuffle, &Mixing::None, &mut stream(1, "t", 1));
    assert_eq!(batches.iter().map(|b| b.items.len()).collect::<Vec<_>>(), [4, 2]);
    let mut seen: Vec<usize> = batches.iter().flat_map(Batch::rows).collect();
    seen.sort_unstable();
    assert_eq!(seen, rows);
}

#[test]
fn weighted_draws_follow_the_weights_and_never_take_weight_zero() {
    let rows: Vec<usize> = (0..3).cycle().take(6000).collect();
    let weights: Vec<f64> = rows.iter().map(|&r| [0.0, 1.0, 3.0][r]).collect();
    let mut counts = [0usize; 3];
    draw(&rows, &weights, &mut stream(2, "t", 0)).iter().for_each(|&r| counts[r] += 1);
    assert_eq!(counts[0], 0);
    let share = counts[2] as f64 / 6000.0;
    assert!((share - 0.75).abs() < 0.02, "{share}");
}

#[test]
fn lisa_pairs_by_label_or_by_domain_and_nothing_else() {
    let rows: Vec<usize> = (0..8).collect();
    for (same_label, rule) in [(1.0, true), (0.0, false)] {
        let mixing = lisa(same_label, false);
        let mut partners = 0;
        for e in 0..50 {
            for batch in epoch(&rows, 8, &Sampler::Shuffle, &mixing, &mut stream(3, "t", e)) {
                for item in batch.items {
                    let partner = item.partner.unwrap();
                    assert_eq!(LABELS[item.row] == LABELS[partner.row], rule);
                    assert_eq!(DOMAINS[item.row] == DOMAINS[partner.row], !rule);
                    partners += 1;
                }
            }
        }
        assert_eq!(partners, 400);
    }
}

fn lisa(same_label: f64, cut: bool) -> Mixing {
    Mixing::Lisa { alpha: 2.0, same_label, cut, labels: LABELS.to_vec(), domains: DOMAINS.to_vec() }
}

#[test]
fn lisa_may_cut_instead_of_blending_and_pairs_the_same_way() {
    let rows: Vec<usize> = (0..8).collect();
    for batch in epoch(&rows, 8, &Sampler::Shuffle, &lisa(1.0, true), &mut stream(3, "cut", 0)) {
        for item in batch.items {
            let partner = item.partner.unwrap();
            let [top, left, bottom, right] = partner.cut.unwrap();
            assert!((partner.keep - (1.0 - (bottom - top) * (right - left))).abs() < 1e-12);
            assert!(pairs(&LABELS, &DOMAINS, item.row, partner.row, true));
        }
    }
}

#[test]
fn contrastive_batches_hold_positives_and_negatives_of_the_definition() {
    let contrast = Contrast { each: 3, labels: LABELS.to_vec(), answers: DOMAINS.to_vec() };
    let rows: Vec<usize> = (0..8).collect();
    let batches = epoch(&rows, 1, &Sampler::Contrastive(contrast), &Mixing::None, &mut stream(4, "t", 1));
    assert_eq!(batches.len(), 8);
    for batch in batches {
        let rows = batch.rows();
        let (anchor, others) = (rows[0], &rows[1..]);
        assert_eq!((others.len(), batch.positives), (6, 3));
        for (i, &other) in others.iter().enumerate() {
            let positive = i < 3;
            assert_eq!(LABELS[other] == LABELS[anchor], positive);
            assert_eq!(DOMAINS[other] == DOMAINS[anchor], !positive);
        }
    }
}

#[test]
fn cutmix_counts_the_area_that_is_really_replaced() {
    let rows: Vec<usize> = (0..8).collect();
    for e in 0..100 {
        let batches = epoch(&rows, 8, &Sampler::Shuffle, &Mixing::Cutmix { alpha: 1.0 }, &mut stream(5, "t", e));
        let partner = batches[0].items[0].partner.unwrap();
        let [top, left, bottom, right] = partner.cut.unwrap();
        assert!(top >= 0.0 && left >= 0.0 && bottom <= 1.0 && right <= 1.0 && top <= bottom && left <= right);
        assert!((partner.keep - (1.0 - (bottom - top) * (right - left))).abs() < 1e-12);
    }
}

/// Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1)).
#[test]
fn beta_numbers_have_their_mean_and_variance() {
    for alpha in [0.2, 1.0, 2.0] {
        let mut rng = stream(6, "beta", 0);
        let values: Vec<f64> = (0..20_000).map(|_| symmetric_beta(alpha, &mut rng)).collect();
        let mean = values.iter().sum::<f64>() / 20_000.0;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!((mean - 0.5).abs() < 0.01, "{alpha}: {mean}");
        assert!((variance - 1.0 / (4.0 * (2.0 * alpha + 1.0))).abs() < 0.005, "{alpha}: {variance}");
    }
}

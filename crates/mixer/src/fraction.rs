//! Weights as exact fractions of one common denominator.
//!
//! The order of data is computed in integers, so that it is the same on every machine and "within one sequence" holds
//! exactly. Each weight, divided by the sum of all, becomes the simplest fraction within 2⁻⁵⁰ of it (relative), found by its
//! continued fraction: 0.3 becomes 3/10, 0.85/3 becomes 17/60. So the shares that a person writes come out even over their
//! period, which rounding to binary would miss by one sequence now and then.
//!
//! If some weight has no such fraction with a denominator up to 2²⁴, if the fractions do not add up to 1, or if their common
//! denominator exceeds 2⁶⁰, all weights are rounded to multiples of 2⁻⁶⁰ by largest remainder instead. A share then differs
//! from its weight by less than 2⁻⁶⁰: a millionth of a sequence after 2⁴⁰ sequences.

use crate::error::{MixError, Result};

/// Largest common denominator: `k · DENOMINATOR` stays exact in 128 bits for any 64-bit `k`.
const MAX_COMMON: u64 = 1 << 60;
/// Largest denominator of one share. Two fractions below it are at least 2⁻⁴⁸ apart, so at most one
/// lies within the tolerance.
const MAX_DENOMINATOR: u128 = 1 << 24;
const TOLERANCE_BITS: u32 = 50;
/// Smallest share accepted; see [`MixError::TinyShare`].
pub(crate) const MIN_SHARE: f64 = 1.0 / (1u64 << 30) as f64;

/// Shares as integers: source `j` has the share `numerators[j] / denominator`; the numerators are
/// positive and add up to the denominator, which is at most 2⁶⁰.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shares {
    pub numerators: Vec<u64>,
    pub denominator: u64,
}

impl Shares {
    /// Shares of positive finite weights on any scale.
    pub fn of(weights: &[f64]) -> Result<Self> {
        let shares = normalised(weights, compensated_sum)?;
        for (source_index, &share) in shares.iter().enumerate() {
            if share < MIN_SHARE {
                return Err(MixError::TinyShare { source_index, share });
            }
        }
        Ok(simple_fractions(&shares).unwrap_or_else(|| binary_fractions(weights)))
    }
}

/// `weights` divided by their sum.
///
/// # Errors
/// No weights, one that is not positive and finite, or an infinite sum.
pub(crate) fn normalised(weights: &[f64], sum: fn(&[f64]) -> f64) -> Result<Vec<f64>> {
    if weights.is_empty() {
        return Err(MixError::Empty);
    }
    for (source_index, &weight) in weights.iter().enumerate() {
        if !(weight.is_finite() && weight > 0.0) {
            return Err(MixError::Weight { source_index, weight });
        }
    }
    match sum(weights) {
        sum if sum.is_finite() => Ok(weights.iter().map(|weight| weight / sum).collect()),
        _ => Err(MixError::WeightSum),
    }
}

/// Neumaier's sum: plain summation of many weights would blur the last bits that tell 3/10 from its
/// neighbours.
fn compensated_sum(values: &[f64]) -> f64 {
    let (mut sum, mut lost) = (0.0f64, 0.0f64);
    for &value in values {
        let next = sum + value;
        lost += if sum.abs() >= value.abs() {
            (sum - next) + value
        } else {
            (value - next) + sum
        };
        sum = next;
    }
    sum + lost
}

fn simple_fractions(shares: &[f64]) -> Option<Shares> {
    let fractions: Vec<_> = shares
        .iter()
        .map(|&share| simplest_fraction(share))
        .collect::<Option<_>>()?;
    let mut common: u128 = 1;
    for &(_, q) in &fractions {
        common = common / gcd(common, q) * q;
        if common > u128::from(MAX_COMMON) {
            return None;
        }
    }
    let numerators: Vec<u128> = fractions.iter().map(|&(p, q)| common / q * p).collect();
    (numerators.iter().sum::<u128>() == common).then(|| Shares {
        // Each numerator is at most the common denominator, which is at most 2^60.
        numerators: numerators.iter().map(|&n| n as u64).collect(),
        denominator: common as u64,
    })
}

/// The first convergent of the continued fraction of `share` (in `[MIN_SHARE, 1]`) that is within
/// the tolerance. By Legendre's theorem every p/q with |x − p/q| < 1/2q² is a convergent, and with
/// q ≤ 2²⁴ the tolerance is below that, so no fraction is missed.
fn simplest_fraction(share: f64) -> Option<(u128, u128)> {
    let (x, one) = fixed_point(share);
    let (mut numerator, mut denominator) = (x, one);
    let (mut p, mut q) = ((1u128, 0u128), (0u128, 1u128)); // (current, previous)
    while denominator != 0 {
        let quotient = numerator / denominator;
        (numerator, denominator) = (denominator, numerator % denominator);
        p = (quotient.checked_mul(p.0)?.checked_add(p.1)?, p.0);
        q = (quotient.checked_mul(q.0)?.checked_add(q.1)?, q.0);
        if q.0 > MAX_DENOMINATOR {
            return None;
        }
        if p.0 > 0 && (x * q.0).abs_diff(p.0 * one) <= (x * q.0) >> TOLERANCE_BITS {
            return Some((p.0, q.0));
        }
    }
    None
}

/// `share` as `x / 2^83`, exactly: at least 2⁻³⁰ with 53 significant bits.
fn fixed_point(share: f64) -> (u128, u128) {
    const BITS: i32 = 83;
    ((share * 2f64.powi(BITS)) as u128, 1 << BITS)
}

/// Largest-remainder rounding to multiples of 2⁻⁶⁰.
fn binary_fractions(weights: &[f64]) -> Shares {
    let largest = weights.iter().copied().fold(0.0, f64::max);
    // Dividing by a power of two loses no bit; the largest weight comes to about 2^62 units.
    let unit = 2f64.powi((largest.log2().floor() as i32).max(-1022));
    let scaled: Vec<u128> = weights
        .iter()
        .map(|w| (w / unit * 2f64.powi(62)) as u128)
        .collect();
    let sum: u128 = scaled.iter().sum();
    let numerators = scaled.iter().map(|&w| (w * u128::from(MAX_COMMON) / sum) as u64);
    let mut numerators: Vec<u64> = numerators.collect();
    let missing = MAX_COMMON - numerators.iter().sum::<u64>();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|&j| std::cmp::Reverse(scaled[j] * u128::from(MAX_COMMON) % sum));
    for &j in order.iter().take(missing as usize) {
        numerators[j] += 1;
    }
    Shares {
        numerators,
        denominator: MAX_COMMON,
    }
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Written with decimals, as products of two levels, or with a sum other than 1.
    #[test]
    fn shares_become_their_own_fractions() {
        let two_levels = [0.85 * (2.0 / 3.0), 0.85 * (1.0 / 3.0), 0.12, 0.03];
        let cases: [(&[f64], &[u64], u64); 5] = [
            (&[0.5, 0.3, 0.2], &[5, 3, 2], 10),
            (&[85.0, 12.0, 3.0], &[85, 12, 3], 100),
            (&two_levels, &[170, 85, 36, 9], 300),
            (&[0.36, 0.00005, 0.64], &[7200, 1, 12800], 20001),
            (&[7.5], &[1], 1),
        ];
        for (weights, numerators, denominator) in cases {
            let shares = Shares::of(weights).unwrap();
            assert_eq!(
                (&shares.numerators[..], shares.denominator),
                (numerators, denominator),
                "{weights:?}"
            );
        }
    }

    #[test]
    fn irrational_shares_fall_back_to_binary() {
        let shares = Shares::of(&[std::f64::consts::PI, std::f64::consts::E, 2f64.sqrt()]).unwrap();
        assert_eq!(shares.denominator, 1 << 60);
        assert_eq!(shares.numerators.iter().sum::<u64>(), 1 << 60);
    }

    #[test]
    fn bad_weights_are_refused_by_name() {
        assert_eq!(Shares::of(&[]), Err(MixError::Empty));
        for weight in [0.0, -0.5, f64::INFINITY] {
            let source_index = 1;
            assert_eq!(
                Shares::of(&[1.0, weight]),
                Err(MixError::Weight { source_index, weight })
            );
        }
        let refused = Shares::of(&[f64::NAN]);
        assert!(matches!(refused, Err(MixError::Weight { source_index: 0, .. })));
        assert_eq!(Shares::of(&[f64::MAX, f64::MAX]), Err(MixError::WeightSum));
        let refused = Shares::of(&[1.0, 1e-10]);
        assert!(matches!(
            refused,
            Err(MixError::TinyShare { source_index: 1, .. })
        ));
    }

    proptest! {
        #[test]
        fn any_weights_keep_their_ratios(weights in prop::collection::vec(1e-3f64..1e3, 1..60)) {
            let shares = Shares::of(&weights).unwrap();
            let sum = compensated_sum(&weights);
            let total: u128 = shares.numerators.iter().map(|&a| u128::from(a)).sum();
            prop_assert_eq!(total, u128::from(shares.denominator));
            for (&a, w) in shares.numerators.iter().zip(&weights) {
                let (got, asked) = (a as f64 / shares.denominator as f64, w / sum);
                prop_assert!((got - asked).abs() < 2f64.powi(-60) + 2e-15 * asked, "{} for {}", got, asked);
            }
        }

        #[test]
        fn integer_weights_are_exact(weights in prop::collection::vec(1u64..1000, 1..60)) {
            let shares = Shares::of(&weights.iter().map(|&w| w as f64).collect::<Vec<_>>()).unwrap();
            let sum: u64 = weights.iter().sum();
            for (&a, &w) in shares.numerators.iter().zip(&weights) {
                prop_assert_eq!(u128::from(a) * u128::from(sum), u128::from(w) * u128::from(shares.denominator));
            }
        }
    }
}

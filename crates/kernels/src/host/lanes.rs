//! Arithmetic on rows that the compiler turns into vector instructions.
//!
//! Everything here is `inline(always)` and must be called from an `inline(always)` closure inside [`wide`]: only then is it
//! compiled for the machine's widest registers. Sums and maxima use sixteen lanes, because a compiler may not reorder
//! additions.

use pulp::Arch;

/// Numbers per vector operation.
const LANES: usize = 16;

/// Runs `work` compiled for the widest vectors of this machine. `work` must be an `#[inline(always)]` closure.
pub(crate) fn wide<R>(work: impl FnOnce() -> R) -> R {
    Arch::new().dispatch(work)
}

/// The largest number of a row, ignoring NaN. After a shift by it, [`exp_row`] of a row with NaN sums to NaN.
#[inline(always)]
pub(crate) fn largest(row: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, *value);
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger)
}

/// Σ f(x).
#[inline(always)]
pub(crate) fn sum_of(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += f(*value);
        }
    }
    lanes
        .iter_mut()
        .zip(rest)
        .for_each(|(lane, value)| *lane += f(*value));
    lanes.iter().sum()
}

/// Σ f(xᵢ, yᵢ) over rows of equal length.
#[inline(always)]
pub(crate) fn sum_of_pairs(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    for (x, y) in x.iter().zip(y) {
        for lane in 0..LANES {
            lanes[lane] += f(x[lane], y[lane]);
        }
    }
    for (lane, (x, y)) in lanes.iter_mut().zip(x_rest.iter().zip(y_rest)) {
        *lane += f(*x, *y);
    }
    lanes.iter().sum()
}

/// Turns a row into exp(scale · x − shift) and returns the sum of that.
#[inline(always)]
pub(crate) fn exp_row(row: &mut [f32], scale: f32, shift: f32) -> f32 {
    let mut sums = [0.0; LANES];
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for (value, sum) in chunk.iter_mut().zip(&mut sums) {
            *value = exp(*value * scale - shift);
            *sum += *value;
        }
    }
    for (value, sum) in rest.iter_mut().zip(&mut sums) {
        *value = exp(*value * scale - shift);
        *sum += *value;
    }
    sums.iter().sum()
}

/// 1 / (1 + e^−x); NaN for NaN.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    let power = exp(-x);
    1.0 / (1.0 + if x < -88.0 { f32::INFINITY } else { power })
}

/// e^x to about two units in the last place, for x ≤ 88; below −87 it is 0, and NaN for NaN.
///
/// Range reduction by ln 2 in two parts, then a polynomial on [−ln 2 / 2, ln 2 / 2] (the coefficients of Cephes'
/// `expf`). The library's `expf` is a call per number; this is a few vector instructions per sixteen.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding 1.5 · 2^23 rounds to an integer in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // In this order the comparison passes NaN on, and is still one instruction.
    let clamped = if x < -87.0 { -87.0 } else { x };
    let rounded = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = clamped - n * 0.693_359_4;
    let r = r - n * -2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    // 2^n: |n| ≤ 127, so n + 127 fits the exponent's eight bits, and the shift drops all above.
    let scale = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { p * scale }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_any_length() {
        for length in 0..70 {
            let x: Vec<f32> = (0..length).map(|i| ((i * 37 % 23) as f32 - 11.0) / 4.0).collect();
            let y: Vec<f32> = x.iter().rev().copied().collect();
            assert_eq!(largest(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let dot: f32 = x.iter().zip(&y).map(|(x, y)| x * y).sum();
            assert!((sum_of_pairs(&x, &y, |x, y| x * y) - dot).abs() < 1e-4);
            assert!((sum_of(&x, |x| x + 1.0) - x.iter().map(|x| x + 1.0).sum::<f32>()).abs() < 1e-4);
            let mut row = x.clone();
            let sum = exp_row(&mut row, 0.5, 1.0);
            let expected: Vec<f32> = x.iter().map(|x| (0.5 * x - 1.0).exp()).collect();
            assert!((sum - expected.iter().sum::<f32>()).abs() <= 1e-5 * sum);
            assert!(row.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-6 * b));
        }
        assert_eq!(largest(&[f32::NAN, 1.0, f32::NAN]), 1.0);
    }

    #[test]
    fn what_is_not_finite_is_as_ieee_says() {
        assert!(exp(f32::NAN).is_nan() && exp(-f32::NAN).is_nan());
        assert!(sigmoid(f32::NAN).is_nan());
        assert_eq!((sigmoid(f32::INFINITY), sigmoid(f32::NEG_INFINITY)), (1.0, 0.0));
        for length in [1, 5, 16, 33, 70] {
            for at in 0..length {
                let mut row = vec![0.5; length];
                row[at] = f32::NAN;
                let shift = largest(&row);
                assert!(
                    exp_row(&mut row, 1.0, shift).is_nan() && row[at].is_nan(),
                    "{at} of {length}"
                );
            }
        }
    }

    #[test]
    fn sigmoid_at_both_ends() {
        assert_eq!((sigmoid(200.0), sigmoid(0.0)), (1.0, 0.5));
        assert!(sigmoid(-200.0) < 1e-37);
        assert!((f64::from(sigmoid(-3.0)) - 1.0 / (1.0 + 3f64.exp())).abs() < 1e-8);
    }

    #[test]
    fn close_to_the_library() {
        let mut worst = 0f64;
        for i in -87_000..=88_000 {
            let x = i as f32 / 1000.0;
            let expected = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) / expected - 1.0).abs());
        }
        assert!(worst < 2.5e-7, "{worst:e}");
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1e30), 0.0);
        assert_eq!(exp(0.0), 1.0);
    }
}

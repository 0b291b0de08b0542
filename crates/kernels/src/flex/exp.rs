//! `exp` that the compiler can vectorise.

/// e^x to about two units in the last place, for x ≤ 88; below −87 it is 0.
///
/// Range reduction by ln 2 in two parts, then a polynomial on [−ln 2 / 2, ln 2 / 2] (the coefficients of Cephes'
/// `expf`). The library's `expf` is a call for every number; this is a few vector instructions for sixteen.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Adding and taking away 1.5 · 2^23 rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.max(-87.0);
    let n = (clamped * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = clamped - n * 0.693_359_4;
    let r = r - n * -2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    // SAFETY: |n| ≤ 127 for the range above, so it fits an i32.
    let exponent = unsafe { n.to_int_unchecked::<i32>() };
    let scale = f32::from_bits(((exponent + 127) << 23) as u32);
    if x < -87.0 { 0.0 } else { p * scale }
}

#[cfg(test)]
mod tests {
    use super::exp;

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

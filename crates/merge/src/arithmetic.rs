//! One element of the result, to the bit.
//!
//! With parents `x₁ … xₙ` and weights `w₁ … wₙ`, all arithmetic in `f32`, rounded to nearest even:
//!
//! ```text
//! s = w₁·x₁;  s = fma(w₂, x₂, s);  …  s = fma(wₙ, xₙ, s);  s = s / (w₁ + … + wₙ);  result = s rounded to its format
//! ```
//!
//! where `wᵢ` is the weight rounded to `f32`, the divisor is the sum of those, rounded once, and `fma` multiplies and
//! adds with one rounding. These are the operations of mergekit 0.1.5 with torch on a processor that has `fma`, so
//! results equal its bits; 0.1.4 computed in the parents' format. The distance from the value that the `wᵢ` stand for
//! is at most `(n + 2)·2⁻²⁴·Σ|wᵢ·xᵢ|/|Σwᵢ|` before the last rounding.
//!
//! Two differences leave a parent untouched that is merged with nothing: a parent of weight 0 is not added, and the
//! sum begins with the first product instead of adding it to +0, so that -0 stays -0.
//!
//! Rejected: sums in `f64`, rounded once. They are closer by a unit or two in the last place of `f32`, which 16
//! bits of output seldom show, and no other tool's results could be compared bit for bit.
//!
//! Cost: for each element of a parent one conversion and one `fma`, in pieces that stay in the first cache, compiled
//! for the vector unit of the machine it runs on. A processor without `fma` gives the same bits slowly.

use half::f16;
use half::slice::HalfFloatSliceExt;
use pulp::{Arch, Simd, WithSimd};
use safetensors::Dtype;
use smollm3_model::hf::FileDtype;

/// Elements between two looks at whether all was well, and the length of a block of halves.
const PIECE: usize = 4096;

/// Adds `factor` times the numbers in `bytes` to `sum`; `round` is [`crate::MergeSettings::parents_as`].
///
/// `bytes` has as many numbers as `sum`. Gives the number of the first element that is NaN or infinite, with its
/// value; the sum is of no use then.
pub fn add(
    sum: &mut [f32],
    format: Dtype,
    bytes: &[u8],
    round: Option<FileDtype>,
    factor: f32,
) -> Result<(), (usize, f32)> {
    let arch = Arch::new();
    let width = (format.bitsize() / 8).max(1);
    let pieces = sum.chunks_mut(PIECE).zip(bytes.chunks(PIECE * width));
    for (number, (sum, bytes)) in pieces.enumerate() {
        let mut work = Add {
            sum,
            format,
            bytes,
            round,
            factor,
        };
        if !arch.dispatch(&mut work) {
            let (place, value) = work.culprit();
            return Err((number * PIECE + place, value));
        }
    }
    Ok(())
}

/// Divides `sum` by `divisor` and puts it into `bytes`, rounded to `dtype`.
///
/// `bytes` has room for as many numbers. Gives the number of the first element that does not fit, with its value.
pub fn finish(sum: &mut [f32], divisor: f32, dtype: FileDtype, bytes: &mut [u8]) -> Result<(), (usize, f32)> {
    let arch = Arch::new();
    let limit = overflow(dtype);
    let pieces = sum.chunks_mut(PIECE).zip(bytes.chunks_mut(PIECE * dtype.bytes()));
    for (number, (sum, bytes)) in pieces.enumerate() {
        let fits = arch.dispatch(Finish {
            sum,
            divisor,
            dtype,
            limit,
            bytes,
        });
        if !fits {
            let found = sum
                .iter()
                .position(|value| !matches!(value.abs(), size if size < limit));
            let place = found.unwrap_or_default();
            let value = sum.get(place).copied().unwrap_or(f32::NAN);
            return Err((number * PIECE + place, value));
        }
    }
    Ok(())
}

/// A piece of [`add`], compiled once for each vector unit. Says whether all values are finite.
struct Add<'a> {
    sum: &'a mut [f32],
    format: Dtype,
    bytes: &'a [u8],
    round: Option<FileDtype>,
    factor: f32,
}

impl WithSimd for &mut Add<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> bool {
        let bytes = self.bytes;
        match (self.format, self.round) {
            (Dtype::BF16, None | Some(FileDtype::Bf16)) => self.each(bytes, from_bf16),
            (Dtype::F32, None) => self.each(bytes, f32::from_le_bytes),
            (Dtype::F32, Some(FileDtype::Bf16)) => {
                self.each(bytes, |bytes| round_bf16(f32::from_le_bytes(bytes)))
            }
            // What is rare takes a way through memory.
            _ => {
                let mut values = [0; 4 * PIECE];
                for (target, value) in values.as_chunks_mut::<4>().0.iter_mut().zip(self.values()) {
                    *target = value.to_le_bytes();
                }
                self.each(&values, f32::from_le_bytes)
            }
        }
    }
}

impl Add<'_> {
    #[inline(always)]
    fn each<const N: usize>(&mut self, bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> bool {
        let mut largest = 0;
        let values = bytes.as_chunks::<N>().0.iter().map(|chunk| value(*chunk));
        // A parent of weight zero is only looked at.
        if self.factor == 0.0 {
            for (_, value) in self.sum.iter().zip(values) {
                largest = largest.max(size(value));
            }
        } else {
            for (sum, value) in self.sum.iter_mut().zip(values) {
                largest = largest.max(size(value));
                *sum = self.factor.mul_add(value, *sum);
            }
        }
        largest < size(f32::INFINITY)
    }

    /// All values, one by one.
    fn values(&self) -> impl Iterator<Item = f32> {
        let (format, round) = (self.format, self.round);
        let chunks = self.bytes.chunks_exact((format.bitsize() / 8).max(1));
        chunks.map(move |chunk| {
            let value = match (format, chunk) {
                (Dtype::BF16, &[a, b]) => from_bf16([a, b]),
                (Dtype::F16, &[a, b]) => f16::from_le_bytes([a, b]).to_f32(),
                (Dtype::F64, &[a, b, c, d, e, f, g, h]) => {
                    f64::from_le_bytes([a, b, c, d, e, f, g, h]) as f32
                }
                (_, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
                // Parents with any other format are refused before.
                _ => f32::NAN,
            };
            match round {
                Some(FileDtype::Bf16) => round_bf16(value),
                Some(FileDtype::F16) => f16::from_f32(value).to_f32(),
                Some(FileDtype::F32) | None => value,
            }
        })
    }

    /// The first value that is not finite, with its number.
    fn culprit(&self) -> (usize, f32) {
        let mut values = self.values().enumerate();
        let found = values.find(|(_, value)| !value.is_finite());
        found.unwrap_or((0, f32::NAN))
    }
}

/// A piece of [`finish`], compiled once for each vector unit. Says whether all results fit.
struct Finish<'a> {
    sum: &'a mut [f32],
    divisor: f32,
    dtype: FileDtype,
    limit: f32,
    bytes: &'a mut [u8],
}

impl WithSimd for Finish<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> bool {
        if self.divisor != 1.0 {
            for value in self.sum.iter_mut() {
                *value /= self.divisor;
            }
        }
        encode(self.dtype, self.sum, self.bytes);
        all_below(self.limit, self.sum)
    }
}

/// The smallest positive `f32` that becomes infinite in a format: half a unit past the largest finite number.
fn overflow(dtype: FileDtype) -> f32 {
    match dtype {
        FileDtype::F32 => f32::INFINITY,
        FileDtype::Bf16 => f32::from_bits(0x7f7f_8000),
        FileDtype::F16 => 65520.0,
    }
}

/// A number without its sign, as an integer that orders as the numbers do, infinity and NaN at the end.
#[inline(always)]
fn size(value: f32) -> u32 {
    value.to_bits() & 0x7fff_ffff
}

/// Whether all sizes are below `limit`, which NaN is not.
#[inline(always)]
fn all_below(limit: f32, values: &[f32]) -> bool {
    values.iter().fold(0, |largest, value| size(*value).max(largest)) < size(limit)
}

#[inline(always)]
fn from_bf16(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

/// The upper half of a finite number rounded to nearest even; a carry out of the mantissa is right for the exponent.
#[inline(always)]
fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

/// Rounded to what `bf16` can hold; what is not finite stays so, to be found.
#[inline(always)]
fn round_bf16(value: f32) -> f32 {
    let rounded = f32::from_bits(u32::from(to_bf16(value)) << 16);
    if value.is_finite() { rounded } else { value }
}

#[inline(always)]
fn encode(dtype: FileDtype, values: &[f32], target: &mut [u8]) {
    match dtype {
        FileDtype::F32 => {
            for (target, value) in target.as_chunks_mut::<4>().0.iter_mut().zip(values) {
                *target = value.to_le_bytes();
            }
        }
        FileDtype::Bf16 => {
            for (target, value) in target.as_chunks_mut::<2>().0.iter_mut().zip(values) {
                *target = to_bf16(*value).to_le_bytes();
            }
        }
        FileDtype::F16 => {
            let mut halves = [f16::ZERO; PIECE];
            if let Some(halves) = halves.get_mut(..values.len()) {
                halves.convert_from_f32_slice(values);
                for (target, half) in target.as_chunks_mut::<2>().0.iter_mut().zip(halves) {
                    *target = half.to_le_bytes();
                }
            }
        }
    }
}

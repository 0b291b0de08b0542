//! Number formats in memory; all arithmetic is in `f32`.

use half::bf16;

/// A number that is stored in `f32` or less.
pub(crate) trait Element: burn::tensor::Element + bytemuck::Pod {
    /// Its value.
    fn get(self) -> f32;
    /// The number nearest to a value.
    fn of(value: f32) -> Self;
}

impl Element for f32 {
    #[inline(always)]
    fn get(self) -> f32 {
        self
    }

    #[inline(always)]
    fn of(value: f32) -> Self {
        value
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn get(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    /// Rounds to nearest, ties to even, in integer arithmetic that vectorises; `half`'s does not.
    #[inline(always)]
    fn of(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        // NaN must not be rounded to infinity.
        let kept = if value.is_nan() {
            (bits >> 16) | 0x40
        } else {
            rounded
        };
        bf16::from_bits(kept as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_as_half_does() {
        for high in 0..=u16::MAX {
            for low in [0u32, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let value = f32::from_bits((u32::from(high) << 16) | low);
                let (ours, theirs) = (<bf16 as Element>::of(value), bf16::from_f32(value));
                assert_eq!(ours.to_bits(), theirs.to_bits(), "{value:e}");
                assert_eq!(ours.get().to_bits(), theirs.to_f32().to_bits());
            }
        }
    }
}

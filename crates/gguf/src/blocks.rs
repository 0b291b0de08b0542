//! The tensor types of GGUF.

use half::f16;

/// Size of a block with one scale in Q8_0.
pub(crate) const BLOCK: usize = 32;

/// How matrices are stored. Vectors are always `f32`, as llama.cpp expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 16 bits a number.
    F16,
    /// 8.5 bits a number: blocks of 32 signed bytes with an `f16` scale. Rows whose length is not a multiple of 32 stay `f16`.
    Q8_0,
}

/// The type of a tensor, with GGML's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TensorType {
    F32 = 0,
    F16 = 1,
    Q8_0 = 8,
}

impl TensorType {
    /// The type of a tensor of `shape`, row-major.
    pub(crate) fn of(shape: &[usize], precision: Precision) -> Self {
        match (shape, precision) {
            ([_], _) => Self::F32,
            ([.., columns], Precision::Q8_0) if columns.is_multiple_of(BLOCK) => Self::Q8_0,
            _ => Self::F16,
        }
    }

    /// Size of `numbers` in bytes.
    pub(crate) fn bytes(self, numbers: u64) -> u64 {
        match self {
            Self::F32 => 4 * numbers,
            Self::F16 => 2 * numbers,
            Self::Q8_0 => numbers / BLOCK as u64 * (BLOCK as u64 + 2),
        }
    }

    /// Little-endian bytes; `None` if a number or the scale of a block has no finite `f16`.
    pub(crate) fn encode(self, values: &[f32]) -> Option<Vec<u8>> {
        let half = |value: f32| {
            let half = f16::from_f32(value);
            half.is_finite().then_some(half)
        };
        let mut bytes = Vec::with_capacity(self.bytes(values.len() as u64) as usize);
        match self {
            Self::F32 => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Self::F16 => {
                for value in values {
                    bytes.extend(half(*value)?.to_le_bytes());
                }
            }
            Self::Q8_0 => {
                for block in values.chunks(BLOCK) {
                    let largest = block.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
                    // `max` ignores NaN.
                    if block.iter().any(|value| value.is_nan()) {
                        return None;
                    }
                    let scale = largest / 127.0;
                    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
                    bytes.extend(half(scale)?.to_le_bytes());
                    // Halves are rounded away from zero, as llama.cpp's `quantize_row_q8_0_ref` does.
                    bytes.extend(block.iter().map(|value| (value * inverse).round() as i8 as u8));
                }
            }
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn types_follow_the_shape() {
        let types = |precision| {
            [vec![64], vec![64, 96], vec![96, 40]].map(|shape: Vec<usize>| TensorType::of(&shape, precision))
        };
        assert_eq!(
            types(Precision::F16),
            [TensorType::F32, TensorType::F16, TensorType::F16]
        );
        assert_eq!(
            types(Precision::Q8_0),
            [TensorType::F32, TensorType::Q8_0, TensorType::F16]
        );
    }

    #[test]
    fn what_16_bits_cannot_hold_is_refused() {
        for values in [[1e6_f32, 0.0], [f32::NAN, 0.0], [f32::INFINITY, 0.0]] {
            assert!(TensorType::F32.encode(&values).is_some());
            assert!(TensorType::F16.encode(&values).is_none(), "{values:?}");
        }
        for value in [f32::NAN, f32::INFINITY, 1e7] {
            let mut block = [0.5; BLOCK];
            block[3] = value;
            assert!(TensorType::Q8_0.encode(&block).is_none(), "{value}");
        }
    }

    proptest! {
        #[test]
        fn blocks_are_within_half_a_step(values in proptest::collection::vec(-8.0_f32..8.0, BLOCK..=BLOCK)) {
            let bytes = TensorType::Q8_0.encode(&values).unwrap();
            prop_assert_eq!(bytes.len() as u64, TensorType::Q8_0.bytes(BLOCK as u64));
            let scale = f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
            for (value, byte) in values.iter().zip(&bytes[2..]) {
                let stored = scale * f32::from(*byte as i8);
                // Half a step of the scale, and the rounding of the scale to 11 bits.
                prop_assert!((stored - value).abs() <= 0.5 * scale * 1.001 + value.abs() / 2048.0);
            }
            let half = TensorType::F16.encode(&values).unwrap();
            let first = f16::from_le_bytes([half[0], half[1]]);
            prop_assert_eq!(first, f16::from_f32(values[0]));
        }
    }
}

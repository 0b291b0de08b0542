//! The elements of a merge: equal to the plain statement to the bit, near the exact value, and untouched where nothing
//! is merged.

use half::{bf16, f16};
use proptest::prelude::*;
use safetensors::Dtype;
use smollm3_merge::arithmetic::{add, finish};
use smollm3_model::hf::FileDtype;

/// Numbers of a parent in its format.
#[derive(Debug, Clone)]
struct Numbers {
    format: Dtype,
    bytes: Vec<u8>,
    /// What they are.
    values: Vec<f32>,
}

fn numbers(format: Dtype, values: &[f32]) -> Numbers {
    let mut bytes = Vec::new();
    let mut kept = Vec::new();
    for value in values {
        let value = match format {
            Dtype::BF16 => {
                bytes.extend(bf16::from_f32(*value).to_le_bytes());
                bf16::from_f32(*value).to_f32()
            }
            Dtype::F16 => {
                bytes.extend(f16::from_f32(*value).to_le_bytes());
                f16::from_f32(*value).to_f32()
            }
            Dtype::F64 => {
                bytes.extend(f64::from(*value).to_le_bytes());
                *value
            }
            _ => {
                bytes.extend(value.to_le_bytes());
                *value
            }
        };
        kept.push(value);
    }
    Numbers {
        format,
        bytes,
        values: kept,
    }
}

fn weighted(parents: &[(Numbers, f32)], divisor: f32, dtype: FileDtype) -> Vec<u8> {
    let mut sum = vec![-0.0; parents[0].0.values.len()];
    for (parent, factor) in parents {
        add(&mut sum, parent.format, &parent.bytes, None, *factor).unwrap();
    }
    let mut bytes = vec![0; sum.len() * dtype.bytes()];
    finish(&mut sum, divisor, dtype, &mut bytes).unwrap();
    bytes
}

fn dtypes() -> impl Strategy<Value = FileDtype> {
    prop_oneof![Just(FileDtype::F32), Just(FileDtype::Bf16), Just(FileDtype::F16)]
}

fn parents() -> impl Strategy<Value = Vec<(Numbers, f32)>> {
    let format = prop_oneof![
        Just(Dtype::F32),
        Just(Dtype::BF16),
        Just(Dtype::F16),
        Just(Dtype::F64)
    ];
    (1..5000_usize).prop_flat_map(move |count| {
        // Few drawn numbers, repeated with changes: drawing thousands is slow.
        let values = prop::collection::vec(-100.0..100.0_f32, 1..50).prop_map(move |drawn| {
            let value = |(place, value): (usize, &f32)| value / (1 + place / 50) as f32;
            drawn
                .iter()
                .cycle()
                .take(count)
                .enumerate()
                .map(value)
                .collect::<Vec<f32>>()
        });
        let parent = (format.clone(), values).prop_map(|(format, values)| numbers(format, &values));
        prop::collection::vec((parent, 0.01..2.0_f32), 1..5)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn is_the_plain_statement(parents in parents(), dtype in dtypes()) {
        let divisor: f32 = parents.iter().map(|(_, factor)| f64::from(*factor)).sum::<f64>() as f32;
        let bytes = weighted(&parents, divisor, dtype);
        for place in 0..parents[0].0.values.len() {
            let (first, others) = parents.split_first().unwrap();
            let first = first.1 * first.0.values[place];
            let add = |sum, (parent, factor): &(Numbers, f32)| factor.mul_add(parent.values[place], sum);
            let value = others.iter().fold(first, add) / divisor;
            let expected = match dtype {
                FileDtype::F32 => value.to_le_bytes().to_vec(),
                FileDtype::Bf16 => bf16::from_f32(value).to_le_bytes().to_vec(),
                FileDtype::F16 => f16::from_f32(value).to_le_bytes().to_vec(),
            };
            let width = dtype.bytes();
            prop_assert_eq!(&bytes[place * width..(place + 1) * width], &expected[..]);
        }
    }

    #[test]
    fn is_near_the_exact_value(parents in parents()) {
        let exact: f64 = parents.iter().map(|(_, factor)| f64::from(*factor)).sum();
        let bytes = weighted(&parents, exact as f32, FileDtype::F32);
        let steps = parents.len() as f64 + 2.0;
        for place in 0..parents[0].0.values.len() {
            let products = parents.iter().map(|(parent, factor)| f64::from(*factor) * f64::from(parent.values[place]));
            let (sum, size) = products.fold((0.0, 0.0), |(sum, size), product| (sum + product, size + product.abs()));
            let value = f32::from_le_bytes(bytes[place * 4..place * 4 + 4].try_into().unwrap());
            let bound = steps * 2.0_f64.powi(-24) * size / exact * 1.001 + f64::from(f32::MIN_POSITIVE);
            prop_assert!((f64::from(value) - sum / exact).abs() <= bound);
        }
    }

    #[test]
    fn rounds_as_half_does(bits in prop::collection::vec(any::<u32>(), 1..200)) {
        let values: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        for dtype in [FileDtype::Bf16, FileDtype::F16] {
            for value in &values {
                let (rounded, wide) = match dtype {
                    FileDtype::Bf16 => (bf16::from_f32(*value).to_le_bytes(), bf16::from_f32(*value).to_f32()),
                    _ => (f16::from_f32(*value).to_le_bytes(), f16::from_f32(*value).to_f32()),
                };
                let mut bytes = [0; 2];
                let done = finish(&mut [*value], 1.0, dtype, &mut bytes);
                prop_assert_eq!(done.is_ok(), wide.is_finite());
                if wide.is_finite() {
                    prop_assert_eq!(bytes, rounded);
                    let mut sum = [-0.0];
                    add(&mut sum, Dtype::F32, &value.to_le_bytes(), Some(dtype), 1.0).unwrap();
                    prop_assert_eq!(sum[0].to_bits(), wide.to_bits());
                }
            }
        }
    }
}

/// Every finite number of 16 bits, -0 and those without a full mantissa among them.
#[test]
fn a_parent_alone_comes_back_bit_for_bit() {
    for (format, dtype) in [(Dtype::BF16, FileDtype::Bf16), (Dtype::F16, FileDtype::F16)] {
        let finite = |bits: &u16| match format {
            Dtype::BF16 => bf16::from_bits(*bits).is_finite(),
            _ => f16::from_bits(*bits).is_finite(),
        };
        let all: Vec<u8> = (0..=u16::MAX).filter(finite).flat_map(u16::to_le_bytes).collect();
        let mut other = all.clone();
        other.reverse();
        other.iter_mut().skip(1).step_by(2).for_each(|byte| *byte &= 0x3b);
        for factors in [[1.0, 0.0], [2.0, 0.0]] {
            let mut sum = vec![-0.0; all.len() / 2];
            add(&mut sum, format, &all, None, factors[0]).unwrap_or_else(|(place, value)| {
                panic!("{value} at {place}");
            });
            add(&mut sum, format, &other, None, factors[1]).unwrap();
            // Twice the largest bf16 is beyond f32.
            if format == Dtype::BF16 && factors[0] == 2.0 {
                continue;
            }
            let mut bytes = vec![0; all.len()];
            finish(&mut sum, factors[0], dtype, &mut bytes).unwrap();
            assert_eq!(bytes, all);
        }
    }
}

#[test]
fn names_the_first_element_that_is_not_finite() {
    for (place, bad) in [
        (0, f32::NAN),
        (2047, f32::INFINITY),
        (2048, f32::NEG_INFINITY),
        (4999, -f32::NAN),
    ] {
        for (format, round) in [
            (Dtype::F32, None),
            (Dtype::F32, Some(FileDtype::Bf16)),
            (Dtype::F32, Some(FileDtype::F16)),
            (Dtype::BF16, None),
            (Dtype::F16, None),
            (Dtype::F64, None),
        ] {
            let mut values = vec![0.5; 5000];
            values[place] = bad;
            values[4999] = f32::NAN;
            let parent = numbers(format, &values);
            // A weight of zero does not hide it.
            for factor in [0.0, 1.0] {
                let mut sum = vec![0.0; 5000];
                let (found, value) = add(&mut sum, format, &parent.bytes, round, factor).unwrap_err();
                assert_eq!(found, place);
                assert!(!value.is_finite());
            }
        }
    }
}

#[test]
fn names_the_first_element_that_does_not_fit() {
    for (dtype, fits, beyond) in [
        (FileDtype::F16, 65519.996, 65520.0),
        (
            FileDtype::Bf16,
            f32::from_bits(0x7f7f_7fff),
            f32::from_bits(0x7f7f_8000),
        ),
        (FileDtype::F32, f32::MAX, f32::INFINITY),
    ] {
        let mut sum = vec![fits; 3000];
        finish(&mut sum, 1.0, dtype, &mut [0; 12000]).unwrap();
        for bad in [beyond, -beyond, f32::NAN] {
            sum[2500] = bad;
            let (place, value) = finish(&mut sum, 1.0, dtype, &mut [0; 12000]).unwrap_err();
            assert_eq!((place, value.to_bits()), (2500, bad.to_bits()));
        }
    }
}

//! Fused operations propagate non-finite numbers as IEEE 754 does: a broken model has no finite loss.

mod support;

use burn::tensor::{DType, Device, Tensor, TensorData};
use proptest::prelude::*;
use smollm3_kernels::{
    Documents, Targets, document_attention, linear_cross_entropy, rms_norm, rotary, swiglu,
};
use support::named_devices;

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter().collect()
}

/// −ln p(target) in f64, and how far it is off in f32: by the rounding of the largest logit.
fn loss(logits: &[f32], target: usize) -> (f64, f64) {
    let logits: Vec<f64> = logits.iter().map(|logit| f64::from(*logit)).collect();
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    let rounding = f64::from(f32::EPSILON) * largest.abs().max(logits[target].abs());
    (sum.ln() + (largest - logits[target]), rounding)
}

fn same_kind(found: f64, expected: f64, rounding: f64) -> bool {
    match expected.is_finite() {
        true => (found - expected).abs() <= rounding + 1e-5 * expected.abs().max(1.0),
        false => found.is_nan() == expected.is_nan() && (found.is_nan() || found == expected),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn the_loss_of_any_logits(
        logits in prop::collection::vec(
            prop_oneof![
                12 => -20f32..20.0,
                1 => prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30]),
            ],
            1..70,
        ),
        target: prop::sample::Index,
    ) {
        for (name, device) in named_devices() {
            // The product of a head of width 1 and a hidden state of 1 is the head itself.
            let vocab = logits.len();
            let target = target.index(vocab);
            let head = tensor(logits.clone(), [vocab, 1], &device).require_grad();
            let targets = Targets::new(&[Some(target as u32)], &device);
            let found = linear_cross_entropy(tensor(vec![1.0], [1, 1], &device), head.clone(), &targets);
            let gradient = values(head.grad(&found.sum.clone().backward()).unwrap());
            let found = f64::from(values(found.losses)[0]);
            let (expected, rounding) = loss(&logits, target);
            prop_assert!(same_kind(found, expected, rounding), "{name}: {found} instead of {expected}");
            prop_assert_eq!(expected.is_nan(), gradient.iter().any(|value| value.is_nan()), "{}: {:?}", name, gradient);
        }
    }
}

#[test]
fn one_bad_row_of_a_head_makes_every_loss_bad() {
    for (name, device) in named_devices() {
        let (tokens, vocab, width) = (40, 50, 8);
        let number = |i: usize| (i * 37 % 23) as f32 / 11.0 - 1.0;
        let mut head: Vec<f32> = (0..vocab * width).map(number).collect();
        head[17 * width + 3] = f32::NAN;
        let hidden = tensor(
            (0..tokens * width).map(number).collect(),
            [tokens, width],
            &device,
        );
        let ids: Vec<_> = (0..tokens as u32)
            .map(|id| (id % 3 > 0).then_some(id % 16))
            .collect();
        let targets = Targets::new(&ids, &device);
        let found = linear_cross_entropy(hidden, tensor(head, [vocab, width], &device), &targets);
        for (loss, id) in values(found.losses).into_iter().zip(&ids) {
            assert_eq!(loss.is_nan(), id.is_some(), "{name}: {loss} for {id:?}");
        }
        assert!(values(found.sum)[0].is_nan(), "{name}");
    }
}

#[test]
fn a_bad_key_makes_the_queries_that_see_it_bad_and_no_others() {
    let (seq, dim, at) = (150, 4, 100);
    // Two documents; the bad key is in the second.
    let documents = Documents::new(vec![vec![0, 70]], seq).unwrap();
    for bad in [f32::NAN, f32::INFINITY] {
        for (name, device) in named_devices() {
            let number = |i: usize| (i * 29 % 31) as f32 / 31.0 + 0.1;
            let all: Vec<f32> = (0..seq * dim).map(number).collect();
            let mut keys = all.clone();
            keys[at * dim] = bad;
            let shaped = |values: Vec<f32>| tensor(values, [1, 1, seq, dim], &device);
            let out = document_attention(shaped(all.clone()), shaped(keys), shaped(all), &documents);
            for (row, out) in values(out).chunks(dim).enumerate() {
                let nan = out.iter().all(|value| value.is_nan());
                let finite = out.iter().all(|value| value.is_finite());
                assert!(if row < at { finite } else { nan }, "{name}: {out:?} at {row}");
            }
        }
    }
}

#[test]
fn norm_gate_and_rotation_keep_what_is_bad() {
    for (name, device) in named_devices() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = vec![0.5; 64];
            x[37] = bad;
            let two = |values: Vec<f32>| tensor(values, [1, 2, 32], &device);
            let normed = values(rms_norm(
                two(x.clone()),
                tensor(vec![1.0; 32], [32], &device),
                1e-5,
                DType::F32,
            ));
            assert!(
                normed[..32].iter().all(|value| value.is_finite()) && normed[37].is_nan(),
                "{name}: {bad}"
            );
            let ones = two(vec![1.0; 64]);
            let gated = values(swiglu(two(x.clone()), ones.clone()))[37];
            // −∞ · 0 is NaN.
            let expected = if bad > 0.0 { bad } else { f32::NAN };
            assert!(
                same_kind(f64::from(gated), f64::from(expected), 0.0),
                "{name}: {gated} of {bad}"
            );
            assert!(
                !values(swiglu(ones, two(x.clone())))[37].is_finite(),
                "{name}: {bad}"
            );
            let angle = |value: f32| tensor(vec![value; 16], [1, 1, 1, 16], &device);
            let rotated = rotary(tensor(x, [1, 2, 1, 32], &device), angle(0.6), angle(0.8));
            assert!(!values(rotated)[37].is_finite(), "{name}: {bad}");
        }
    }
}

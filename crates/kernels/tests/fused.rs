//! Fused operations against their plain bodies, forward and gradient, on random shapes.

mod support;

use burn::tensor::{DType, Tensor};
use proptest::prelude::*;
use smollm3_kernels::{
    AdamWStep, Documents, Targets, adamw, adamw_all, computes_bf16, document_attention, libtorch_gpu, linear,
    linear_cross_entropy, plain_adamw, plain_document_attention, plain_linear, plain_linear_cross_entropy,
    plain_rms_norm, plain_rotary, plain_swiglu, rms_norm, rotary, swiglu, total,
};
use support::{
    Attention, assert_close, assert_close_but, devices, documents_of, named_devices, random, rows,
};

fn check_attention(kv_heads: usize, group: usize, dim: usize, rows: &[Vec<usize>], permuted: bool) {
    let documents = documents_of(rows);
    let (batch, seq) = (documents.batch(), documents.seq());
    for device in devices() {
        let heads = kv_heads * group;
        // As the model makes them: `[batch, seq, heads, dim]` in memory, seen as `[batch, heads, seq, dim]`.
        let input = |heads: usize| match permuted {
            true => random([batch, seq, heads, dim], &device),
            false => random([batch, heads, seq, dim], &device),
        };
        let seen = |tensor: &Tensor<4>| {
            if permuted {
                tensor.clone().swap_dims(1, 2)
            } else {
                tensor.clone()
            }
        };
        let (q, k, v) = (input(heads), input(kv_heads), input(kv_heads));
        let upstream = random([batch, heads, seq, dim], &device).detach();
        let run = |attention: Attention<'_>| {
            let out = attention(seen(&q), seen(&k), seen(&v), &documents);
            let gradients = (out.clone() * upstream.clone()).sum().backward();
            let of = |tensor: &Tensor<4>| tensor.grad(&gradients).unwrap();
            (out, of(&q), of(&k), of(&v))
        };
        let (fast, slow) = (run(&document_attention), run(&plain_document_attention));
        assert_close("output", fast.0.inner(), slow.0.inner(), 2e-6);
        // Differences of products of order 1, also where they should be 0: in a document of one token.
        assert_close_but(1e-5, "gradient of q", fast.1, slow.1, 1e-5);
        assert_close_but(1e-5, "gradient of k", fast.2, slow.2, 1e-5);
        assert_close("gradient of v", fast.3, slow.3, 1e-5);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn attention(rows in rows(1..90), kv_heads in 1usize..3, group in 1usize..4, half in 1usize..10, permuted: bool) {
        check_attention(kv_heads, group, 2 * half, &rows, permuted);
    }

    #[test]
    fn cross_entropy(
        tokens in 1usize..300,
        width in 1usize..20,
        vocab in 1usize..70,
        kept in 0.0f64..=1.0,
        scale in 0.1f64..30.0,
        weighted: bool,
    ) {
        for device in devices() {
            let hidden = random([tokens, width], &device);
            let weight = random([vocab, width], &device);
            let ids: Vec<Option<u32>> = (0..tokens)
                .map(|i| ((i * 7919 % 1000) as f64 / 1000.0 < kept).then_some((i * 31 % vocab) as u32))
                .collect();
            let weights: Vec<f32> = (0..tokens).map(|i| (i * 13 % 7) as f32 - 2.5).collect();
            let targets = match weighted {
                true => Targets::weighted(&ids, &weights, &device),
                false => Targets::new(&ids, &device),
            };
            let run = |fast: bool| {
                let scaled = weight.clone().mul_scalar(scale);
                let loss = match fast {
                    true => linear_cross_entropy(hidden.clone(), scaled, &targets),
                    false => plain_linear_cross_entropy(hidden.clone(), scaled, &targets),
                };
                prop_assert_eq!(targets.count(), ids.iter().flatten().count());
                let gradients = loss.sum.clone().mul_scalar(0.37).backward();
                let gradients = (hidden.grad(&gradients).unwrap(), weight.grad(&gradients).unwrap());
                Ok((loss.sum, gradients.0, gradients.1, loss.losses))
            };
            let (fast, slow) = (run(true)?, run(false)?);
            // The error of a loss is that of its logits, and so is the relative error of probabilities; weights are up to
            // 3.5.
            let largest = |tensor: Tensor<2>| f64::from(tensor.abs().max().into_scalar::<f32>());
            let (hidden, weight) = (hidden.clone().inner(), weight.clone().inner().mul_scalar(scale));
            let logits = hidden.clone().matmul(weight.clone().transpose());
            let rounding = 3.5 * 2.0 * f64::from(f32::EPSILON) * largest(logits);
            let all = rounding * tokens as f64;
            assert_close_but(rounding, "losses", fast.3, slow.3, 2e-6);
            assert_close_but(all, "loss", fast.0.inner(), slow.0.inner(), 2e-6);
            assert_close_but(rounding * largest(weight), "gradient of hidden", fast.1, slow.1, 1e-5);
            assert_close_but(all * largest(hidden) * scale, "gradient of weight", fast.2, slow.2, 1e-5);
        }
    }
}

/// Only wanted gradients are computed, with the same bits; a frozen weight wants none.
#[test]
fn frozen_inputs_have_no_gradient_and_change_no_other() {
    for device in devices() {
        let (x, weight) = (random([70, 24], &device), random([50, 24], &device));
        let ids: Vec<_> = (0..70u32).map(|i| (i % 5 > 0).then_some(i % 50)).collect();
        let targets = Targets::new(&ids, &device);
        type Product<'a> = &'a dyn Fn(Tensor<2>, Tensor<2>) -> Tensor<1>;
        let products: [Product<'_>; 2] = [&|x, weight| (linear(x, weight).square()).sum(), &|x, weight| {
            linear_cross_entropy(x, weight, &targets).sum
        }];
        for product in products {
            let run = |wanted: [bool; 2]| {
                let [x, weight] = [(&x, wanted[0]), (&weight, wanted[1])]
                    .map(|(tensor, wanted)| tensor.clone().detach().set_require_grad(wanted));
                let gradients = product(x.clone(), weight.clone()).backward();
                [x, weight].map(|tensor| {
                    let gradient = tensor.grad(&gradients)?;
                    Some(
                        gradient
                            .into_data()
                            .iter::<f32>()
                            .map(f32::to_bits)
                            .collect::<Vec<_>>(),
                    )
                })
            };
            let [of_x, of_weight] = run([true, true]);
            assert!(of_x.is_some() && of_weight.is_some());
            assert_eq!(run([true, false]), [of_x, None]);
            assert_eq!(run([false, true]), [None, of_weight]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]
    #[test]
    fn norm(batch in 1usize..3, seq in 1usize..150, width in 8usize..80, scale in 0.01f64..30.0, transposed: bool) {
        for device in devices() {
            let x = random([seq, batch, width], &device);
            let weight = random([width], &device);
            let upstream = random([batch, seq, width], &device).detach();
            // Transposed, so that it is not contiguous.
            let seen = || match transposed {
                true => x.clone().swap_dims(0, 1),
                false => x.clone().reshape([batch, seq, width]),
            };
            let run = |f: fn(Tensor<3>, Tensor<1>, f64, DType) -> Tensor<3>| {
                let out = f(seen().mul_scalar(scale), weight.clone(), 1e-5, DType::F32);
                let gradients = (out.clone() * upstream.clone()).sum().backward();
                (out, x.grad(&gradients).unwrap(), weight.grad(&gradients).unwrap())
            };
            let (fast, slow) = (run(rms_norm), run(plain_rms_norm));
            assert_close("output", fast.0.inner(), slow.0.inner(), 2e-6);
            // The norm removes the component along x, which leaves little of a narrow row: hence widths from 8 on.
            assert_close("gradient of x", fast.1, slow.1, 1e-4);
            assert_close("gradient of weight", fast.2, slow.2, 1e-5);
        }
    }

    #[test]
    fn gate(batch in 1usize..3, seq in 1usize..40, width in 1usize..600, scale in 0.1f64..100.0) {
        for device in devices() {
            let (gate, up) = (random([batch, seq, width], &device), random([batch, seq, width], &device));
            let upstream = random([batch, seq, width], &device).detach();
            let run = |f: fn(Tensor<3>, Tensor<3>) -> Tensor<3>| {
                let out = f(gate.clone().mul_scalar(scale), up.clone());
                let gradients = (out.clone() * upstream.clone()).sum().backward();
                (out, gate.grad(&gradients).unwrap(), up.grad(&gradients).unwrap())
            };
            let (fast, slow) = (run(swiglu), run(plain_swiglu));
            assert_close("output", fast.0.inner(), slow.0.inner(), 2e-6);
            assert_close("gradient of gate", fast.1, slow.1, 1e-5);
            assert_close("gradient of up", fast.2, slow.2, 1e-5);
        }
    }

    #[test]
    fn rotation(
        batch in 1usize..4, heads in 1usize..4, seq in 1usize..40, half in 1usize..20, shared: bool, permuted: bool,
    ) {
        for device in devices() {
            let x = match permuted {
                true => random([batch, seq, heads, 2 * half], &device),
                false => random([batch, heads, seq, 2 * half], &device),
            };
            let seen = || if permuted { x.clone().swap_dims(1, 2) } else { x.clone() };
            let table = || random([if shared { 1 } else { batch }, 1, seq, half], &device).detach();
            let (cos, sin) = (table(), table());
            let upstream = random([batch, heads, seq, 2 * half], &device).detach();
            let run = |f: fn(Tensor<4>, Tensor<4>, Tensor<4>) -> Tensor<4>| {
                let out = f(seen(), cos.clone(), sin.clone());
                let gradients = (out.clone() * upstream.clone()).sum().backward();
                (out, x.grad(&gradients).unwrap())
            };
            let (fast, slow) = (run(rotary), run(plain_rotary));
            assert_close("output", fast.0.inner(), slow.0.inner(), 2e-6);
            assert_close("gradient", fast.1, slow.1, 1e-5);
        }
    }
}

/// Later operations must not overwrite what an operation keeps for its backward pass.
#[test]
fn later_operations_do_not_overwrite_what_is_kept() {
    for device in devices() {
        let (x, weight) = (random([1, 8, 12], &device), random([12], &device));
        let run = |f: fn(Tensor<3>, Tensor<1>, f64, DType) -> Tensor<3>| {
            // A running sum like the residual stream: each addition may happen in place.
            let mut sum = x.clone().mul_scalar(1.0);
            for _ in 0..3 {
                let y = f(sum.clone(), weight.clone(), 1e-5, DType::F32);
                let y = swiglu(y.clone(), y);
                sum = sum + y;
            }
            let gradients = sum.clone().sum().backward();
            (
                sum.inner(),
                x.grad(&gradients).unwrap(),
                weight.grad(&gradients).unwrap(),
            )
        };
        let (fast, slow) = (run(rms_norm), run(plain_rms_norm));
        assert_close("output", fast.0, slow.0, 1e-5);
        assert_close("gradient of x", fast.1, slow.1, 1e-4);
        assert_close("gradient of weight", fast.2, slow.2, 1e-4);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]
    #[test]
    fn product_with_a_weight(tokens in 1usize..70, input in 1usize..40, out in 1usize..40) {
        for device in devices() {
            let (x, weight) = (random([tokens, input], &device), random([out, input], &device));
            let upstream = random([tokens, out], &device).detach();
            let run = |f: fn(Tensor<2>, Tensor<2>) -> Tensor<2>| {
                let y = f(x.clone(), weight.clone());
                let gradients = (y.clone() * upstream.clone()).sum().backward();
                (y, x.grad(&gradients).unwrap(), weight.grad(&gradients).unwrap())
            };
            let (fast, slow) = (run(linear), run(plain_linear));
            assert_close("output", fast.0.inner(), slow.0.inner(), 2e-6);
            assert_close("gradient of x", fast.1, slow.1, 1e-5);
            assert_close("gradient of weight", fast.2, slow.2, 1e-5);
        }
    }

    #[test]
    fn update(count in 1usize..40_000, scale in 0.01f32..1.0, updates in 1i32..50) {
        for device in devices() {
            let state = || {
                let first = random([count], &device).detach().inner();
                let second = first.clone().square() * 0.3;
                [random([count], &device).detach().inner(), first, second]
            };
            let (state, gradient) = (state(), random([count], &device).detach().inner());
            let step = AdamWStep {
                betas: [0.9, 0.95],
                scale,
                decay_factor: 0.999,
                step_size: 1e-2 / (1.0 - 0.9f32.powi(updates)),
                second_correction: (1.0 - 0.95f32.powi(updates)).sqrt(),
                epsilon: 1e-8,
            };
            let before = state[0].clone().into_data();
            let fast = adamw(state.clone(), gradient.clone(), step);
            // Other owners of the old values still see them unchanged.
            prop_assert_eq!(state[0].clone().into_data(), before);
            let slow = plain_adamw(state.clone(), gradient.clone(), step);
            let names = ["value", "first", "second"];
            for (what, (fast, slow)) in names.into_iter().zip(fast.iter().cloned().zip(slow)) {
                assert_close(what, fast, slow, 2e-6);
            }
            // Many at once have the bits of each alone.
            let many = vec![(state.clone(), gradient.clone()), (state, gradient.narrow(0, 0, count))];
            for of_many in adamw_all(many, step) {
                for (one, alone) in of_many.into_iter().zip(fast.iter().cloned()) {
                    prop_assert_eq!(one.into_data(), alone.into_data());
                }
            }
        }
    }
}

/// Compares the fused operations in bf16 with the plain ones in f32 on the same rounded inputs: they compute in f32 and
/// round once, so their error is half a unit in the last place, 2^-9 of a value, plus that of a few roundings along a
/// gradient.
#[test]
fn half_precision_is_within_rounding_of_single() {
    for (_, device) in named_devices()
        .into_iter()
        .filter(|(name, _)| computes_bf16(name))
    {
        let rounded = |tensor: Tensor<4>| tensor.cast(DType::BF16).cast(DType::F32).detach().require_grad();
        let documents = Documents::new(vec![vec![0, 5, 6, 40], vec![0, 33]], 64).unwrap();
        let input = |heads: usize| rounded(random([2, 64, heads, 16], &device));
        let (q, k, v) = (input(4), input(2), input(2));
        let upstream = rounded(random([2, 4, 64, 16], &device)).detach();
        let run = |attention: Attention<'_>, dtype: DType| {
            let seen = |tensor: &Tensor<4>| tensor.clone().cast(dtype).swap_dims(1, 2);
            let out = attention(seen(&q), seen(&k), seen(&v), &documents).cast(DType::F32);
            let gradients = (out.clone() * upstream.clone()).sum().backward();
            let of = |tensor: &Tensor<4>| tensor.grad(&gradients).unwrap();
            (out.inner(), of(&q), of(&k), of(&v))
        };
        let (half, single) = (
            run(&document_attention, DType::BF16),
            run(&plain_document_attention, DType::F32),
        );
        assert_close("attention", half.0, single.0, 1e-2);
        assert_close("gradient of q", half.1, single.1, 2e-2);
        assert_close("gradient of k", half.2, single.2, 2e-2);
        assert_close("gradient of v", half.3, single.3, 2e-2);

        let gate = rounded(random([1, 2, 30, 50], &device)).reshape([2, 30, 50]);
        let out = |dtype| {
            swiglu(gate.clone().cast(dtype), gate.clone().cast(dtype))
                .cast(DType::F32)
                .inner()
        };
        assert_close("gate", out(DType::BF16), out(DType::F32), 4e-3);
        let weight = random([50], &device);
        let out = |dtype| {
            rms_norm(gate.clone(), weight.clone(), 1e-6, dtype)
                .cast(DType::F32)
                .inner()
        };
        assert_close("norm", out(DType::BF16), out(DType::F32), 8e-3);

        let hidden = rounded(random([1, 1, 600, 24], &device))
            .reshape([600, 24])
            .detach()
            .require_grad();
        let weight = rounded(random([1, 1, 90, 24], &device))
            .reshape([90, 24])
            .detach()
            .require_grad();
        let ids: Vec<Option<u32>> = (0..600).map(|i| (i % 3 > 0).then_some(i % 90)).collect();
        let targets = Targets::new(&ids, &device);
        let run = |dtype| {
            let sum = linear_cross_entropy(hidden.clone().cast(dtype), weight.clone(), &targets).sum;
            let gradients = sum.clone().backward();
            (sum.inner(), weight.grad(&gradients).unwrap())
        };
        let (half, single) = (run(DType::BF16), run(DType::F32));
        assert_close("loss", half.0, single.0, 2e-3);
        assert_close("gradient of the head", half.1, single.1, 2e-2);
    }
}

#[test]
fn long_documents_and_documents_of_one_token() {
    check_attention(2, 2, 16, &[vec![300, 1, 1, 129, 64, 65]], true);
    check_attention(1, 4, 8, &[vec![1; 30], vec![30]], true);
}

#[test]
fn without_autodiff_the_values_are_the_same() {
    for device in devices() {
        let q = random([1, 2, 70, 8], &device).detach();
        let documents = Documents::new(vec![vec![0, 33]], 70).unwrap();
        let with = document_attention(q.clone(), q.clone(), q.clone(), &documents).inner();
        let q = q.inner();
        let without = document_attention(q.clone(), q.clone(), q, &documents);
        assert_close("output", with, without, 1e-6);
    }
}

/// Documents of 1, 7, 64 and many tokens under heads of the shape that SmolLM3-3B has, in single and half precision:
/// on a GPU 4,000 tokens, on a CPU 100, where the plain body's scores would take minutes.
#[test]
fn heads_and_documents_of_the_3b_model() {
    const HEADS: [usize; 2] = [16, 4];
    const DIM: usize = 128;
    for (name, device) in named_devices() {
        let long = if libtorch_gpu(&device).is_some() {
            4000
        } else {
            100
        };
        let lengths = [1, 7, 64, long];
        let starts = lengths
            .iter()
            .scan(0, |at, length| Some(std::mem::replace(at, *at + length)))
            .collect();
        let seq: usize = lengths.iter().sum();
        let documents = Documents::new(vec![starts], seq).unwrap();
        // Rounded where there are two precisions, so that both start from the same numbers.
        let rounded = |tensor: Tensor<4>| match computes_bf16(&name) {
            true => tensor.cast(DType::BF16).cast(DType::F32).detach(),
            false => tensor.detach(),
        };
        let input = |heads: usize| rounded(random([1, seq, heads, DIM], &device));
        let (q, k, v) = (input(HEADS[0]), input(HEADS[1]), input(HEADS[1]));
        let upstream = rounded(random([1, HEADS[0], seq, DIM], &device));
        // Without gradients: `detach` keeps the wish for one, and a graph that all runs share could be walked only once.
        let angles = random([1, 1, seq, DIM / 2], &device).set_require_grad(false);
        let (cos, sin) = (angles.clone().cos(), angles.sin());
        type Rotary = fn(Tensor<4>, Tensor<4>, Tensor<4>) -> Tensor<4>;
        let run = |rotary: Rotary, attention: Attention<'_>, dtype: DType| {
            // A graph allows one backward pass, so each run has its own leaves.
            let [q, k, v] = [&q, &k, &v].map(|input| input.clone().detach().require_grad());
            let seen = |tensor: &Tensor<4>| tensor.clone().cast(dtype).swap_dims(1, 2);
            let rotated = |tensor: &Tensor<4>| rotary(seen(tensor), cos.clone(), sin.clone());
            let out = attention(rotated(&q), rotated(&k), seen(&v), &documents).cast(DType::F32);
            let gradients = (out.clone() * upstream.clone()).sum().backward();
            let of = |tensor: &Tensor<4>| tensor.grad(&gradients).unwrap();
            [out.inner(), of(&q), of(&k), of(&v)]
        };
        let truth = run(plain_rotary, &plain_document_attention, DType::F32);
        let mut precisions = vec![(DType::F32, 1e-5)];
        if computes_bf16(&name) {
            precisions.push((DType::BF16, 3e-2));
        }
        for (dtype, tolerance) in precisions {
            let found = run(rotary, &document_attention, dtype);
            let names = ["output", "gradient of q", "gradient of k", "gradient of v"];
            for (what, (found, truth)) in names.iter().zip(found.into_iter().zip(truth.clone())) {
                assert_close_but(
                    tolerance,
                    &format!("{what} in {dtype:?}"),
                    found,
                    truth,
                    tolerance,
                );
            }
        }
    }
}

/// Used for gradient norms and losses: on no backend may its bits depend on the order in which threads finish.
#[test]
fn a_sum_has_the_same_bits_each_time() {
    for (name, device) in named_devices() {
        let values = random([300_001], &device).detach();
        let bits = || -> Vec<u32> {
            let sum = total(values.clone()).into_data();
            sum.iter::<f32>().map(f32::to_bits).collect()
        };
        let first = bits();
        assert!((1..50).all(|_| bits() == first), "{name}");
        let expected: f64 = values.clone().into_data().iter::<f64>().sum();
        let found = f64::from(f32::from_bits(first[0]));
        assert!(
            (found - expected).abs() < 0.1,
            "{name}: {found} instead of {expected}"
        );
    }
}

//! Attention and cross-entropy in blocks against their plain bodies, forward and gradient, in `f32` and, where the
//! backend has it, in `f64`.

mod support;

use burn::tensor::{DType, Device, Tensor};
use proptest::prelude::*;
use smollm3_kernels::{
    Targets, blockwise_document_attention, blockwise_linear_cross_entropy, plain_document_attention,
    plain_linear_cross_entropy,
};
use support::{Attention, assert_close_but, documents_of, named_devices, random, rows};

/// Each device with each of its dtypes and the tolerance of that dtype.
fn cases() -> Vec<(Device, DType, f64)> {
    named_devices()
        .into_iter()
        .flat_map(|(name, device)| {
            let double =
                matches!(name.as_str(), "flex" | "tch").then_some((device.clone(), DType::F64, 1e-13));
            [Some((device, DType::F32, 1e-5)), double]
        })
        .flatten()
        .collect()
}

fn input<const D: usize>(dims: [usize; D], device: &Device, dtype: DType) -> Tensor<D> {
    random(dims, device).cast(dtype).detach().require_grad()
}

fn check_attention([heads, kv_heads, dim]: [usize; 3], rows: &[Vec<usize>], block: usize) {
    let documents = documents_of(rows);
    let (batch, seq) = (documents.batch(), documents.seq());
    for (device, dtype, tolerance) in cases() {
        // As the model makes them: `[batch, seq, heads, dim]` in memory.
        let input = |heads| input([batch, seq, heads, dim], &device, dtype);
        let (q, k, v) = (input(heads), input(kv_heads), input(kv_heads));
        let upstream = input(heads);
        let run = |attention: Attention<'_>| {
            let [q, k, v] = [&q, &k, &v].map(|tensor| tensor.clone().swap_dims(1, 2));
            attention(q, k, v, &documents)
        };
        let with_gradients = |attention: Attention<'_>| {
            let out = run(attention);
            let gradients = (out.clone() * upstream.clone().swap_dims(1, 2)).sum().backward();
            let [dq, dk, dv] = [&q, &k, &v].map(|tensor| tensor.grad(&gradients).unwrap());
            [out.inner(), dq, dk, dv]
        };
        let blockwise: Attention<'_> =
            &|q, k, v, documents| blockwise_document_attention(q, k, v, documents, block);
        let (found, expected) = (
            with_gradients(blockwise),
            with_gradients(&plain_document_attention),
        );
        for ((what, found), expected) in ["output", "of q", "of k", "of v"]
            .into_iter()
            .zip(found)
            .zip(expected)
        {
            assert_eq!(found.dtype(), dtype);
            // Differences of products of order 1, also where they should be 0: in a document of one token.
            let what = format!("{what}, {dtype:?}, {heads}/{kv_heads} heads, blocks of {block}, {rows:?}");
            assert_close_but(tolerance, &what, found, expected, tolerance);
        }
    }
}

#[test]
fn documents_that_end_at_or_near_the_ends_of_blocks() {
    const BLOCK: usize = 16;
    for heads in [[4, 1, 8], [16, 4, 8]] {
        let mixed = vec![1, 7, BLOCK - 1, BLOCK, BLOCK + 1];
        let mirrored = mixed.iter().rev().copied().collect();
        check_attention(heads, &[mixed, mirrored], BLOCK);
        for length in [1, 7, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK] {
            check_attention(heads, &[vec![length]], BLOCK);
        }
    }
    // Documents of one token: no key but its own.
    check_attention([4, 1, 8], &[vec![1; 40]], BLOCK);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn attention(
        rows in rows(1..60), kv_heads in 1usize..3, group in 1usize..5, half in 1usize..9, block in 1usize..70,
    ) {
        check_attention([kv_heads * group, kv_heads, 2 * half], &rows, block);
    }

    #[test]
    fn cross_entropy(
        (tokens, width, vocab, block) in (1usize..80, 1usize..20, 1usize..70, 1usize..90),
        (kept, scale, weighted) in (0.0f64..=1.0, 0.1f64..10.0, any::<bool>()),
    ) {
        let ids: Vec<Option<u32>> = (0..tokens)
            .map(|i| ((i * 7919 % 1000) as f64 / 1000.0 < kept).then_some((i * 31 % vocab) as u32))
            .collect();
        let weights: Vec<f32> = (0..tokens).map(|i| (i * 13 % 7) as f32 - 2.5).collect();
        for (device, dtype, tolerance) in cases() {
            let hidden = input([tokens, width], &device, dtype);
            let weight = input([vocab, width], &device, dtype);
            let targets = match weighted {
                true => Targets::weighted(&ids, &weights, &device),
                false => Targets::new(&ids, &device),
            };
            let run = |blockwise: bool| {
                let scaled = weight.clone().mul_scalar(scale);
                let loss = match blockwise {
                    true => blockwise_linear_cross_entropy(hidden.clone(), scaled, &targets, block),
                    false => plain_linear_cross_entropy(hidden.clone(), scaled, &targets),
                };
                assert_eq!(targets.count(), ids.iter().flatten().count());
                let gradients = loss.sum.clone().mul_scalar(0.37).backward();
                let [dh, dw] = [&hidden, &weight].map(|tensor| tensor.grad(&gradients).unwrap());
                (loss.sum.inner(), loss.losses.inner(), dh, dw)
            };
            let (found, expected) = (run(true), run(false));
            // The error of a loss is that of its logits, which are sums of products up to `scale`.
            let rounding = tolerance * scale * width as f64;
            let all = rounding * tokens as f64;
            assert_close_but(rounding, "losses", found.1, expected.1, tolerance);
            assert_close_but(all, "loss", found.0, expected.0, tolerance);
            assert_close_but(rounding * scale, "gradient of hidden", found.2, expected.2, tolerance);
            assert_close_but(all * scale, "gradient of weight", found.3, expected.3, tolerance);
        }
    }
}

/// A frozen head wants no gradient, nor does a frozen model below a trained head.
#[test]
fn frozen_inputs_have_no_gradient_and_change_no_other() {
    for (device, dtype, _) in cases() {
        let (hidden, weight) = (input([33, 8], &device, dtype), input([20, 8], &device, dtype));
        let ids: Vec<_> = (0..33u32).map(|i| (i % 5 > 0).then_some(i % 20)).collect();
        let targets = Targets::new(&ids, &device);
        let run = |wanted: [bool; 2]| {
            let [hidden, weight] = [(&hidden, wanted[0]), (&weight, wanted[1])]
                .map(|(tensor, wanted)| tensor.clone().detach().set_require_grad(wanted));
            let loss = blockwise_linear_cross_entropy(hidden.clone(), weight.clone(), &targets, 10);
            let gradients = loss.sum.backward();
            [hidden, weight].map(|tensor| tensor.grad(&gradients).map(Tensor::into_data))
        };
        let [of_hidden, of_weight] = run([true, true]);
        assert!(of_hidden.is_some() && of_weight.is_some());
        assert_eq!(run([true, false]), [of_hidden, None]);
        assert_eq!(run([false, true]), [None, of_weight]);
    }
}

//! Neither scores of a whole row nor logits of all tokens are ever held, forward or backward. In a separate process, because
//! the measure is its peak memory.

#![cfg(all(feature = "flex", target_os = "linux"))]

mod support;

use burn::tensor::{Device, Tensor};
use smollm3_kernels::{
    Documents, FreedMemory, Targets, blockwise_document_attention, blockwise_linear_cross_entropy,
    peak_memory, plain_document_attention, plain_linear_cross_entropy,
};
use support::random;

/// Tokens of the row; `f32` scores of all its pairs are 64 MiB for each head.
const SEQ: usize = 4096;
const VOCAB: usize = 8192;
const MIB: u64 = 1 << 20;

/// Rise of the peak, in bytes.
fn rise(work: impl FnOnce()) -> u64 {
    let before = peak_memory().unwrap();
    work();
    peak_memory().unwrap() - before
}

fn attention(device: &Device, run: impl Fn([Tensor<4>; 3], &Documents) -> Tensor<4>) {
    let heads = [2, 1, 1].map(|heads| random([1, heads, SEQ, 8], device));
    let out = run(heads.clone(), &Documents::whole_rows(1, SEQ));
    let gradients = out.sum().backward();
    for tensor in heads {
        tensor.grad(&gradients).unwrap().into_data();
    }
}

fn loss(device: &Device, run: impl Fn(Tensor<2>, Tensor<2>, &Targets) -> Tensor<1>) {
    let (hidden, weight) = (random([SEQ, 8], device), random([VOCAB, 8], device));
    let ids: Vec<_> = (0..SEQ).map(|i| Some((i % VOCAB) as u32)).collect();
    let gradients = run(hidden.clone(), weight, &Targets::new(&ids, device)).backward();
    hidden.grad(&gradients).unwrap().into_data();
}

#[test]
fn blocks_are_all_that_is_held() {
    FreedMemory::Returned.set();
    let device = Device::flex().autodiff();
    let blockwise = rise(|| {
        attention(&device, |[q, k, v], documents| {
            blockwise_document_attention(q, k, v, documents, 256)
        });
    });
    let blockwise_loss = rise(|| {
        loss(&device, |hidden, weight, targets| {
            blockwise_linear_cross_entropy(hidden, weight, targets, 256).sum
        });
    });
    // The plain bodies show that the measure works.
    let plain_loss = rise(|| {
        loss(&device, |hidden, weight, targets| {
            plain_linear_cross_entropy(hidden, weight, targets).sum
        });
    });
    let plain = rise(|| {
        attention(&device, |[q, k, v], documents| {
            plain_document_attention(q, k, v, documents)
        });
    });
    println!(
        "blocks: attention {} MiB, loss {} MiB",
        blockwise / MIB,
        blockwise_loss / MIB
    );
    println!(
        "plain: attention {} MiB, loss {} MiB",
        plain / MIB,
        plain_loss / MIB
    );
    assert!(
        blockwise < 32 * MIB,
        "attention in blocks: {} MiB",
        blockwise / MIB
    );
    assert!(
        blockwise_loss < 48 * MIB,
        "loss in blocks: {} MiB",
        blockwise_loss / MIB
    );
    assert!(plain_loss > 128 * MIB, "plain loss: {} MiB", plain_loss / MIB);
    assert!(plain > 128 * MIB, "plain attention: {} MiB", plain / MIB);
}

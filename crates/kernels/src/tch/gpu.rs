//! The fused operations on a GPU, in LibTorch's operations. Like those on the host, they save their inputs and no
//! intermediates.

use std::sync::Arc;

use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use burn::tensor::DType;
use tch::{Device, Kind, Tensor};

use super::deterministic::Deterministic;
use super::shim::{Updated, done, flash_attention, fused_adamw};
use super::tensor::{contiguous, own};
use super::upload::upload;
use crate::host_targets::HostTargets;
use crate::loss::LOSS_ROWS;
use crate::tracked::Saved;
use crate::{AdamWStep, Documents};

/// Tokens of all rows in one list: `[batch, heads, seq, dim]` → `[batch · seq, heads, dim]`. No copy of what the model and
/// [`rotary`] return, which is laid out in this order.
fn listed(tensor: &Tensor) -> Tensor {
    let size = tensor.size();
    tensor
        .transpose(1, 2)
        .reshape([size[0] * size[2], size[1], size[3]])
}

/// The inverse of [`listed`], a view.
fn in_rows(tensor: &Tensor, batch: i64) -> Tensor {
    let size = tensor.size();
    tensor
        .view([batch, size[0] / batch, size[1], size[2]])
        .transpose(1, 2)
}

/// [`in_rows`] of a list that is saved too: both share one owner count, or Burn would overwrite what the backward pass reads.
fn rows_of(list: &TchTensor, batch: i64) -> TchTensor {
    TchTensor::from_existing(in_rows(&list.tensor, batch), list.storage.clone())
}

/// Cumulative lengths of the documents of all rows, from 0 to the number of tokens, and the longest length.
fn cu_seqlens(documents: &Documents) -> (Vec<i32>, i64) {
    let mut cu_seqlens = vec![0];
    let mut max_seqlen = 0;
    for row in 0..documents.batch() {
        for (start, length) in documents.spans(row) {
            cu_seqlens.push((row * documents.seq() + start + length) as i32);
            max_seqlen = max_seqlen.max(length as i64);
        }
    }
    (cu_seqlens, max_seqlen)
}

/// [`cu_seqlens`] on a device, uploaded once for all layers of a micro-batch and both passes.
fn uploaded_cu_seqlens(documents: &Documents, device: Device) -> (Tensor, i64) {
    let (cu_seqlens, max_seqlen) = cu_seqlens(documents);
    let uploaded = documents.uploaded().on(device, || upload(&cu_seqlens, device));
    (uploaded, max_seqlen)
}

#[derive(Debug, Clone)]
pub(crate) struct SavedAttention {
    inputs: [TchTensor; 3],
    /// Output, log-sum-exp, and two tensors for LibTorch's backward pass.
    outputs: [TchTensor; 4],
    documents: Documents,
}

fn scale(q: &Tensor) -> f64 {
    q.size().last().map_or(1.0, |dim| (*dim as f64).powf(-0.5))
}

/// Variable-length flash attention (Dao 2023, arXiv:2307.08691): `bf16`, `head_dim` a multiple of 8.
pub(super) fn attention(
    inputs: [TchTensor; 3],
    documents: Documents,
    _: [bool; 3],
) -> (TchTensor, SavedAttention) {
    let (batch, scale) = (inputs[0].tensor.size()[0], scale(&inputs[0].tensor));
    let (cu_seqlens, max_seqlen) = uploaded_cu_seqlens(&documents, inputs[0].tensor.device());
    let [q, k, v] = inputs.each_ref().map(|tensor| listed(&tensor.tensor));
    let outputs = done(flash_attention(&q, &k, &v, &cu_seqlens, max_seqlen, scale)).map(TchTensor::new);
    let out = rows_of(&outputs[0], batch);
    let saved = SavedAttention {
        inputs,
        outputs,
        documents,
    };
    (out, saved)
}

impl Saved<LibTorch, 3> for SavedAttention {
    fn backward(self, grad: TchTensor) -> [Option<TchTensor>; 3] {
        let (batch, scale) = (grad.tensor.size()[0], scale(&grad.tensor));
        let [out, lse, random, unused] = self.outputs.map(|tensor| tensor.tensor);
        let (cu_seqlens, max_seqlen) = uploaded_cu_seqlens(&self.documents, out.device());
        let grad = contiguous(listed(&grad.tensor));
        let [q, k, v] = self.inputs.each_ref().map(|tensor| listed(&tensor.tensor));
        // Otherwise blocks of keys add to the gradient of q in any order.
        let _deterministic = Deterministic::begin();
        let (dq, dk, dv) = Tensor::internal_flash_attention_backward(
            &grad,
            &q,
            &k,
            &v,
            &out,
            &lse,
            &cu_seqlens,
            &cu_seqlens,
            max_seqlen,
            max_seqlen,
            0.0,
            true,
            &random,
            &unused,
            scale,
            None,
            None,
        );
        [dq, dk, dv].map(|gradient| Some(TchTensor::new(in_rows(&gradient, batch))))
    }
}

/// The summed loss is linear in its gradient, so the factor can come later.
#[derive(Debug, Clone)]
pub(crate) struct SavedLoss {
    hidden: Option<TchTensor>,
    weight: Option<TchTensor>,
}

pub(super) fn loss(
    [hidden, weight]: [TchTensor; 2],
    targets: Arc<HostTargets>,
    [of_hidden, of_weight]: [bool; 2],
) -> (TchTensor, SavedLoss) {
    let hidden = hidden.tensor;
    let (kind, device) = (hidden.kind(), hidden.device());
    let dtype = weight.tensor.kind();
    let weight = weight.tensor.to_kind(kind);
    let ids = upload(&targets.ids, device).to_kind(Kind::Int64);
    let mut kept = ids.ge(0).to_kind(Kind::Float).unsqueeze(1);
    if let Some(weights) = &targets.weights {
        kept *= upload(weights, device).unsqueeze(1);
    }
    let targets = ids.clamp_min(0).unsqueeze(1);

    let tokens = hidden.size()[0];
    let losses = Tensor::empty([tokens], (Kind::Float, device));
    let dh = of_hidden.then(|| hidden.empty_like());
    let mut dw = of_weight.then(|| Tensor::zeros(weight.size(), (Kind::Float, device)));
    for start in (0..tokens).step_by(LOSS_ROWS) {
        let rows = tokens.min(start + LOSS_ROWS as i64) - start;
        let [part, targets, kept] = [&hidden, &targets, &kept].map(|tensor| tensor.narrow(0, start, rows));
        let logits = part.matmul(&weight.tr()).to_kind(Kind::Float);
        let mut log_probs = logits.log_softmax(-1, Kind::Float);
        let of_targets = log_probs.gather(1, &targets, false) * &kept;
        losses
            .narrow(0, start, rows)
            .copy_(&of_targets.squeeze_dim(1).neg());
        if !(of_hidden || of_weight) {
            continue;
        }
        let mut changes = log_probs.exp_();
        let _ = changes.scatter_add_(1, &targets, &Tensor::full_like(&kept, -1.0));
        let changes = changes.g_mul_(&kept).to_kind(kind);
        if let Some(dh) = &dh {
            dh.narrow(0, start, rows).copy_(&changes.matmul(&weight));
        }
        if let Some(dw) = &mut dw {
            *dw += changes.tr().matmul(&part);
        }
    }
    let saved = SavedLoss {
        hidden: dh.map(TchTensor::new),
        weight: dw.map(|dw| TchTensor::new(dw.to_kind(dtype))),
    };
    (TchTensor::new(losses), saved)
}

impl Saved<LibTorch, 2> for SavedLoss {
    fn backward(self, grad: TchTensor) -> [Option<TchTensor>; 2] {
        // Without waiting for its value.
        let factor = grad.tensor.narrow(0, 0, 1);
        [self.hidden, self.weight].map(|tensor| Some(TchTensor::new(own(tensor?).g_mul_(&factor))))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct SavedNorm {
    x: TchTensor,
    weight: TchTensor,
    /// One over the root of the mean square, `[batch, seq, 1]`.
    scales: TchTensor,
}

pub(super) fn rms_norm(
    [x, weight]: [TchTensor; 2],
    epsilon: f64,
    dtype: DType,
    _: [bool; 2],
) -> (TchTensor, SavedNorm) {
    let kind = match dtype {
        DType::BF16 => Kind::BFloat16,
        _ => Kind::Float,
    };
    let square = x.tensor.square();
    let scales = (square.mean_dim([-1].as_slice(), true, Kind::Float) + epsilon).rsqrt();
    let out = (&x.tensor * &scales).to_kind(kind) * weight.tensor.to_kind(kind);
    let scales = TchTensor::new(scales);
    (TchTensor::new(out), SavedNorm { x, weight, scales })
}

impl Saved<LibTorch, 2> for SavedNorm {
    fn backward(self, grad: TchTensor) -> [Option<TchTensor>; 2] {
        let grad = grad.tensor.to_kind(Kind::Float);
        let scales = &self.scales.tensor;
        let normed = &self.x.tensor * scales;
        let dw = (&grad * &normed).sum_dim_intlist([0, 1].as_slice(), false, Kind::Float);
        let weighted = grad * &self.weight.tensor;
        let along = (&weighted * &normed).mean_dim([-1].as_slice(), true, Kind::Float);
        let dx = (weighted - normed * along) * scales;
        [dx, dw].map(|gradient| Some(TchTensor::new(gradient)))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct SavedGate {
    gate: TchTensor,
    up: TchTensor,
}

pub(super) fn swiglu([gate, up]: [TchTensor; 2], _: [bool; 2]) -> (TchTensor, SavedGate) {
    let out = gate.tensor.silu() * &up.tensor;
    (TchTensor::new(out), SavedGate { gate, up })
}

impl Saved<LibTorch, 2> for SavedGate {
    fn backward(self, grad: TchTensor) -> [Option<TchTensor>; 2] {
        let (gate, up) = (self.gate.tensor, self.up.tensor);
        let grad = grad.tensor.to_kind(gate.kind());
        let dup = gate.silu() * &grad;
        let dgate = gate.silu_backward(&(grad * up));
        [dgate, dup].map(|gradient| Some(TchTensor::new(gradient)))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct SavedRotary {
    cos: TchTensor,
    sin: TchTensor,
}

/// In memory `[batch, seq, heads, head_dim]`, as projections write it and attention reads it.
fn rotated(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Tensor {
    let [x, cos, sin] = [x, cos, sin].map(|tensor| tensor.transpose(1, 2));
    let kind = x.kind();
    let halves = x.to_kind(Kind::Float).chunk(2, -1);
    let (first, second) = (&halves[0], &halves[1]);
    Tensor::cat(&[first * &cos - second * &sin, second * &cos + first * &sin], -1)
        .to_kind(kind)
        .transpose(1, 2)
}

pub(super) fn rotary(
    [x]: [TchTensor; 1],
    cos: TchTensor,
    sin: TchTensor,
    _: [bool; 1],
) -> (TchTensor, SavedRotary) {
    let out = rotated(&x.tensor, &cos.tensor, &sin.tensor);
    (TchTensor::new(out), SavedRotary { cos, sin })
}

impl Saved<LibTorch, 1> for SavedRotary {
    fn backward(self, grad: TchTensor) -> [Option<TchTensor>; 1] {
        let back = rotated(&grad.tensor, &self.cos.tensor, &self.sin.tensor.neg());
        [Some(TchTensor::new(back))]
    }
}

/// New values and moments of parameters `[value, first moment, second moment, gradient]` of one dtype, in one call.
pub(super) fn adamw(parameters: Vec<[TchTensor; 4]>, step: AdamWStep) -> Vec<[TchTensor; 3]> {
    let mut updated: Vec<Updated> = parameters
        .into_iter()
        .map(|[value, first, second, gradient]| Updated {
            value: own(value),
            first: own(first),
            second: own(second),
            gradient: match step.scale == 1.0 {
                true => contiguous(gradient.tensor),
                false => own(gradient),
            },
        })
        .collect();
    fused_adamw(&mut updated, step);
    updated
        .into_iter()
        .map(|done| [done.value, done.first, done.second].map(TchTensor::new))
        .collect()
}

/// These operations run on the CPU too, except attention: there they are compared with those on the host.
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use tch::Device;

    use super::*;
    use crate::Transfers;
    use crate::fused::on_host;

    fn random<const D: usize>(size: [i64; D]) -> TchTensor {
        TchTensor::new(Tensor::randn(size, (Kind::Float, Device::Cpu)))
    }

    #[track_caller]
    fn assert_close<const N: usize>(
        what: &str,
        found: [Option<TchTensor>; N],
        expected: [Option<TchTensor>; N],
    ) {
        for (found, expected) in found.into_iter().zip(expected) {
            assert_eq!(found.is_some(), expected.is_some(), "{what}");
            let (Some(found), Some(expected)) = (found, expected) else {
                continue;
            };
            assert_eq!(found.tensor.size(), expected.tensor.size(), "{what}");
            let largest = expected.tensor.abs().max().double_value(&[]).max(0.1);
            let off = (found.tensor - expected.tensor).abs().max().double_value(&[]);
            assert!(off <= 2e-5 * largest, "{what}: off by {off:e} at {largest}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        #[test]
        fn as_on_the_host(batch in 1i64..3, seq in 1i64..9, heads in 1i64..4, half in 4i64..9) {
            let width = 2 * half;
            let (x, weight) = (random([batch, seq, width]), random([width]));
            let grad = random([batch, seq, width]);
            let inputs = [x.clone(), weight];
            let (a, ours) = rms_norm(inputs.clone(), 1e-5, DType::F32, [true; 2]);
            let (b, host) = on_host::rms_norm::<LibTorch>(inputs, 1e-5, DType::F32, [true; 2]);
            assert_close("norm", [Some(a)], [Some(b)]);
            assert_close("gradients of norm", ours.backward(grad.clone()), host.backward(grad.clone()));

            let inputs = [x, random([batch, seq, width])];
            let (a, ours) = swiglu(inputs.clone(), [true; 2]);
            let (b, host) = on_host::swiglu::<LibTorch>(inputs, [true; 2]);
            assert_close("gate", [Some(a)], [Some(b)]);
            assert_close("gradients of gate", ours.backward(grad.clone()), host.backward(grad));

            let (x, grad) = (random([batch, heads, seq, width]), random([batch, heads, seq, width]));
            let (cos, sin) = (random([batch, 1, seq, half]), random([batch, 1, seq, half]));
            let (a, ours) = rotary([x.clone()], cos.clone(), sin.clone(), [true]);
            let (b, host) = on_host::rotary::<LibTorch>([x], cos, sin, [true]);
            assert_close("rotation", [Some(a)], [Some(b)]);
            assert_close("gradient of rotation", ours.backward(grad.clone()), host.backward(grad));
        }

        #[test]
        fn the_loss_as_on_the_host(
            tokens in 1usize..40, width in 1i64..9, vocab in 2i64..30, twice: bool, weighted: bool, wanted: [bool; 2],
        ) {
            // More than one block, every second time.
            let tokens = if twice { tokens + LOSS_ROWS } else { tokens };
            let inputs = [random([tokens as i64, width]), random([vocab, width])];
            let targets: Vec<i32> = (0..tokens as i32).map(|i| if i % 5 == 2 { -1 } else { i * 7 % vocab as i32 }).collect();
            let weights: Vec<f32> = (0..tokens).map(|i| (i % 7) as f32 - 2.5).collect();
            let targets = Arc::new(HostTargets { ids: targets, weights: weighted.then_some(weights) });
            let (a, ours) = loss(inputs.clone(), Arc::clone(&targets), wanted);
            let (b, host) = on_host::loss::<LibTorch>(inputs, targets, wanted);
            assert_close("loss", [Some(a)], [Some(b)]);
            let grad = TchTensor::new(Tensor::full([tokens as i64], 0.37, (Kind::Float, Device::Cpu)));
            let ours = ours.backward(grad.clone());
            prop_assert_eq!(ours.each_ref().map(Option::is_some), wanted);
            assert_close("gradients of the loss", ours, host.backward(grad));
        }

        #[test]
        fn updates_in_one_call_as_one_by_one_on_the_host(
            counts in prop::collection::vec(1i64..200, 0..6),
            updates in 1i32..50,
            rate in prop::sample::select(vec![0.0f32, 1e-2]),
            scale in prop::sample::select(vec![0.3f32, 1.0]),
        ) {
            let step = AdamWStep {
                betas: [0.9, 0.95],
                scale,
                decay_factor: 1.0 - rate * 0.1,
                step_size: rate / (1.0 - 0.9f32.powi(updates)),
                second_correction: (1.0 - 0.95f32.powi(updates)).sqrt(),
                epsilon: 1e-8,
            };
            let parameter = |count: i64| {
                let second = random([count]).tensor.square();
                [random([count]), random([count]), TchTensor::new(second), random([count])]
            };
            let parameters: Vec<_> = counts.into_iter().map(parameter).collect();
            let before: Vec<Tensor> = parameters.iter().flatten().map(|kept| kept.tensor.copy()).collect();
            let updated = adamw(parameters.clone(), step);
            // Other owners of the old values and of the gradients still see them unchanged.
            for (kept, before) in parameters.iter().flatten().zip(before) {
                prop_assert_eq!(&kept.tensor, &before);
            }
            prop_assert_eq!(updated.len(), parameters.len());
            for (ours, host) in updated.into_iter().zip(on_host::adamw::<LibTorch>(parameters, step)) {
                assert_close("update", ours.map(Some), host.map(Some));
            }
        }

        #[test]
        fn tokens_in_one_list_and_back(batch in 1i64..4, heads in 1i64..4, seq in 1i64..9) {
            let x = random([batch, heads, seq, 8]).tensor;
            let list = listed(&x);
            prop_assert_eq!(list.get((batch - 1) * seq).get(heads - 1), x.get(batch - 1).get(heads - 1).get(0));
            prop_assert_eq!(in_rows(&list, batch), x);
        }
    }

    #[test]
    fn documents_of_all_rows_in_one_list() {
        let documents = Documents::new(vec![vec![0, 5, 6], vec![0]], 9).unwrap();
        assert_eq!(cu_seqlens(&documents), (vec![0, 5, 6, 9, 18], 9));
    }

    /// Queries as the model makes them: a view of a projection's output. Rotation keeps that layout, so attention and the
    /// projection's backward pass read them without a copy.
    #[test]
    fn attention_reads_what_rotation_wrote() {
        let x = TchTensor::new(random([2, 9, 4, 8]).tensor.transpose(1, 2));
        let (cos, sin) = (random([1, 1, 9, 4]), random([1, 1, 9, 4]));
        let (out, saved) = rotary([x.clone()], cos, sin, [true]);
        let [back] = saved.backward(x);
        for made in [out.tensor, back.unwrap().tensor] {
            assert_eq!(made.size(), [2, 4, 9, 8]);
            assert_eq!(listed(&made).data_ptr(), made.data_ptr());
        }
    }

    /// Otherwise Burn's next addition would overwrite what the backward pass reads.
    #[test]
    fn the_output_that_is_kept_counts_its_owners() {
        let kept = random([18, 4, 8]);
        let out = rows_of(&kept, 2);
        assert_eq!(out.tensor.data_ptr(), kept.tensor.data_ptr());
        assert!(!out.can_mut() && !kept.can_mut());
        drop(kept);
        assert!(out.can_mut());
    }

    #[test]
    fn where_documents_begin_is_uploaded_once() {
        let documents = Documents::new(vec![vec![0, 5, 6], vec![0]], 9).unwrap();
        let before = Transfers::so_far().uploads;
        // Two layers; the second with a clone, as in the backward pass.
        let (first, max_seqlen) = uploaded_cu_seqlens(&documents, Device::Cpu);
        let (second, _) = uploaded_cu_seqlens(&documents.clone(), Device::Cpu);
        assert_eq!(Transfers::so_far().uploads, before + 1);
        assert_eq!(first.data_ptr(), second.data_ptr());
        assert_eq!(
            (Vec::<i32>::try_from(first).unwrap(), max_seqlen),
            (vec![0, 5, 6, 9, 18], 9)
        );
    }

    /// An exception of LibTorch becomes a panic with its text, not an abort.
    #[test]
    fn a_refusal_is_reported() {
        let q = random([1, 2, 4, 8]);
        let documents = Documents::whole_rows(1, 4);
        let inputs = [q.clone(), q.clone(), q];
        let refused = std::panic::catch_unwind(|| attention(inputs, documents, [true; 3])).unwrap_err();
        let text = refused.downcast_ref::<String>().unwrap();
        assert!(text.contains("_flash_attention_forward"), "{text}");
    }
}

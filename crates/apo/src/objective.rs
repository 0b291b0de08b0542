//! Preference losses for the engine's training step.
//!
//! The gradient of a pair's loss is that of its answers' log-probabilities, times two numbers that are known once these are.
//! So the log-probabilities are computed first, without a graph and only at the answers' positions, and then a
//! cross-entropy whose tokens are weighted by these numbers: the logits are never held, and memory is that of
//! supervised fine-tuning. The price is one more product with the head.

use std::ops::Range;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use smollm3_engine::{Objective, ObjectiveLoss, Result, RowOrigin};
use smollm3_kernels::{Documents, DocumentsError, Targets, linear_cross_entropy, read_back, total, upload};
use smollm3_model::SmolLm3;
use smollm3_recipe::PreferenceLoss;

use crate::loss::{PairLoss, pair_loss};
use crate::pair_rows::{PairRow, PairSpan};
use crate::reference::{ReferenceLogProbs, finite};

/// A row of pairs on a device.
#[derive(Debug, Clone)]
pub struct PairBatch {
    /// `[1, tokens]`.
    ids: Tensor<2, Int>,
    documents: Documents,
    targets: Targets,
    wanted: Vec<Option<u32>>,
    pairs: Vec<PairSpan>,
    /// One a pair.
    origins: Vec<RowOrigin>,
    /// The reference's log-probabilities of each pair's answers.
    reference: Vec<[f64; 2]>,
}

impl PairBatch {
    /// Moves a row to `device`; `reference` has the log-probabilities of each of its pairs.
    ///
    /// # Errors
    /// The row's documents do not fit its length.
    pub fn new(
        row: PairRow,
        reference: Vec<[f64; 2]>,
        device: &Device,
    ) -> std::result::Result<Self, DocumentsError> {
        let PairRow { row, pairs } = row;
        let tokens = row.ids.len();
        let ids: Vec<i32> = row.ids.iter().map(|id| *id as i32).collect();
        let origin = |pair: &PairSpan| RowOrigin {
            source: pair.source,
            targets: 1,
        };
        Ok(Self {
            ids: upload(ids, device).reshape([1, tokens]),
            documents: Documents::new(vec![row.starts], tokens)?,
            targets: Targets::new(&row.targets, device),
            wanted: row.targets,
            origins: pairs.iter().map(origin).collect(),
            pairs,
            reference,
        })
    }

    /// Log-probabilities of each pair's answers, in nats.
    fn log_probs(&self, hidden: &Tensor<3>, head: &Tensor<2>) -> Vec<[f64; 2]> {
        let (hidden, head) = (flat(without_graph(hidden)), without_graph(head));
        let losses = read_back(linear_cross_entropy(hidden, head, &self.targets).losses);
        let answer = |positions: &Range<usize>| {
            let losses = losses.get(positions.clone()).unwrap_or_default();
            -losses.iter().map(|loss| f64::from(*loss)).sum::<f64>()
        };
        self.pairs
            .iter()
            .map(|pair| [0, 1].map(|side| answer(&pair.answers[side])))
            .collect()
    }
}

/// The tensor's value. A head that wants a gradient would have it computed with the loss, although nobody asks for it.
fn without_graph<const D: usize>(tensor: &Tensor<D>) -> Tensor<D> {
    // `detach` of a parameter leaves it one.
    tensor.clone().detach().set_require_grad(false)
}

fn flat(hidden: Tensor<3>) -> Tensor<2> {
    let [rows, seq, width] = hidden.dims();
    hidden.reshape([rows * seq, width])
}

/// Log-probabilities of each pair's answers to a model, in nats.
///
/// # Errors
/// The row's documents do not fit its length.
pub fn answer_log_probs(model: &SmolLm3, row: PairRow, device: &Device) -> Result<Vec<[f64; 2]>> {
    let batch = PairBatch::new(row, Vec::new(), device)?;
    let hidden = model.forward(batch.ids.clone(), &batch.documents);
    Ok(batch.log_probs(&hidden, &model.head()))
}

/// Where the reference's log-probabilities of a step's pairs come from.
#[derive(Debug)]
pub enum ReferenceSource {
    /// They were computed before the stage.
    Cached(ReferenceLogProbs),
    /// Its weights are in memory.
    Online(Box<SmolLm3>),
}

/// A loss of pairs, compared with a reference.
#[derive(Debug)]
pub struct Preferred {
    /// The loss.
    pub loss: PreferenceLoss,
    /// The reference.
    pub reference: ReferenceSource,
}

/// Figures recorded of each step: means over its pairs. The names of the first six are TRL's.
const OBSERVED: [&str; 7] = [
    "rewards/chosen",
    "rewards/rejected",
    "rewards/margins",
    "rewards/accuracies",
    "logps/chosen",
    "logps/rejected",
    // As if the answers were the reference's own: nats a token, of the reference from the model.
    "kl",
];

/// Those of one pair.
fn observe(beta: f64, log_probs: [f64; 2], ratios: [f64; 2], tokens: usize) -> [f64; 7] {
    let [chosen, rejected] = ratios.map(|ratio| beta * ratio);
    let kl = -(ratios[0] + ratios[1]) / tokens.max(1) as f64;
    let is_right = f64::from(u8::from(chosen > rejected));
    let margin = chosen - rejected;
    [chosen, rejected, margin, is_right, log_probs[0], log_probs[1], kl]
}

impl Objective for Preferred {
    type HostBatch = PairRow;
    type MicroBatch = PairBatch;

    const LOSS_UNIT: &'static str = "a pair";
    const OBSERVED: &'static [&'static str] = &OBSERVED;

    fn to_device(&self, row: PairRow, device: &Device) -> Result<PairBatch> {
        let reference = match &self.reference {
            ReferenceSource::Cached(log_probs) => log_probs.of(&row),
            ReferenceSource::Online(model) => finite(answer_log_probs(model, row.clone(), device)?)?,
        };
        Ok(PairBatch::new(row, reference, device)?)
    }

    fn origins<'b>(&self, batch: &'b PairBatch) -> &'b [RowOrigin] {
        &batch.origins
    }

    fn inputs<'b>(&self, batch: &'b PairBatch) -> (Tensor<2, Int>, &'b Documents) {
        (batch.ids.clone(), &batch.documents)
    }

    fn loss(&self, hidden: Tensor<3>, head: Tensor<2>, batch: &PairBatch) -> ObjectiveLoss {
        let settings = self.loss;
        let device = hidden.device();
        let mut observed = [0.0; 7];
        let mut losses = Vec::new();
        // The derivative of the loss by the loss of each token.
        let mut weights = vec![0.0f32; batch.wanted.len()];
        let log_probs = batch.log_probs(&hidden, &head);
        for ((pair, log_probs), reference) in batch.pairs.iter().zip(log_probs).zip(&batch.reference) {
            let ratios = [0, 1].map(|side| log_probs[side] - reference[side]);
            let PairLoss {
                value,
                d_chosen,
                d_rejected,
            } = pair_loss(&settings, ratios[0], ratios[1]);
            let [chosen, rejected] = &pair.answers;
            let own = settings.sft_weight / chosen.len().max(1) as f64;
            losses.push((value - own * log_probs[0]) as f32);
            for (positions, weight) in [(chosen, own - d_chosen), (rejected, -d_rejected)] {
                if let Some(weights) = weights.get_mut(positions.clone()) {
                    weights.fill(weight as f32);
                }
            }
            let tokens = chosen.len() + rejected.len();
            let figures = observe(settings.beta, log_probs, ratios, tokens);
            for (sum, figure) in observed.iter_mut().zip(figures) {
                *sum += figure;
            }
        }
        let targets = Targets::weighted(&batch.wanted, &weights, &device);
        let weighted = linear_cross_entropy(flat(hidden), head, &targets).sum;
        let count = losses.len();
        let losses = Tensor::<1>::from_data(TensorData::new(losses, [count]), (&device, DType::F32));
        ObjectiveLoss {
            // The value of the loss, with the gradient of the weighted one.
            sum: weighted.clone() - weighted.detach() + total(losses.clone()),
            losses,
            observed: observed.to_vec(),
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_ask_for_no_gradient() {
        let device = Device::flex().autodiff();
        let head = Tensor::<2>::from_floats([[0.5, 1.0], [2.0, -1.0]], &device).require_grad();
        assert!(head.is_require_grad() && !without_graph(&head).is_require_grad());
        let value = without_graph(&(head.clone() * 2.0));
        assert_eq!(read_back(value.clone().reshape([4])), [1.0, 2.0, 4.0, -2.0]);
        let sum = (value * head.clone()).sum();
        // The gradient of `c · head`, not of `2 · head²`.
        let gradient = head.grad(&sum.backward()).unwrap();
        assert_eq!(
            gradient.into_data().try_to_vec::<f32>().unwrap(),
            [1.0, 2.0, 4.0, -2.0]
        );
    }
}

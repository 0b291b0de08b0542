//! Loss, margin and accuracy on pairs that are not trained on.

use burn::module::Module;
use smollm3_engine::{Evaluate, Result, Run, TrainState, spread};
use smollm3_recipe::PreferenceLoss;
use smollm3_records::{Event, Listener, MeasureRecord};

use crate::loss::pair_loss;
use crate::pair_rows::PairRows;
use crate::reference::ReferenceLogProbs;
use crate::reference_model::log_probs;

/// Evaluates a model on held-out pairs.
pub(crate) struct HeldOutPairs<'a> {
    pub run: &'a Run,
    /// The pairs, and the reference's log-probabilities of them.
    pub held_out: Option<(ReferenceLogProbs, PairRows)>,
    /// How many of them are evaluated.
    pub most: u64,
    pub loss: PreferenceLoss,
}

impl HeldOutPairs<'_> {
    /// Loss, margin and accuracy of a pair whose answers are `chosen` and `rejected` nats more probable than to the reference.
    fn figures(&self, chosen: f64, rejected: f64) -> [f64; 3] {
        let is_right = match chosen.partial_cmp(&rejected) {
            Some(order) => f64::from(u8::from(order.is_gt())),
            None => f64::NAN,
        };
        let loss = pair_loss(&self.loss, chosen, rejected).value;
        [loss, self.loss.beta * (chosen - rejected), is_right]
    }
}

impl Evaluate for HeldOutPairs<'_> {
    fn evaluate(
        &self,
        state: &TrainState,
        step: u64,
        phase: &str,
        listener: &mut dyn Listener,
    ) -> Result<Option<f64>> {
        let Some((reference, rows)) = &self.held_out else {
            return Ok(None);
        };
        let pairs: Vec<u64> = spread(rows.count(), self.most).collect();
        let known = pairs.iter().map(|pair| reference.pair(*pair));
        let figures: Vec<[f64; 3]> = log_probs(&state.model.valid(), rows, &pairs, &self.run.device)?
            .into_iter()
            .zip(known)
            .map(|(values, known)| self.figures(values[0] - known[0], values[1] - known[1]))
            .collect();
        let names = ["loss of pairs", "reward margin", "preference accuracy"];
        let mut means = Vec::new();
        for (index, name) in names.into_iter().enumerate() {
            let values: Vec<f64> = figures.iter().map(|figures| figures[index]).collect();
            let record = MeasureRecord::mean(step, phase, name, &values);
            means.push(record.value);
            listener.on(&Event::Measured(record))?;
        }
        // The first is the loss.
        Ok(means.first().copied())
    }
}

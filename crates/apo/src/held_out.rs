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
        let ratios: Vec<[f64; 2]> = log_probs(&state.model.valid(), rows, &pairs, &self.run.device)?
            .into_iter()
            .zip(&pairs)
            .map(|(values, pair)| {
                let known = reference.pair(*pair);
                [values[0] - known[0], values[1] - known[1]]
            })
            .collect();
        let beta = self.loss.beta;
        type Measure<'m> = &'m dyn Fn(&[f64; 2]) -> f64;
        let measures: [(&str, Measure<'_>); 3] = [
            ("loss of pairs", &|ratios| {
                pair_loss(&self.loss, ratios[0], ratios[1]).value
            }),
            ("reward margin", &|ratios| beta * (ratios[0] - ratios[1])),
            (
                "preference accuracy",
                &|ratios| match ratios[0].partial_cmp(&ratios[1]) {
                    Some(order) => f64::from(u8::from(order.is_gt())),
                    None => f64::NAN,
                },
            ),
        ];
        let mut means = Vec::new();
        for (name, measure) in measures {
            let values: Vec<f64> = ratios.iter().map(measure).collect();
            let record = MeasureRecord::mean(step, phase, name, &values);
            means.push(record.value);
            listener.on(&Event::Measured(record))?;
        }
        // The first is the loss.
        Ok(means.first().copied())
    }
}

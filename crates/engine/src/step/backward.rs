//! Loss and gradients of one micro-batch: in one graph, or a layer at a time.

use burn::module::Module;
use burn::tensor::Tensor;
use smollm3_model::SmolLm3;
use smollm3_recipe::Recompute;

use super::gradients::AccumulatedGradients;
use super::objective::{Objective, ObjectiveLoss, RowOrigin, target_count};
use super::reduce::GradientSink;

/// The summed loss of a micro-batch.
pub(crate) fn forward<O: Objective>(objective: &O, model: &SmolLm3, batch: &O::MicroBatch) -> ObjectiveLoss {
    let (ids, documents) = objective.inputs(batch);
    objective.loss(model.forward(ids, documents), model.head(), batch)
}

/// Losses of a micro-batch, still on the device: reading them would wait for it.
pub(crate) struct MicroLoss<'b> {
    /// Its share of the loss of the step, `[1]`, `f32`.
    pub part: Tensor<1>,
    /// Of each token or pair, equally many for each origin, `f32`.
    pub losses: Tensor<1>,
    /// The objective's other figures, summed.
    pub observed: Vec<f64>,
    /// Where the losses are counted.
    pub origins: &'b [RowOrigin],
}

impl<'b> MicroLoss<'b> {
    fn new(part: Tensor<1>, loss: ObjectiveLoss, origins: &'b [RowOrigin]) -> Self {
        Self {
            part: part.without_autodiff(),
            losses: loss.losses.without_autodiff(),
            observed: loss.observed,
            origins,
        }
    }
}

/// Adds the gradients of a micro-batch's loss, multiplied by `weight` of its number of targets, to `sink`, and returns its
/// losses.
///
/// With [`Recompute::Layers`] the forward pass keeps only the input of each layer, and the backward pass computes each layer
/// again: memory for one layer instead of all, for a third more time. With the fused operations the gradients are the same
/// bits. Those of a layer can be sent as soon as they are there.
pub(crate) fn backward<'b, O: Objective>(
    objective: &O,
    model: &SmolLm3,
    batch: &'b O::MicroBatch,
    weight: impl Fn(usize) -> f64,
    recompute: Recompute,
    sink: &mut GradientSink<'_>,
) -> MicroLoss<'b> {
    if recompute == Recompute::Layers {
        return layer_by_layer(objective, model, batch, weight, sink);
    }
    let origins = objective.origins(batch);
    let loss = forward(objective, model, batch);
    let part = loss.sum.clone().mul_scalar(weight(target_count(origins)));
    sink.gradients.add(model, part.backward());
    MicroLoss::new(part, loss, origins)
}

fn layer_by_layer<'b, O: Objective>(
    objective: &O,
    model: &SmolLm3,
    batch: &'b O::MicroBatch,
    weight: impl Fn(usize) -> f64,
    sink: &mut GradientSink<'_>,
) -> MicroLoss<'b> {
    let (ids, documents) = objective.inputs(batch);
    let rows = model.rows(documents);
    // A separate graph for each layer: its input is a leaf, whose gradient is passed to the layer below.
    let leaf = |x: Tensor<3>| x.autodiff().require_grad();
    let without_graph = model.valid();
    let mut inputs = vec![without_graph.embed(ids.clone())];
    for layer in 0..model.layers() {
        let x = inputs[layer].clone();
        inputs.push(without_graph.layer(layer, x, &rows));
    }

    let last = inputs.pop();
    let x = leaf(last.unwrap_or_else(|| unreachable!("the embedding was put there")));
    let loss = objective.loss(model.finish(x.clone()), model.head(), batch);
    let origins = objective.origins(batch);
    let part = loss.sum.clone().mul_scalar(weight(target_count(origins)));
    let mut gradients = part.backward();
    let mut upstream = x.grad_remove(&mut gradients);
    // Gradients outside the layers are summed separately first, to match the order of the single graph: a tied embedding
    // contributes twice.
    let mut outside = AccumulatedGradients::default();
    outside.add(model, gradients);
    for (layer, input) in inputs.into_iter().enumerate().rev() {
        let Some(gradient) = upstream.take() else { break };
        let x = leaf(input);
        let out = model.layer(layer, x.clone(), &rows);
        let mut gradients = (out * gradient.autodiff()).sum().backward();
        upstream = x.grad_remove(&mut gradients);
        sink.gradients.add(model, gradients);
        sink.layer_done(layer);
    }
    // A frozen embedding has no gradient, and no graph to compute it from.
    if let Some(gradient) = upstream.filter(|_| !model.is_adapted()) {
        let gradients = (model.embed(ids) * gradient.autodiff()).sum().backward();
        outside.add(model, gradients);
    }
    sink.gradients.merge(outside);
    MicroLoss::new(part, loss, origins)
}

//! Loss and gradients of one micro-batch: in one graph, or a layer at a time.

use burn::module::Module;
use burn::tensor::Tensor;
use smollm3_model::SmolLm3;
use smollm3_recipe::Recompute;

use crate::reduce::Outgoing;
use crate::{AccumulatedGradients, Objective, ObjectiveLoss};

/// The summed loss of a micro-batch.
pub(crate) fn forward<O: Objective>(objective: &O, model: &SmolLm3, batch: &O::MicroBatch) -> ObjectiveLoss {
    let (ids, documents) = objective.rows(batch);
    objective.loss(model.forward(ids, documents), model.head(), batch)
}

/// Losses of a micro-batch, still on the device: reading them would wait for it.
pub(crate) struct MicroLoss {
    /// What it adds to the loss of the step, `[1]`, `f32`.
    pub part: Tensor<1>,
    /// Of each token or pair, as many for each origin, `f32`.
    pub losses: Tensor<1>,
    /// What else the objective records, summed.
    pub observed: Vec<f64>,
}

impl MicroLoss {
    fn new(part: Tensor<1>, loss: ObjectiveLoss) -> Self {
        Self {
            part: part.without_autodiff(),
            losses: loss.losses.without_autodiff(),
            observed: loss.observed,
        }
    }
}

/// Adds the gradients of a micro-batch's loss, multiplied by `weight` of its number of targets, and returns its losses.
///
/// With [`Recompute::Layers`] only the input of each layer is kept on the way forward, and a layer is computed again when its
/// gradients are wanted: memory for one layer instead of all, for a third more time. The gradients are the same bits with
/// the fused operations. Those of a layer can be sent as soon as they are there.
pub(crate) fn backward<O: Objective>(
    objective: &O,
    model: &SmolLm3,
    batch: &O::MicroBatch,
    weight: impl Fn(usize) -> f64,
    recompute: Recompute,
    gradients: &mut Outgoing<'_>,
) -> MicroLoss {
    if recompute == Recompute::Layers {
        return layer_by_layer(objective, model, batch, weight, gradients);
    }
    let loss = forward(objective, model, batch);
    let part = loss.sum.clone().mul_scalar(weight(loss.count));
    gradients.add(model, part.backward());
    MicroLoss::new(part, loss)
}

fn layer_by_layer<O: Objective>(
    objective: &O,
    model: &SmolLm3,
    batch: &O::MicroBatch,
    weight: impl Fn(usize) -> f64,
    gradients: &mut Outgoing<'_>,
) -> MicroLoss {
    let (ids, documents) = objective.rows(batch);
    let rows = model.rows(documents);
    // A graph of its own for each layer: its input is a leaf, whose gradient goes on to the layer below.
    let leaf = |x: Tensor<3>| x.autodiff().require_grad();
    let without_graph = model.valid();
    let mut inputs = vec![without_graph.embed(ids.clone())];
    for layer in 0..model.layers() {
        let x = inputs[layer].clone();
        inputs.push(without_graph.layer(layer, x, &rows));
    }

    let x = leaf(
        inputs
            .pop()
            .unwrap_or_else(|| unreachable!("the embedding was put there")),
    );
    let loss = objective.loss(model.finish(x.clone()), model.head(), batch);
    let part = loss.sum.clone().mul_scalar(weight(loss.count));
    let mut found = part.backward();
    let mut upstream = x.grad_remove(&mut found);
    // What is in no layer is summed by itself first, as one graph does: a tied embedding has two parts.
    let mut own = AccumulatedGradients::default();
    own.add(model, found);
    for (layer, input) in inputs.into_iter().enumerate().rev() {
        let Some(gradient) = upstream.take() else { break };
        let x = leaf(input);
        let out = model.layer(layer, x.clone(), &rows);
        let mut found = (out * gradient.autodiff()).sum().backward();
        upstream = x.grad_remove(&mut found);
        gradients.add(model, found);
        gradients.found(layer);
    }
    // A frozen embedding has no gradient, and no graph to find it by.
    if let Some(gradient) = upstream.filter(|_| !model.is_adapted()) {
        let found = (model.embed(ids) * gradient.autodiff()).sum().backward();
        own.add(model, found);
    }
    gradients.gradients.merge(own);
    MicroLoss::new(part, loss)
}

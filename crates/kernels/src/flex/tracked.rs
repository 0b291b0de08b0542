//! Operations with a backward pass of their own, in Burn's graph.

use std::fmt::Debug;
use std::marker::PhantomData;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use burn_flex::FlexTensor;

/// What an operation of `N` inputs keeps for its backward pass.
pub(super) trait Saved<const N: usize>: Debug + Clone + Send + 'static {
    /// The gradients of the inputs, given that of the output.
    fn backward(self, grad: FlexTensor) -> [FlexTensor; N];
}

#[derive(Debug)]
struct Pass<S>(PhantomData<fn() -> S>);

impl<S: Saved<N>, const N: usize> Backward<Flex, N> for Pass<S> {
    type State = S;

    fn backward(self, ops: Ops<S, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node);
        for (node, grad) in ops.parents.into_iter().zip(ops.state.backward(grad)) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, grad);
            }
        }
    }
}

/// Runs an operation and, if one of its inputs wants a gradient, puts it into the graph. `run` is told whether what
/// the backward pass needs is wanted.
pub(super) fn tracked<C: CheckpointStrategy, S: Saved<N>, const N: usize>(
    inputs: [NodeGuard; N],
    run: impl FnOnce(bool) -> (FlexTensor, Option<S>),
) -> FloatTensor<Autodiff<Flex, C>> {
    match Pass::<S>(PhantomData)
        .prepare::<C>(inputs)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prep) => match run(true) {
            (out, Some(saved)) => prep.finish(saved, out),
            (_, None) => unreachable!("the operation was told to save"),
        },
        OpsKind::UnTracked(prep) => prep.finish(run(false).0),
    }
}

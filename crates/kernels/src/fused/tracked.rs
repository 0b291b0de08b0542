//! Operations with a backward pass of their own, in Burn's graph.

use std::fmt::Debug;
use std::marker::PhantomData;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

/// What an operation of `N` inputs keeps for its backward pass.
pub(crate) trait Saved<B: Backend, const N: usize>: Debug + Clone + Send + 'static {
    /// The gradients of the inputs, given that of the output.
    fn backward(self, grad: FloatTensor<B>) -> [FloatTensor<B>; N];
}

#[derive(Debug)]
struct Pass<S>(PhantomData<fn() -> S>);

impl<B: Backend, S: Saved<B, N>, const N: usize> Backward<B, N> for Pass<S> {
    type State = S;

    fn backward(self, ops: Ops<S, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        for (node, grad) in ops.parents.into_iter().zip(ops.state.backward(grad)) {
            if let Some(node) = node {
                grads.register::<B>(node.id, grad);
            }
        }
    }
}

/// Runs an operation and, if one of its inputs wants a gradient, puts it into the graph. `run` is told whether what
/// the backward pass needs is wanted.
pub(super) fn tracked<B: Backend, C: CheckpointStrategy, S: Saved<B, N>, const N: usize>(
    inputs: [NodeGuard; N],
    run: impl FnOnce(bool) -> (FloatTensor<B>, Option<S>),
) -> FloatTensor<Autodiff<B, C>> {
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

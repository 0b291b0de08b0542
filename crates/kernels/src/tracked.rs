//! Operations with a hand-written backward pass in Burn's graph.

use std::fmt::Debug;
use std::marker::PhantomData;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

/// What an operation of `N` inputs keeps for its backward pass.
pub(crate) trait Saved<B: Backend, const N: usize>: Debug + Clone + Send + 'static {
    /// The gradients of the inputs from that of the output; `None` at most for inputs that want none.
    fn backward(self, grad: FloatTensor<B>) -> [Option<FloatTensor<B>>; N];
}

/// Of an operation that is not differentiable.
impl<B: Backend> Saved<B, 0> for () {
    fn backward(self, _: FloatTensor<B>) -> [Option<FloatTensor<B>>; 0] {
        []
    }
}

#[derive(Debug)]
struct Pass<S>(PhantomData<fn() -> S>);

impl<B: Backend, S: Saved<B, N>, const N: usize> Backward<B, N> for Pass<S> {
    type State = S;

    fn backward(self, ops: Ops<S, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        for (node, grad) in ops.parents.into_iter().zip(ops.state.backward(grad)) {
            if let (Some(node), Some(grad)) = (node, grad) {
                grads.register::<B>(node.id, grad);
            }
        }
    }
}

/// Runs an operation and adds it to the graph if an input wants a gradient. `run` receives which inputs do: frozen weights do
/// not.
pub(crate) fn tracked<B: Backend, C: CheckpointStrategy, S: Saved<B, N>, const N: usize>(
    inputs: [FloatTensor<Autodiff<B, C>>; N],
    run: impl FnOnce([FloatTensor<B>; N], [bool; N]) -> (FloatTensor<B>, S),
) -> FloatTensor<Autodiff<B, C>> {
    let nodes = inputs.each_ref().map(|tensor| tensor.node());
    let wanted = inputs.each_ref().map(|tensor| tensor.is_tracked());
    let (out, saved) = run(inputs.map(|tensor| tensor.primitive().clone()), wanted);
    match Pass::<S>(PhantomData)
        .prepare::<C>(nodes)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prep) => prep.finish(saved, out),
        OpsKind::UnTracked(prep) => prep.finish(out),
    }
}

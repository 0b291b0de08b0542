//! The gate of the feed-forward block, forward and backward, one pass over memory each.

use super::lanes::{sigmoid, wide};
use super::{Element, Shared, Threads};

/// Numbers per task.
const CHUNK: usize = 16 * 1024;

/// `gate · sigmoid(gate) · up` into `out`.
pub(crate) fn swiglu<E: Element>(gate: &[E], up: &[E], out: &mut [E], threads: Threads) {
    let length = out.len();
    let out = Shared::new(out);
    threads.each(length.div_ceil(CHUNK), |task| {
        let first = task * CHUNK;
        let count = CHUNK.min(length - first);
        let (gate, up) = (&gate[first..][..count], &up[first..][..count]);
        // SAFETY: tasks have disjoint chunks.
        let out = unsafe { out.part(first, count) };
        wide(
            #[inline(always)]
            || {
                for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
                    let gate = gate.get();
                    *out = E::of(gate * sigmoid(gate) * up.get());
                }
            },
        );
    });
}

/// Gradients of `gate` and `up` into `dgate` and `dup`.
pub(crate) fn swiglu_backward<E: Element>(
    gate: &[E],
    up: &[E],
    grad: &[E],
    dgate: &mut [E],
    dup: &mut [E],
    threads: Threads,
) {
    let length = grad.len();
    let (dgate, dup) = (Shared::new(dgate), Shared::new(dup));
    threads.each(length.div_ceil(CHUNK), |task| {
        let first = task * CHUNK;
        let count = CHUNK.min(length - first);
        let inputs = first..first + count;
        let (gate, up, grad) = (&gate[inputs.clone()], &up[inputs.clone()], &grad[inputs]);
        // SAFETY: tasks have disjoint chunks.
        let (dgate, dup) = unsafe { (dgate.part(first, count), dup.part(first, count)) };
        wide(
            #[inline(always)]
            || {
                let inputs = gate.iter().zip(up).zip(grad);
                for ((dgate, dup), ((gate, up), grad)) in dgate.iter_mut().zip(dup).zip(inputs) {
                    let (gate, up, grad) = (gate.get(), up.get(), grad.get());
                    let open = sigmoid(gate);
                    *dup = E::of(grad * gate * open);
                    *dgate = E::of(grad * up * open * (1.0 + gate * (1.0 - open)));
                }
            },
        );
    });
}

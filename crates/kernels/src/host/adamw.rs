//! AdamW on one parameter, in place, one pass over memory.

use super::lanes::wide;
use super::{Shared, Threads};
use crate::AdamWStep;

/// One update of a parameter and its moments.
pub(crate) fn adamw(
    value: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    gradient: &[f32],
    step: AdamWStep,
    threads: Threads,
) {
    /// Numbers per task.
    const CHUNK: usize = 16 * 1024;
    let length = value.len();
    let (value, first, second) = (Shared::new(value), Shared::new(first), Shared::new(second));
    threads.each(length.div_ceil(CHUNK), |task| {
        let begin = task * CHUNK;
        let count = CHUNK.min(length - begin);
        let gradient = &gradient[begin..][..count];
        // SAFETY: tasks have disjoint chunks.
        let (value, first, second) = unsafe {
            (
                value.part(begin, count),
                first.part(begin, count),
                second.part(begin, count),
            )
        };
        wide(
            #[inline(always)]
            || {
                let [beta1, beta2] = step.betas;
                let state = value.iter_mut().zip(first).zip(second);
                for (((value, first), second), gradient) in state.zip(gradient) {
                    let gradient = gradient * step.scale;
                    *first = *first * beta1 + gradient * (1.0 - beta1);
                    *second = *second * beta2 + gradient * gradient * (1.0 - beta2);
                    let root = second.sqrt() / step.second_correction + step.epsilon;
                    *value = *value * step.decay_factor - *first / root * step.step_size;
                }
            },
        );
    });
}

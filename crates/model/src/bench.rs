//! How fast text is generated on this machine: `bench generate`.
//!
//! The time to the first token is that of the prompt; the tokens after it are decoding. Nothing here asserts a time.

use std::ops::ControlFlow;
use std::time::Instant;

use serde::Serialize;
use smollm3_kernels::{device_memory, peak_memory};

use crate::{GenerateError, Generation, SmolLm3, generate};

/// What was measured. Rates are medians over the rounds.
#[derive(Debug, Clone, Serialize)]
pub struct GenerateBench {
    /// Rows that are continued at once.
    pub rows: usize,
    /// Tokens of each prompt.
    pub prompt: usize,
    /// Tokens that each is continued by.
    pub new: usize,
    /// Prompt tokens a second, all rows together.
    pub prefill_tokens_per_second: f64,
    /// New tokens a second, all rows together.
    pub decode_tokens_per_second: f64,
    /// The most memory the process has taken, in 10⁶ bytes; absent where the system does not tell.
    pub peak_megabytes: Option<f64>,
    /// The most memory of tensors on the GPU, in 10⁶ bytes; absent for a CPU.
    pub device_megabytes: Option<f64>,
}

/// Continues `rows` prompts of `prompt` made-up tokens by `new` tokens (two at least), `rounds` times after one that is not counted.
///
/// # Errors
/// The rows do not fit the model's context.
pub fn generation(
    model: &SmolLm3,
    [rows, prompt, new]: [usize; 3],
    rounds: usize,
) -> Result<GenerateBench, GenerateError> {
    let vocab_size = model.head().dims()[0];
    let prompts: Vec<Vec<u32>> = (0..rows)
        .map(|row| {
            (0..prompt)
                .map(|at| ((row * 7919 + at * 104_729) % vocab_size) as u32)
                .collect()
        })
        .collect();
    let settings = Generation {
        max_new_tokens: new.max(2),
        ..Generation::default()
    };
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let begin = Instant::now();
        let mut first = None;
        generate(model, &prompts, &settings, |_, _| {
            first.get_or_insert_with(|| begin.elapsed());
            ControlFlow::Continue(())
        })?;
        let all = begin.elapsed().as_secs_f64();
        let first = first.unwrap_or_default().as_secs_f64();
        if round > 0 || rounds == 0 {
            prefill.push((rows * prompt) as f64 / first);
            decode.push((rows * (settings.max_new_tokens - 1)) as f64 / (all - first));
        }
    }
    Ok(GenerateBench {
        rows,
        prompt,
        new: settings.max_new_tokens,
        prefill_tokens_per_second: median(prefill),
        decode_tokens_per_second: median(decode),
        peak_megabytes: peak_memory().map(|bytes| bytes as f64 / 1e6),
        device_megabytes: device_memory(&model.head().device()).map(|memory| memory.tensors as f64 / 1e6),
    })
}

/// The middle of some measurements; 0 of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

//! Text from a model, one token at a time, for several prompts at once.

use std::ops::ControlFlow;

use burn::tensor::{Int, Tensor};
use smollm3_kernels::{linear, upload};

use crate::{Cache, GenerateError, Sampling, SmolLm3};

/// How a prompt is continued.
#[derive(Debug, Clone, Default)]
pub struct Generation {
    /// Stop after this many new tokens.
    pub max_new_tokens: usize,
    /// Stop after one of these; it is part of the result.
    pub stop: Vec<u32>,
    /// How each token is chosen.
    pub sampling: Sampling,
}

/// Tokens of a prompt that are computed at once: memory is linear in the prompt, not square.
const CHUNK: usize = 512;

/// The same over all prompts: what lies between the layers does not grow with their number.
const CHUNK_OF_ALL: usize = 4096;

/// Continuations of `prompts`, all at once; `on_token` sees each new token with its prompt's index as it is found, and
/// ends that row by [`ControlFlow::Break`]. A row also ends at the model's context.
///
/// # Errors
/// A prompt is empty, longer than the context, or has a token outside the vocabulary; or the model's scores are NaN.
pub fn generate(
    model: &SmolLm3,
    prompts: &[Vec<u32>],
    settings: &Generation,
    on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<Vec<u32>>, GenerateError> {
    generate_streams(model, prompts, &[], settings, on_token)
}

/// The same with a stream of random numbers named for each prompt ([`Sampling::rng`]), so that what is drawn for a
/// prompt does not depend on its place; beyond the streams given, a prompt's place is its stream.
///
/// # Errors
/// As [`generate`].
pub fn generate_streams(
    model: &SmolLm3,
    prompts: &[Vec<u32>],
    streams: &[u64],
    settings: &Generation,
    mut on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<Vec<u32>>, GenerateError> {
    generate_with_scores(model, prompts, streams, settings, |row, token, _| {
        on_token(row, token)
    })
}

/// [`generate_streams`] whose `on_token` also sees the scores that the token was chosen from, one for each entry of the
/// vocabulary.
///
/// # Errors
/// As [`generate`].
pub fn generate_with_scores(
    model: &SmolLm3,
    prompts: &[Vec<u32>],
    streams: &[u64],
    settings: &Generation,
    mut on_token: impl FnMut(usize, u32, &[f32]) -> ControlFlow<()>,
) -> Result<Vec<Vec<u32>>, GenerateError> {
    let context = model.max_positions();
    for prompt in prompts {
        check_prompt(prompt, model.head().dims()[0], context)?;
    }
    let batch = prompts.len();
    if batch == 0 || settings.max_new_tokens == 0 {
        return Ok(vec![Vec::new(); batch]);
    }
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let starts: Vec<usize> = prompts.iter().map(|prompt| longest - prompt.len()).collect();
    // The last new token is not read.
    let most = longest.saturating_add(settings.max_new_tokens).saturating_sub(1);
    let mut cache = Cache::new(model.layers(), starts.clone()).with_most(most.min(context));
    let device = model.head().device();
    let tensor = |ids: Vec<i32>| -> Tensor<2, Int> {
        let seq = ids.len() / batch;
        upload(ids, &device).reshape([batch, seq])
    };

    let stream = |row: usize| streams.get(row).copied().unwrap_or(row as u64);
    let mut rngs: Vec<_> = (0..batch).map(|row| settings.sampling.rng(stream(row))).collect();
    let mut new: Vec<Vec<u32>> = vec![Vec::new(); batch];
    let mut ended = vec![false; batch];
    let mut hidden = None;
    let chunk = (CHUNK_OF_ALL / batch).clamp(1, CHUNK);
    for begin in (0..longest).step_by(chunk) {
        let end = longest.min(begin + chunk);
        // Padding is token 0, which no other token sees.
        let id = |row: usize, at: usize| {
            at.checked_sub(starts[row])
                .map_or(0, |at| prompts[row][at] as i32)
        };
        let ids = (0..batch)
            .flat_map(|row| (begin..end).map(move |at| (row, at)))
            .map(|(row, at)| id(row, at))
            .collect();
        hidden = Some(model.extend(tensor(ids), &mut cache));
    }
    while let Some(states) = hidden.take() {
        let [_, seq, width] = states.dims();
        let last = states.narrow(1, seq - 1, 1).reshape([batch, width]);
        let scores: Vec<f32> = linear(last, model.head()).into_data().iter().collect();
        let vocab_size = scores.len() / batch;
        let mut next = vec![0; batch];
        for (row, scores) in scores.chunks(vocab_size).enumerate() {
            if ended[row] {
                continue;
            }
            let seen: Vec<u32> = prompts[row].iter().chain(&new[row]).copied().collect();
            let token = settings.sampling.choose(scores, &seen, &mut rngs[row])?;
            next[row] = token as i32;
            new[row].push(token);
            ended[row] = on_token(row, token, scores).is_break()
                || settings.stop.contains(&token)
                || new[row].len() >= settings.max_new_tokens
                || prompts[row].len() + new[row].len() > context;
        }
        if !ended.iter().all(|ended| *ended) {
            hidden = Some(model.extend(tensor(next), &mut cache));
        }
    }
    Ok(new)
}

/// Whether a model with `vocab_size` tokens and `context` positions can read `prompt`.
///
/// # Errors
/// It is empty, longer than the context, or has a token outside the vocabulary.
pub fn check_prompt(prompt: &[u32], vocab_size: usize, context: usize) -> Result<(), GenerateError> {
    if prompt.is_empty() {
        return Err(GenerateError::EmptyPrompt);
    }
    if let Some(&id) = prompt.iter().find(|id| **id as usize >= vocab_size) {
        return Err(GenerateError::Vocabulary { id, vocab_size });
    }
    if prompt.len() > context {
        return Err(GenerateError::Context {
            prompt: prompt.len(),
            context,
        });
    }
    Ok(())
}

//! How probable texts are, token by token.
//!
//! Texts are packed as documents of one row, so that many short ones cost as much as one long one, and scores over the
//! vocabulary exist for a block of positions at a time: with all of them, 8k tokens of a vocabulary of 128k would be 4 GB.

use std::ops::ControlFlow;

use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Device, IndexingUpdateOp, Int, Tensor};
use smollm3_kernels::{Documents, linear, upload};
use smollm3_model::{GenerateError, SmolLm3, check_prompt};

use crate::Result;

/// Tokens of a row that several texts share; a longer text has its own row.
const ROW: usize = 2048;

/// Scores that exist at once: 64 MB of `f32`, three times.
const SCORES: usize = 1 << 24;

/// How probable a token is after those before it.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenScore {
    /// ln p of the token.
    pub log_prob: f32,
    /// The most probable tokens in its place with their ln p, the most probable first.
    pub top: Vec<(u32, f32)>,
}

impl TokenScore {
    /// Of `token`, from the model's scores for its place; with the `top` most probable ones.
    pub fn of(token: u32, scores: &[f32], top: usize) -> Self {
        let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = scores.iter().map(|score| f64::from(*score - largest).exp()).sum();
        let norm = f64::from(largest) + sum.ln();
        let log_prob = |token: u32| {
            let score = scores.get(token as usize).copied();
            score.map_or(f32::NEG_INFINITY, |score| (f64::from(score) - norm) as f32)
        };
        let mut best: Vec<u32> = Vec::with_capacity(top + 1);
        for (candidate, score) in (0..).zip(scores) {
            let place = best.partition_point(|kept| scores[*kept as usize] >= *score);
            if place < top {
                best.insert(place, candidate);
                best.truncate(top);
            }
        }
        Self {
            log_prob: log_prob(token),
            top: best.into_iter().map(|token| (token, log_prob(token))).collect(),
        }
    }
}

/// A text's scores.
#[derive(Debug, Clone, PartialEq)]
pub struct TextScore {
    /// Of every token but the first, which nothing comes before.
    pub tokens: Vec<TokenScore>,
    /// The model's scores of what follows the text, one for each entry of the vocabulary.
    pub next: Vec<f32>,
}

/// Hands `on_text` the scores of each of `texts`, in order, with the `top` most probable tokens for each place;
/// [`ControlFlow::Break`] ends the work.
///
/// # Errors
/// A text is empty, longer than the context, or has a token outside the vocabulary; or the model's scores are NaN.
pub fn score(
    model: &SmolLm3,
    texts: &[Vec<u32>],
    top: usize,
    mut on_text: impl FnMut(usize, TextScore) -> ControlFlow<()>,
) -> Result<()> {
    let vocab_size = model.head().dims()[0];
    for text in texts {
        check_prompt(text, vocab_size, model.max_positions())?;
    }
    // The scores of what follows each text exist at once.
    let most = (SCORES / vocab_size).max(1);
    let mut from = 0;
    while let Some(first) = texts.get(from) {
        let mut tokens = first.len();
        let mut to = from + 1;
        while let Some(next) = texts.get(to)
            && tokens + next.len() <= ROW
            && to - from < most
        {
            tokens += next.len();
            to += 1;
        }
        for (index, scored) in (from..to).zip(score_row(model, &texts[from..to], top.min(vocab_size))?) {
            if on_text(index, scored).is_break() {
                return Ok(());
            }
        }
        from = to;
    }
    Ok(())
}

/// The scores of texts that share a row.
fn score_row(model: &SmolLm3, texts: &[Vec<u32>], top: usize) -> Result<Vec<TextScore>> {
    let device = model.head().device();
    let row: Vec<u32> = texts.concat();
    let ends: Vec<usize> = texts
        .iter()
        .scan(0, |end, text| {
            *end += text.len();
            Some(*end)
        })
        .collect();
    let starts = ends.iter().zip(texts).map(|(end, text)| end - text.len());
    let documents = Documents::new(vec![starts.collect()], row.len())?;
    let hidden = model.forward(integers(&row, &device).unsqueeze(), &documents);
    let hidden = hidden.squeeze_dim::<2>(0); // [tokens, hidden]

    let vocab_size = model.head().dims()[0];
    let mut places = Vec::with_capacity(row.len());
    let mut next = Vec::with_capacity(texts.len());
    for begin in (0..row.len()).step_by((SCORES / vocab_size).max(1)) {
        let block = begin..row.len().min(begin + (SCORES / vocab_size).max(1));
        // The row's last token has no next one; that place is not read.
        let follows: Vec<u32> = block
            .clone()
            .map(|at| row.get(at + 1).copied().unwrap_or(0))
            .collect();
        let scores = linear(hidden.clone().narrow(0, begin, block.len()), model.head()).cast(DType::F32);
        let last: Vec<u32> = ends
            .iter()
            .filter(|end| block.contains(&(**end - 1)))
            .map(|end| (end - 1 - begin) as u32)
            .collect();
        if !last.is_empty() {
            let scores: Vec<f32> = scores
                .clone()
                .select(0, integers(&last, &device))
                .into_data()
                .iter()
                .collect();
            next.extend(scores.chunks(vocab_size).map(<[f32]>::to_vec));
        }
        places.extend(block_scores(scores, &follows, top));
    }
    if places.iter().any(|place: &TokenScore| place.log_prob.is_nan()) {
        return Err(GenerateError::NotFinite.into());
    }
    let mut places = places.into_iter();
    Ok(texts
        .iter()
        .zip(next)
        .map(|(text, next)| {
            let mut tokens: Vec<TokenScore> = places.by_ref().take(text.len()).collect();
            tokens.truncate(text.len() - 1);
            TextScore { tokens, next }
        })
        .collect())
}

/// The scores of `follows` at each place of `[places, vocab_size]`.
fn block_scores(scores: Tensor<2>, follows: &[u32], top: usize) -> Vec<TokenScore> {
    let device = scores.device();
    let places = follows.len();
    let mut log_probs = log_softmax(scores, 1);
    let follows = integers(follows, &device).reshape([places, 1]);
    let chosen: Vec<f32> = log_probs.clone().gather(1, follows).into_data().iter().collect();
    let mut found: Vec<TokenScore> = chosen
        .into_iter()
        .map(|log_prob| TokenScore {
            log_prob,
            top: Vec::with_capacity(top),
        })
        .collect();
    // Few are asked for, so a pass for each is less than sorting the vocabulary.
    for round in 0..top {
        let (best, tokens) = log_probs.clone().max_dim_with_indices(1);
        let values: Vec<f32> = best.into_data().iter().collect();
        let ids: Vec<u32> = tokens.clone().into_data().iter().collect();
        for (place, best) in found.iter_mut().zip(ids.into_iter().zip(values)) {
            place.top.push(best);
        }
        if round + 1 < top {
            let out = Tensor::full([places, 1], f32::NEG_INFINITY, &device);
            log_probs = log_probs.scatter(1, tokens, out, IndexingUpdateOp::Add);
        }
    }
    found
}

fn integers(ids: &[u32], device: &Device) -> Tensor<1, Int> {
    upload(ids.iter().map(|id| *id as i32).collect(), device)
}

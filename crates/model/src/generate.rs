//! Text from a model, one token at a time.

use burn::tensor::{Int, Tensor, TensorData};
use smollm3_kernels::{Documents, linear};

use crate::SmolLm3;

/// A prompt cannot be continued.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// Nothing to continue.
    #[error("the prompt is empty; give at least one token")]
    EmptyPrompt,
    /// A token that the model has no row for.
    #[error(
        "token {id} is outside the model's vocabulary of {vocab_size}; is this the model's own tokenizer?"
    )]
    Vocabulary {
        /// The token.
        id: u32,
        /// Rows of the embedding.
        vocab_size: usize,
    },
    /// More tokens than the model has positions for.
    #[error("the prompt has {prompt} tokens, but the model's context is {context}; shorten the prompt")]
    Context {
        /// Tokens of the prompt.
        prompt: usize,
        /// Longest row.
        context: usize,
    },
}

/// Limits of one continuation.
#[derive(Debug, Clone)]
pub struct Generation {
    /// Stop after this many new tokens.
    pub max_new_tokens: usize,
    /// Stop after one of these; it is part of the result.
    pub stop: Vec<u32>,
}

/// The most probable continuation of `prompt`; `on_token` sees each new token as it is found.
///
/// The row is recomputed for every token: quadratic in its length, and exact.
///
/// # Errors
/// The prompt is empty, longer than the context, or has a token outside the vocabulary.
pub fn greedy(
    model: &SmolLm3,
    prompt: &[u32],
    limits: &Generation,
    mut on_token: impl FnMut(u32),
) -> Result<Vec<u32>, GenerateError> {
    let vocab_size = model.head().dims()[0];
    let context = model.max_positions();
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
    let device = model.head().device();
    let mut row = prompt.to_vec();
    let mut new = Vec::new();
    while new.len() < limits.max_new_tokens && row.len() <= context {
        let length = row.len();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(row.clone(), [1, length]), &device);
        let hidden = model.forward(ids, &Documents::whole_rows(1, length));
        let width = hidden.dims()[2];
        let last = hidden.narrow(1, length - 1, 1).reshape([1, width]);
        let scores = linear(last, model.head()); // [1, vocab_size]
        let token: i64 = scores.argmax(1).into_scalar();
        let token = token as u32;
        row.push(token);
        new.push(token);
        on_token(token);
        if limits.stop.contains(&token) {
            break;
        }
    }
    Ok(new)
}

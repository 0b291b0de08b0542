//! Why text cannot be generated.

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
    #[error(
        "the prompt has {prompt} tokens, but the model's context is {context}; shorten it, or stretch the context by `smollm3 export --context`"
    )]
    Context {
        /// Tokens of the prompt.
        prompt: usize,
        /// Longest row.
        context: usize,
    },
    /// Scores that are no probabilities.
    #[error(
        "the model's scores of the next token are NaN or infinite: its weights are damaged, or its numbers overflow in this precision; try f32, or an earlier checkpoint"
    )]
    NotFinite,
}

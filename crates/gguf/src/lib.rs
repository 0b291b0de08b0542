//! Converts a Hugging Face checkpoint to one GGUF file for llama.cpp and tools built on it: architecture, weights,
//! tokenizer and chat template.
//!
//! What llama.cpp would compute differently is refused by name, because a slightly wrong model is worse than none: layers
//! without RoPE other than every fourth, biases in a SmolLM3, a different pre-tokenizer.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Names of keys and tensors: llama.cpp's
//! `gguf-py/gguf/constants.py`.

mod architecture;
mod blocks;
mod error;
mod export;
mod file;
mod tensors;
mod vocabulary;

pub use blocks::Precision;
pub use error::GgufError;
pub use export::export;

/// Results of this crate.
pub type Result<T, E = GgufError> = std::result::Result<T, E>;

//! Writes a Hugging Face checkpoint as one GGUF file, which llama.cpp and what is built on it read: architecture,
//! weights, tokenizer and chat template.
//!
//! What llama.cpp would compute differently is refused by name, because a model that answers a little wrong is worse than
//! none: other layers without RoPE than every fourth, biases in a SmolLM3, a tokenizer that it splits otherwise.
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

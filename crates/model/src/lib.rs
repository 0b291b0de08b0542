//! The SmolLM3 model as Burn modules whose fields are named as the checkpoint names its tensors.
//!
//! [`SmolLm3`] is built from any [`Parameters`]: random initialisation ([`Init`]) or a Hugging Face folder
//! ([`hf`]). It also runs Llama-family checkpoints (RoPE in every layer), SmolLM2 among them.

mod adapter;
mod attention;
pub mod bench;
mod block;
mod cache;
mod generate;
mod generate_error;
pub mod hf;
mod init;
mod linear;
mod lora;
mod model;
mod parameters;
mod rope;
mod row_context;
mod sampling;

pub use adapter::Adapter;
pub use attention::Attention;
pub use block::{Block, Mlp, RmsNorm};
pub use cache::Cache;
pub use generate::{Generation, check_prompt, generate, generate_streams, generate_with_scores};
pub use generate_error::GenerateError;
pub use init::{DeviceInit, Init};
pub use linear::{Embedding, Linear};
pub use lora::FreshAdapters;
pub use model::{Backbone, SmolLm3};
pub use parameters::{
    MapParameters, NamedParameters, ParameterError, Parameters, Rounded, map_parameters, named_parameters,
};
pub use rope::{Rope, inverse_frequencies};
pub use row_context::RowContext;
pub use sampling::Sampling;
pub use smollm3_recipe::{ModelConfig, ModelType, Yarn};

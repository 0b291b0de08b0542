//! Hugging Face folders: `config.json` and safetensors, one file or sharded with an index.
//!
//! Files are memory-mapped: opening a checkpoint reads its headers only, and a tensor is read on first use.
//! Writing keeps one tensor in host memory at a time.

mod adapter;
mod checkpoint;
mod generation;
mod shard_error;
mod shards;
mod tensor_file;

pub use adapter::{AdapterFiles, MergedAdapter};
pub use checkpoint::{Checkpoint, CheckpointError, save, save_tensors, tensors};
pub use generation::{GenerationConfig, generation_json};
pub use shard_error::ShardError;
pub use shards::{NamedTensor, TensorFiles, Values, write_shards};
pub use smollm3_recipe::TOKENIZER_FILES;
pub use tensor_file::{FileDtype, to_f32};

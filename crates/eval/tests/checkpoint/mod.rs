//! A checkpoint with a tokenizer, on disk and opened.

#[path = "../../../inference/tests/damage/mod.rs"]
mod damage;
#[path = "../../../inference/tests/checkpoint/mod.rs"]
mod files;

use std::path::Path;

use burn::tensor::DType;
#[allow(unused_imports)]
pub use damage::damage;
pub use files::checkpoint;
use smollm3_inference::TextModel;
use smollm3_kernels::device;

/// Opens it on a backend.
pub fn open(folder: &Path, backend: &str) -> TextModel {
    TextModel::open(folder, DType::F32, &device(backend, None).unwrap()).unwrap()
}

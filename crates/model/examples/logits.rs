//! Writes the logits of a checkpoint for one row of token ids as little-endian `f32`, `[ids, vocab_size]`, to a file:
//! what `scripts/verify/export.py` compares with transformers.
//!
//! `cargo run -p smollm3-model --example logits -- CHECKPOINT OUT ID…`

use std::error::Error;
use std::path::Path;

use burn::tensor::{Int, Tensor, TensorData};
use smollm3_kernels::{Documents, compiled_backends, device};
use smollm3_model::hf::Checkpoint;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [checkpoint, out, ids @ ..] = arguments.as_slice() else {
        return Err("write CHECKPOINT OUT ID…".into());
    };
    let ids: Vec<i32> = ids.iter().map(|id| id.parse()).collect::<Result<_, _>>()?;
    let backend = std::env::var("BACKEND")
        .unwrap_or_else(|_| compiled_backends().first().unwrap_or(&"flex").to_string());
    let device = device(&backend, None)?;
    let model = Checkpoint::open(Path::new(checkpoint))?.model(&device)?;
    let seq = ids.len();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, seq]), &device);
    let logits = model.logits(ids, &Documents::whole_rows(1, seq));
    let bytes: Vec<u8> = logits
        .into_data()
        .iter::<f32>()
        .flat_map(f32::to_le_bytes)
        .collect();
    std::fs::write(out, bytes)?;
    Ok(())
}

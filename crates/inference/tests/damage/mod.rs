//! A checkpoint with one weight that is NaN.

// Each test file is a program of its own and uses what it needs.
#![allow(dead_code)]

use std::fs;
use std::path::Path;

/// Writes NaN over the first number of the embedding, which is also of the head, in the checkpoint in `folder`.
pub fn damage(folder: &Path) {
    let path = folder.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    // The length of the header, the header, and the tensors, which it gives the places of.
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let text = std::str::from_utf8(&bytes[8..8 + header]).unwrap();
    let (_, tensor) = text.split_once("\"model.embed_tokens.weight\":").unwrap();
    assert!(
        tensor[..tensor.find('}').unwrap()].contains("\"F32\""),
        "{tensor}"
    );
    let (_, offset) = tensor.split_once("\"data_offsets\":[").unwrap();
    let offset: usize = offset[..offset.find(',').unwrap()].parse().unwrap();
    bytes[8 + header + offset..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, bytes).unwrap();
}

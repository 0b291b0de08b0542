//! The container: a header of named values and tensors, then the tensors' bytes, each at a multiple of 32.

use std::io::{self, Write};

use crate::blocks::TensorType;

/// What tensors begin at a multiple of; the format's default.
pub(crate) const ALIGNMENT: u64 = 32;

/// A value of the header.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    Integers(Vec<i32>),
    Texts(Vec<String>),
}

/// A tensor of the header.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TensorInfo {
    pub(crate) name: String,
    /// Row-major, as in PyTorch; the file has it the other way round.
    pub(crate) shape: Vec<usize>,
    pub(crate) kind: TensorType,
}

impl TensorInfo {
    /// Its bytes, without what is filled up behind it.
    pub(crate) fn bytes(&self) -> u64 {
        self.kind
            .bytes(self.shape.iter().map(|size| *size as u64).product())
    }
}

/// Zeros from `bytes` up to where the next tensor begins.
pub(crate) fn padding(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGNMENT) - bytes
}

/// Writes everything before the tensors' bytes.
pub(crate) fn write_header(
    out: &mut impl Write,
    values: &[(String, Value)],
    tensors: &[TensorInfo],
) -> io::Result<()> {
    let mut header = Vec::new();
    header.extend(b"GGUF");
    header.extend(3_u32.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend((values.len() as u64).to_le_bytes());
    for (key, value) in values {
        put_text(&mut header, key);
        put_value(&mut header, value);
    }
    let mut offset = 0_u64;
    for tensor in tensors {
        put_text(&mut header, &tensor.name);
        header.extend((tensor.shape.len() as u32).to_le_bytes());
        for size in tensor.shape.iter().rev() {
            header.extend((*size as u64).to_le_bytes());
        }
        header.extend((tensor.kind as u32).to_le_bytes());
        header.extend(offset.to_le_bytes());
        offset = (offset + tensor.bytes()).next_multiple_of(ALIGNMENT);
    }
    header.resize(header.len().next_multiple_of(ALIGNMENT as usize), 0);
    out.write_all(&header)
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// The format's number of a value's type, and the value.
fn put_value(out: &mut Vec<u8>, value: &Value) {
    let [u32_type, i32_type, f32_type, bool_type, text_type, array_type] = [4_u32, 5, 6, 7, 8, 9];
    match value {
        Value::U32(number) => {
            out.extend(u32_type.to_le_bytes());
            out.extend(number.to_le_bytes());
        }
        Value::F32(number) => {
            out.extend(f32_type.to_le_bytes());
            out.extend(number.to_le_bytes());
        }
        Value::Bool(flag) => {
            out.extend(bool_type.to_le_bytes());
            out.push(u8::from(*flag));
        }
        Value::Text(text) => {
            out.extend(text_type.to_le_bytes());
            put_text(out, text);
        }
        Value::Integers(numbers) => {
            out.extend(array_type.to_le_bytes());
            out.extend(i32_type.to_le_bytes());
            out.extend((numbers.len() as u64).to_le_bytes());
            out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        }
        Value::Texts(texts) => {
            out.extend(array_type.to_le_bytes());
            out.extend(text_type.to_le_bytes());
            out.extend((texts.len() as u64).to_le_bytes());
            texts.iter().for_each(|text| put_text(out, text));
        }
    }
}

//! The file format: a header of keys and tensors, then the tensors' bytes, each at a multiple of 32.

use crate::blocks::TensorType;

/// The alignment of tensors; the format's default.
pub(crate) const ALIGNMENT: u64 = 32;

/// The value of a key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    Integers(Vec<i32>),
    Texts(Vec<String>),
}

/// A tensor in the header.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TensorInfo {
    pub(crate) name: String,
    /// Row-major, as in PyTorch; the file has the reverse order.
    pub(crate) shape: Vec<usize>,
    pub(crate) kind: TensorType,
}

impl TensorInfo {
    /// Its size without padding.
    pub(crate) fn bytes(&self) -> u64 {
        self.kind
            .bytes(self.shape.iter().map(|size| *size as u64).product())
    }
}

/// Number of zeros between `bytes` and the next tensor.
pub(crate) fn padding(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGNMENT) - bytes
}

/// The keys of `values`, each after `prefix` and a dot.
pub(crate) fn prefixed<'a>(
    prefix: &str,
    values: impl IntoIterator<Item = (&'a str, Value)>,
) -> Vec<(String, Value)> {
    let named = |(key, value)| (format!("{prefix}.{key}"), value);
    values.into_iter().map(named).collect()
}

/// Everything before the tensors' bytes.
pub(crate) fn header(values: &[(String, Value)], tensors: &[TensorInfo]) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(b"GGUF");
    header.extend(3_u32.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend((values.len() as u64).to_le_bytes());
    for (key, value) in values {
        header.extend(text(key));
        header.extend(typed(value));
    }
    let mut offset = 0_u64;
    for tensor in tensors {
        header.extend(text(&tensor.name));
        header.extend((tensor.shape.len() as u32).to_le_bytes());
        for size in tensor.shape.iter().rev() {
            header.extend((*size as u64).to_le_bytes());
        }
        header.extend((tensor.kind as u32).to_le_bytes());
        header.extend(offset.to_le_bytes());
        offset = (offset + tensor.bytes()).next_multiple_of(ALIGNMENT);
    }
    header.resize(header.len().next_multiple_of(ALIGNMENT as usize), 0);
    header
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// The format's number of a value's type, and the value.
fn typed(value: &Value) -> Vec<u8> {
    let [u32_type, i32_type, f32_type, bool_type, text_type, array_type] = [4_u32, 5, 6, 7, 8, 9];
    let array = |kind: u32, length: usize, items: Vec<u8>| {
        [&kind.to_le_bytes()[..], &(length as u64).to_le_bytes(), &items].concat()
    };
    let (kind, bytes) = match value {
        Value::U32(number) => (u32_type, number.to_le_bytes().to_vec()),
        Value::F32(number) => (f32_type, number.to_le_bytes().to_vec()),
        Value::Bool(flag) => (bool_type, vec![u8::from(*flag)]),
        Value::Text(value) => (text_type, text(value)),
        Value::Integers(numbers) => {
            let items = numbers.iter().flat_map(|number| number.to_le_bytes());
            (array_type, array(i32_type, numbers.len(), items.collect()))
        }
        Value::Texts(texts) => {
            let items = texts.iter().flat_map(|item| text(item));
            (array_type, array(text_type, texts.len(), items.collect()))
        }
    };
    [kind.to_le_bytes().as_slice(), &bytes].concat()
}

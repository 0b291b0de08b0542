//! A GGUF reader after the specification, independent of the writer.

use std::collections::HashMap;

use half::f16;

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Whole numbers and flags.
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

pub struct Tensor {
    /// The fastest dimension first.
    pub shape: Vec<u64>,
    pub kind: u32,
    pub values: Vec<f32>,
}

pub struct Gguf {
    pub values: HashMap<String, Value>,
    pub tensors: HashMap<String, Tensor>,
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let taken = self.bytes[self.at..self.at + N].try_into().unwrap();
        self.at += N;
        taken
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn text(&mut self) -> String {
        let length = self.u64() as usize;
        let text = self.bytes[self.at..self.at + length].to_vec();
        self.at += length;
        String::from_utf8(text).unwrap()
    }

    fn value(&mut self, kind: u32) -> Value {
        match kind {
            4 => Value::Integer(i64::from(self.u32())),
            5 => Value::Integer(i64::from(i32::from_le_bytes(self.take()))),
            6 => Value::Float(f64::from(f32::from_le_bytes(self.take()))),
            7 => Value::Integer(i64::from(self.take::<1>()[0])),
            8 => Value::Text(self.text()),
            9 => {
                let (kind, length) = (self.u32(), self.u64());
                Value::List((0..length).map(|_| self.value(kind)).collect())
            }
            other => panic!("value of type {other}"),
        }
    }
}

impl Gguf {
    pub fn read(bytes: &[u8]) -> Self {
        let mut cursor = Cursor { bytes, at: 0 };
        assert_eq!(&cursor.take::<4>(), b"GGUF");
        assert_eq!(cursor.u32(), 3);
        let (tensors, values) = (cursor.u64(), cursor.u64());
        let values = (0..values).map(|_| {
            let key = cursor.text();
            let kind = cursor.u32();
            (key, cursor.value(kind))
        });
        let values = values.collect();
        let infos: Vec<(String, Vec<u64>, u32, u64)> = (0..tensors)
            .map(|_| {
                let name = cursor.text();
                let dims = cursor.u32();
                let shape = (0..dims).map(|_| cursor.u64()).collect();
                (name, shape, cursor.u32(), cursor.u64())
            })
            .collect();
        let data = cursor.at.next_multiple_of(32);
        let mut end = data;
        let tensors = infos
            .into_iter()
            .map(|(name, shape, kind, offset)| {
                assert!(offset.is_multiple_of(32));
                let start = data + offset as usize;
                assert!(start >= end, "{name} overlaps the one before");
                let numbers = shape.iter().product::<u64>() as usize;
                let (values, length) = decode(&bytes[start..], kind, numbers);
                end = start + length;
                (name, Tensor { shape, kind, values })
            })
            .collect();
        assert_eq!(bytes.len(), end.next_multiple_of(32));
        Self { values, tensors }
    }
}

fn decode(bytes: &[u8], kind: u32, numbers: usize) -> (Vec<f32>, usize) {
    let half = |bytes: &[u8]| f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
    match kind {
        0 => {
            let bytes = &bytes[..4 * numbers];
            let values = bytes
                .chunks(4)
                .map(|four| f32::from_le_bytes(four.try_into().unwrap()));
            (values.collect(), bytes.len())
        }
        1 => {
            let bytes = &bytes[..2 * numbers];
            (bytes.chunks(2).map(half).collect(), bytes.len())
        }
        8 => {
            let bytes = &bytes[..numbers / 32 * 34];
            let block = |block: &[u8]| {
                let scale = half(block);
                block[2..]
                    .iter()
                    .map(|byte| scale * f32::from(*byte as i8))
                    .collect::<Vec<_>>()
            };
            (bytes.chunks(34).flat_map(block).collect(), bytes.len())
        }
        other => panic!("tensor of type {other}"),
    }
}

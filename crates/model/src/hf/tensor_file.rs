//! One safetensors file, memory-mapped, and the float formats that it may hold.

use std::fs::File;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo};

use super::ShardError;

/// A float format on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FileDtype {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits with the exponent of `f32`.
    Bf16,
    /// 16 bits, IEEE half precision.
    F16,
}

impl FileDtype {
    /// The name that `config.json` uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::Bf16 => "bfloat16",
            Self::F16 => "float16",
        }
    }

    /// The name that safetensors uses.
    pub fn safetensors(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::BF16,
            Self::F16 => Dtype::F16,
        }
    }

    /// Bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// Little-endian bytes of `values`, rounded to nearest even.
    pub fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::Bf16 => values
                .iter()
                .flat_map(|value| bf16::from_f32(*value).to_le_bytes())
                .collect(),
            Self::F16 => values
                .iter()
                .flat_map(|value| f16::from_f32(*value).to_le_bytes())
                .collect(),
        }
    }
}

/// `f32` values of little-endian bytes, or the name of a format that holds no floats this project reads.
///
/// # Errors
/// `dtype` is not F32, BF16, F16 or F64; the error is its name.
pub fn to_f32(dtype: Dtype, bytes: &[u8]) -> Result<Vec<f32>, String> {
    fn each<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes
            .as_chunks::<N>()
            .0
            .iter()
            .map(|chunk| value(*chunk))
            .collect()
    }
    match dtype {
        Dtype::F32 => Ok(each(bytes, f32::from_le_bytes)),
        Dtype::BF16 => Ok(each(bytes, |chunk| bf16::from_le_bytes(chunk).to_f32())),
        Dtype::F16 => Ok(each(bytes, |chunk| f16::from_le_bytes(chunk).to_f32())),
        Dtype::F64 => Ok(each(bytes, |chunk| f64::from_le_bytes(chunk) as f32)),
        other => Err(format!("{other:?}")),
    }
}

/// A mapped safetensors file whose header has been checked against its length.
#[derive(Debug)]
pub(super) struct TensorFile {
    path: PathBuf,
    map: Mmap,
    metadata: Metadata,
    data_start: usize,
}

impl TensorFile {
    pub(super) fn open(path: &Path) -> Result<Self, ShardError> {
        let read = |source| ShardError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(read)?;
        // SAFETY: the map is private to this process and read-only; a file that another process truncates while
        // it is mapped raises SIGBUS, which is the price every memory-mapped reader of checkpoints pays.
        let map = unsafe { Mmap::map(&file) }.map_err(read)?;
        let (header, metadata) = SafeTensors::read_metadata(&map).map_err(|error| ShardError::Format {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        Ok(Self {
            path: path.to_owned(),
            map,
            metadata,
            data_start: header + size_of::<u64>(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.metadata.tensors().into_keys().collect()
    }

    /// Header entry and bytes of a tensor.
    pub(super) fn tensor(&self, name: &str) -> Option<(&TensorInfo, &[u8])> {
        let info = self.metadata.info(name)?;
        let (start, end) = info.data_offsets;
        Some((
            info,
            self.map.get(self.data_start + start..self.data_start + end)?,
        ))
    }

    /// Where the bytes of a tensor begin in the file.
    pub(super) fn offset(&self, name: &str) -> Option<u64> {
        let (start, _) = self.metadata.info(name)?.data_offsets;
        Some((self.data_start + start) as u64)
    }
}

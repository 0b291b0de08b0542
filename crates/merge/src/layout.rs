//! Where every tensor of the result goes, known before the first byte is written.
//!
//! Files and names are transformers': tensors in the model's order fill files of at most `shard_bytes`; inside a file
//! they lie by width of their format, then by name, as safetensors sorts them. Parents saved by transformers lie the
//! same way, so that reading and writing both go through files from front to back.

use std::collections::BTreeMap;
use std::path::PathBuf;

use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::json;
use smollm3_model::hf::FileDtype;

use crate::{MergeError, Result};

/// A tensor of the result.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Its name.
    pub name: String,
    /// Its number in the architecture's order.
    pub number: usize,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its format.
    pub dtype: FileDtype,
    /// The file it goes to.
    pub file: usize,
    /// Where in the file.
    pub offset: u64,
}

impl Target {
    /// Numbers in it.
    pub fn elements(&self) -> u64 {
        self.shape.iter().map(|size| *size as u64).product()
    }

    /// Bytes of it.
    pub fn bytes(&self) -> u64 {
        self.elements() * self.dtype.bytes() as u64
    }

    /// Place of an element, one number a dimension.
    pub fn index(&self, element: u64) -> Vec<u64> {
        let mut rest = element;
        let mut index = vec![0; self.shape.len()];
        for (place, size) in index.iter_mut().zip(&self.shape).rev() {
            let size = (*size as u64).max(1);
            (*place, rest) = (rest % size, rest / size);
        }
        index
    }
}

/// A file of the result.
#[derive(Debug)]
pub(crate) struct Shard {
    /// Its name.
    pub name: String,
    /// Length and header, everything before the first tensor.
    pub header: Vec<u8>,
    /// Bytes of the whole file.
    pub bytes: u64,
}

/// All tensors and files of the result.
#[derive(Debug)]
pub(crate) struct Layout {
    /// In the order in which they lie.
    pub targets: Vec<Target>,
    /// The files.
    pub shards: Vec<Shard>,
}

impl Layout {
    /// Spreads tensors, given in the model's order, over files.
    ///
    /// # Errors
    /// The header cannot be made, which the shapes of an opened checkpoint do not lead to.
    pub fn new(tensors: Vec<(String, Vec<usize>, FileDtype)>, shard_bytes: u64) -> Result<Self> {
        let mut files: Vec<Vec<Target>> = vec![Vec::new()];
        let mut filled = 0;
        for (number, (name, shape, dtype)) in tensors.into_iter().enumerate() {
            let mut target = Target {
                name,
                number,
                shape,
                dtype,
                file: 0,
                offset: 0,
            };
            if filled > 0 && filled + target.bytes() > shard_bytes {
                files.push(Vec::new());
                filled = 0;
            }
            filled += target.bytes();
            target.file = files.len() - 1;
            if let Some(file) = files.last_mut() {
                file.push(target);
            }
        }
        let count = files.len();
        let mut layout = Self {
            targets: Vec::new(),
            shards: Vec::new(),
        };
        for (number, mut targets) in files.into_iter().enumerate() {
            let name = match count {
                1 => "model.safetensors".to_owned(),
                _ => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
            };
            targets.sort_by(|a, b| {
                let width = |target: &Target| target.dtype.safetensors();
                width(b).cmp(&width(a)).then_with(|| a.name.cmp(&b.name))
            });
            let header = header(&mut targets)
                .map_err(|error| MergeError::Content(PathBuf::from(&name), error.to_string()))?;
            let bytes = header.len() as u64 + targets.iter().map(Target::bytes).sum::<u64>();
            layout.shards.push(Shard { name, header, bytes });
            layout.targets.extend(targets);
        }
        Ok(layout)
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        self.targets.iter().map(Target::bytes).sum()
    }

    /// `model.safetensors.index.json`, which a single file does without.
    pub fn index(&self) -> Option<String> {
        if self.shards.len() < 2 {
            return None;
        }
        let file = |target: &Target| self.shards.get(target.file).map(|shard| shard.name.as_str());
        let map: BTreeMap<&str, &str> = self
            .targets
            .iter()
            .filter_map(|target| Some((target.name.as_str(), file(target)?)))
            .collect();
        let index = json!({ "metadata": { "total_size": self.bytes() }, "weight_map": map });
        Some(format!("{index:#}\n"))
    }
}

/// The header of a file, padded to eight bytes; the targets get their offsets.
fn header(targets: &mut [Target]) -> std::result::Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut end = 0;
    let infos = targets.iter().map(|target| {
        let start = end;
        end += target.bytes() as usize;
        let info = TensorInfo {
            dtype: target.dtype.safetensors(),
            shape: target.shape.clone(),
            data_offsets: (start, end),
        };
        (target.name.clone(), info)
    });
    let format = [("format".to_owned(), "pt".to_owned())].into_iter().collect();
    let metadata = Metadata::new(Some(format), infos.collect())?;
    let mut json = serde_json::to_vec(&metadata)?;
    json.resize(json.len().next_multiple_of(size_of::<u64>()), b' ');
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.append(&mut json);
    let mut offset = header.len() as u64;
    for target in targets {
        target.offset = offset;
        offset += target.bytes();
    }
    Ok(header)
}

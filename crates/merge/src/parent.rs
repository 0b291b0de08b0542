//! A checkpoint to merge: opened, checked against its own `config.json`, ready to be read in parts.

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::Dtype;
use smollm3_files::io;
use smollm3_model::ModelConfig;
use smollm3_model::hf::Checkpoint;

use crate::fingerprint::Fingerprint;
use crate::positioned::window;
use crate::{MergeError, Result};

/// Files besides the weights that define a parent.
const HASHED: [&str; 3] = ["config.json", "model.safetensors.index.json", "tokenizer.json"];

/// An opened parent.
#[derive(Debug)]
pub(crate) struct Parent {
    /// Its folder as given.
    pub folder: PathBuf,
    /// Its architecture.
    pub config: ModelConfig,
    files: Vec<(PathBuf, File)>,
    places: Vec<TensorLocation>,
}

/// Where a tensor of the architecture is.
#[derive(Debug, Clone, Copy)]
struct TensorLocation {
    file: usize,
    offset: u64,
    format: Dtype,
}

impl Parent {
    /// Reads headers only.
    ///
    /// # Errors
    /// The folder or a file does not exist or is damaged, or a tensor is missing, superfluous, of another shape than in
    /// `config.json`, or does not hold floats.
    pub fn open(folder: &Path) -> Result<Self> {
        if !folder.is_dir() {
            return Err(MergeError::ParentMissing(folder.to_owned()));
        }
        let Checkpoint { config, tensors } = Checkpoint::open(folder)?;
        let mut files: Vec<(PathBuf, File)> = Vec::new();
        let mut places = Vec::new();
        for (name, _) in config.parameter_shapes() {
            // Opening the checkpoint has found every one of them.
            let (Some((info, _)), Some((path, offset))) = (tensors.get(&name), tensors.location(&name))
            else {
                continue;
            };
            if !matches!(info.dtype, Dtype::F32 | Dtype::BF16 | Dtype::F16 | Dtype::F64) {
                return Err(MergeError::Format {
                    folder: folder.to_owned(),
                    tensor: name,
                    format: info.dtype.to_string(),
                });
            }
            let file = match files.iter().position(|(known, _)| known == path) {
                Some(file) => file,
                None => {
                    files.push((path.to_owned(), File::open(path).map_err(io("read", path))?));
                    files.len() - 1
                }
            };
            places.push(TensorLocation {
                file,
                offset,
                format: info.dtype,
            });
        }
        Ok(Self {
            folder: folder.to_owned(),
            config,
            files,
            places,
        })
    }

    /// Format of a tensor, by its number in the architecture's order.
    pub fn format(&self, tensor: usize) -> Option<Dtype> {
        self.places.get(tensor).map(|place| place.format)
    }

    /// The bytes of `count` numbers of a tensor from number `start` on, and their format.
    ///
    /// # Errors
    /// The system cannot map the file.
    pub fn window(&self, tensor: usize, start: u64, count: usize) -> Result<(Dtype, Mmap)> {
        let place = self.places.get(tensor);
        let Some((place, (path, file))) = place.and_then(|place| Some((place, self.files.get(place.file)?)))
        else {
            unreachable!("a tensor has a place once the parent is open");
        };
        let width = place.format.bitsize() / 8;
        let map = window(file, place.offset + start * width as u64, count * width);
        Ok((place.format, map.map_err(io("read", path))?))
    }

    /// The files that make this parent what it is, to be hashed.
    ///
    /// # Errors
    /// A file no longer exists.
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        let others = HASHED.iter().map(|name| self.folder.join(name));
        let mut paths: Vec<PathBuf> = self.files.iter().map(|(path, _)| path.clone()).collect();
        paths.extend(others.filter(|path| path.is_file()));
        Fingerprint::new(paths)
    }
}

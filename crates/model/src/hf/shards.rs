//! Named tensors spread over safetensors files, with or without an index: model weights and optimizer state alike.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use safetensors::tensor::{Dtype, TensorInfo, View, serialize_to_file};
use serde_json::{Value, json};

use super::ShardError;
use super::tensor_file::{FileDtype, TensorFile, to_f32};
use crate::{ParameterError, Parameters};

/// All tensors `{stem}*.safetensors` of a folder.
#[derive(Debug)]
pub struct TensorFiles {
    files: Vec<TensorFile>,
    /// Tensor name to file.
    places: BTreeMap<String, usize>,
}

impl TensorFiles {
    /// Maps `{stem}.safetensors`, or the files that `{stem}.safetensors.index.json` names. As in transformers, the one file
    /// comes first: an index next to it was left by an earlier save.
    ///
    /// # Errors
    /// A file is missing, truncated or not what the index says.
    pub fn open(folder: &Path, stem: &str) -> Result<Self, ShardError> {
        let index = folder.join(format!("{stem}.safetensors.index.json"));
        let single = folder.join(format!("{stem}.safetensors"));
        if single.exists() {
            let file = TensorFile::open(&single)?;
            let places = file.names().into_iter().map(|name| (name, 0)).collect();
            Ok(Self {
                files: vec![file],
                places,
            })
        } else if index.exists() {
            Self::open_indexed(folder, &index)
        } else {
            Err(ShardError::Empty {
                path: folder.to_owned(),
                stem: stem.to_owned(),
            })
        }
    }

    fn open_indexed(folder: &Path, index: &Path) -> Result<Self, ShardError> {
        let wrong = |message: String| ShardError::Index {
            path: index.to_owned(),
            message,
        };
        let text = fs::read_to_string(index).map_err(|source| ShardError::Read {
            path: index.to_owned(),
            source,
        })?;
        let json: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let map = json
            .get("weight_map")
            .and_then(Value::as_object)
            .ok_or_else(|| wrong("no \"weight_map\" object".to_owned()))?;
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        let mut files = Vec::new();
        let mut places = BTreeMap::new();
        for (name, file) in map {
            let file = file
                .as_str()
                .ok_or_else(|| wrong(format!("the file of \"{name}\" is not a string")))?;
            if Path::new(file).components().count() != 1 {
                return Err(wrong(format!(
                    "\"{file}\" is not the name of a file in this folder"
                )));
            }
            let number = match numbers.get(file) {
                Some(number) => *number,
                None => {
                    files.push(TensorFile::open(&folder.join(file))?);
                    numbers.insert(file, files.len() - 1);
                    files.len() - 1
                }
            };
            if files[number].tensor(name).is_none() {
                return Err(wrong(format!("\"{name}\" should be in {file}, but is not")));
            }
            places.insert(name.clone(), number);
        }
        Ok(Self { files, places })
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Header entry and mapped bytes of a tensor.
    pub fn get(&self, name: &str) -> Option<(&TensorInfo, &[u8])> {
        self.files[*self.places.get(name)?].tensor(name)
    }

    /// The file that holds a tensor and where in it its bytes begin, for readers that must not keep a map's pages.
    pub fn location(&self, name: &str) -> Option<(&Path, u64)> {
        let file = self.files.get(*self.places.get(name)?)?;
        Some((file.path(), file.offset(name)?))
    }

    /// The file that holds a tensor, for messages.
    fn place(&self, name: &str) -> String {
        let file = self.places.get(name).map_or(0, |number| *number);
        self.files
            .get(file)
            .map_or_else(String::new, |file| file.path().display().to_string())
    }

    /// Finds a tensor of exactly this shape without reading it.
    ///
    /// # Errors
    /// There is none of that name, or it has another shape.
    pub fn check(&self, name: &str, shape: &[usize]) -> Result<(&TensorInfo, &[u8]), ParameterError> {
        let Some((info, bytes)) = self.get(name) else {
            let (place, name, hint) = (self.place(name), name.to_owned(), String::new());
            return Err(ParameterError::Missing { place, name, hint });
        };
        if info.shape != shape {
            let (place, name) = (self.place(name), name.to_owned());
            return Err(ParameterError::Shape {
                place,
                name,
                found: info.shape.clone(),
                expected: shape.to_vec(),
            });
        }
        Ok((info, bytes))
    }

    /// Some elements of a tensor of exactly this shape, in row-major order. The rest of the tensor is not read.
    ///
    /// # Errors
    /// There is none of that name, it has another shape or fewer elements, or it holds no floats.
    pub fn elements(
        &self,
        name: &str,
        shape: &[usize],
        elements: Range<usize>,
    ) -> Result<Vec<f32>, ParameterError> {
        let (info, bytes) = self.check(name, shape)?;
        let content = |message: String| ParameterError::Content {
            place: self.place(name),
            name: name.to_owned(),
            message,
        };
        let size = info.dtype.bitsize() / 8;
        let bytes = bytes
            .get(elements.start * size..elements.end * size)
            .ok_or_else(|| content(format!("it has no elements {elements:?}")))?;
        to_f32(info.dtype, bytes).map_err(|dtype| {
            content(format!(
                "its format {dtype} is not a float format; F32, BF16, F16 and F64 are read"
            ))
        })
    }
}

impl Parameters for TensorFiles {
    fn parameter(&self, name: &str, shape: &[usize]) -> Result<TensorData, ParameterError> {
        let values = self.elements(name, shape, 0..shape.iter().product())?;
        Ok(TensorData::new(values, shape.to_vec()))
    }
}

/// A tensor to be written, fetched when its turn comes.
pub struct NamedTensor {
    /// Name in the file.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Format on disk.
    pub dtype: FileDtype,
    /// The numbers.
    pub values: Values,
}

/// Where the numbers of a tensor to be written are.
pub enum Values {
    /// On a device, as a rule: read when their turn comes.
    Later(Box<dyn Fn() -> Vec<f32> + Send>),
    /// In the host's memory.
    Here(Vec<f32>),
}

impl NamedTensor {
    /// A tensor on a device, which is read when its turn comes.
    pub fn later<const D: usize>(name: String, value: Tensor<D>, dtype: FileDtype) -> Self {
        Self {
            name,
            shape: value.dims().to_vec(),
            dtype,
            values: Values::Later(Box::new(move || value.to_data().iter().collect())),
        }
    }

    /// The numbers.
    pub fn read(&self) -> Cow<'_, [f32]> {
        match &self.values {
            Values::Later(read) => read().into(),
            Values::Here(values) => values.into(),
        }
    }

    /// Fetches the numbers, so that the device may change its own.
    pub fn fetch(&mut self) {
        if let Values::Later(read) = &self.values {
            self.values = Values::Here(read());
        }
    }

    fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bytes()
    }
}

impl View for &NamedTensor {
    fn dtype(&self) -> Dtype {
        self.dtype.safetensors()
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.dtype.encode(&self.read()).into()
    }

    fn data_len(&self) -> usize {
        self.bytes()
    }
}

/// Writes tensors into `folder` as `{stem}.safetensors`, or, past `shard_bytes`, as numbered shards with an index,
/// named as transformers names them. Files are synced, the folder is the caller's to make whole.
///
/// # Errors
/// A file cannot be written.
pub fn write_shards(
    folder: &Path,
    stem: &str,
    tensors: &[NamedTensor],
    shard_bytes: usize,
) -> Result<(), ShardError> {
    let mut shards: Vec<Vec<&NamedTensor>> = vec![Vec::new()];
    let mut filled = 0;
    for tensor in tensors {
        if filled > 0 && filled + tensor.bytes() > shard_bytes {
            shards.push(Vec::new());
            filled = 0;
        }
        filled += tensor.bytes();
        if let Some(shard) = shards.last_mut() {
            shard.push(tensor);
        }
    }
    let total = shards.len();
    let file_name = |number: usize| match total {
        1 => format!("{stem}.safetensors"),
        _ => format!("{stem}-{:05}-of-{total:05}.safetensors", number + 1),
    };
    let mut weight_map = BTreeMap::new();
    for (number, shard) in shards.into_iter().enumerate() {
        let path = folder.join(file_name(number));
        weight_map.extend(
            shard
                .iter()
                .map(|tensor| (tensor.name.as_str(), file_name(number))),
        );
        let format = [("format".to_owned(), "pt".to_owned())].into_iter().collect();
        serialize_to_file(
            shard.into_iter().map(|tensor| (tensor.name.as_str(), tensor)),
            Some(format),
            &path,
        )
        .map_err(|error| unwritable(&path, &error))?;
        let synced = fs::File::open(&path).and_then(|file| file.sync_all());
        synced.map_err(|error| unwritable(&path, &error))?;
    }
    if total > 1 {
        let size: usize = tensors.iter().map(NamedTensor::bytes).sum();
        let index = json!({ "metadata": { "total_size": size }, "weight_map": weight_map });
        let path = folder.join(format!("{stem}.safetensors.index.json"));
        fs::write(&path, format!("{index:#}\n")).map_err(|error| unwritable(&path, &error))?;
    }
    Ok(())
}

fn unwritable(path: &Path, error: &dyn std::error::Error) -> ShardError {
    ShardError::Write {
        path: path.to_owned(),
        message: error.to_string(),
    }
}

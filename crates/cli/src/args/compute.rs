//! Device and precision.

use anyhow::{Result, bail};
use burn::tensor::{DType, Device};
use clap::Args as ClapArgs;
use smollm3_engine::dtype;
use smollm3_inference::TextModel;
use smollm3_recipe::Precision;

use super::CheckpointArg;
use super::choices::{PRECISIONS, one_of};

/// The device to compute on.
#[derive(Debug, ClapArgs)]
pub struct DeviceArgs {
    /// Backend: flex (pure Rust, CPU), tch (LibTorch; on a GPU never run so far) or wgpu (any GPU, f32; tested on Vulkan in software)
    #[arg(long)]
    pub backend: Option<String>,
    /// Device of the backend; for tch cpu, cuda:1 or mps; for wgpu discrete:1, integrated or cpu
    #[arg(long)]
    pub device: Option<String>,
}

impl DeviceArgs {
    /// The backend; by default the first one compiled in.
    pub fn backend(&self) -> &str {
        let first = || smollm3_kernels::compiled_backends().first().copied();
        self.backend.as_deref().or_else(first).unwrap_or("flex")
    }

    /// The device.
    ///
    /// # Errors
    /// It does not exist.
    pub fn open(&self) -> Result<Device> {
        Ok(smollm3_kernels::device(self.backend(), self.device.as_deref())?)
    }
}

/// Device and precision.
#[derive(Debug, ClapArgs)]
pub struct ComputeArgs {
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Type of the weights and matrix products
    #[arg(long, value_parser = one_of(PRECISIONS), default_value = "f32")]
    precision: Precision,
}

impl ComputeArgs {
    /// The precision of matrix products.
    ///
    /// # Errors
    /// The backend does not have it.
    pub fn precision(&self) -> Result<Precision> {
        let backend = self.device.backend();
        if self.precision == Precision::Bf16 && !smollm3_kernels::computes_bf16(backend) {
            bail!("--precision bf16: the backend {backend} has only f32; use --backend tch, or f32");
        }
        Ok(self.precision)
    }

    /// The device, and the type of the weights.
    ///
    /// # Errors
    /// The device does not exist, or lacks the type.
    pub fn open(&self) -> Result<(Device, DType)> {
        Ok((self.device.open()?, dtype(self.precision()?)))
    }

    /// A checkpoint with its tokenizer and template.
    ///
    /// # Errors
    /// As [`open`](Self::open), or the checkpoint cannot be read.
    pub fn text_model(&self, checkpoint: &CheckpointArg) -> Result<TextModel> {
        let (device, dtype) = self.open()?;
        Ok(TextModel::open(checkpoint.folder()?, dtype, &device)?)
    }
}

//! The device and precision that a command asks for.

use anyhow::{Result, bail};
use burn::tensor::Device;
use smollm3_recipe::Precision;

use crate::args::{DeviceArgs, PrecisionArg};

impl DeviceArgs {
    /// The backend; the first that is compiled in where none is named.
    pub fn backend(&self) -> &str {
        let first = || smollm3_kernels::compiled_backends().first().copied();
        self.backend.as_deref().or_else(first).unwrap_or("flex")
    }

    /// The device.
    pub fn open(&self) -> Result<Device> {
        Ok(smollm3_kernels::device(self.backend(), self.device.as_deref())?)
    }

    /// The precision of matrix products.
    pub fn precision(&self, asked: PrecisionArg) -> Result<Precision> {
        match asked {
            PrecisionArg::F32 => Ok(Precision::F32),
            PrecisionArg::Bf16 if !smollm3_kernels::computes_bf16(self.backend()) => bail!(
                "--precision bf16: the backend {} computes in f32 only; write --backend tch, or f32",
                self.backend()
            ),
            PrecisionArg::Bf16 => Ok(Precision::Bf16),
        }
    }
}

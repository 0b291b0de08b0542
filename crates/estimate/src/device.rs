//! Peak figures of devices, and the fraction of each that training is assumed to reach.
//!
//! The figures are the vendors' own, each from the data sheet named next to it; bandwidths are those of one
//! direction, half of the sheets' totals. The fractions reached are assumptions. Every figure can be replaced, so a device
//! outside the table, such as the cores of one rank, is described in the same way.

use std::str::FromStr;

use serde::Serialize;
use smollm3_recipe::{DEVICES, Percent, Precision, unknown};

/// A device as the estimate sees it. Rates are per second.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Peak of dense matrix products in bf16.
    pub bf16_flops_per_second: f64,
    /// Peak of dense matrix products in f32 without TF32, which LibTorch does not use by default.
    pub f32_flops_per_second: f64,
    /// Memory.
    pub memory_bytes: u64,
    /// Bandwidth of the memory.
    pub memory_bytes_per_second: f64,
    /// Bandwidth to the devices of the same node, in each direction.
    pub link_bytes_per_second: f64,
    /// Bandwidth between device and host, in each direction; `None` where the device is the host.
    pub bus_bytes_per_second: Option<f64>,
    /// Bytes that a rank's thread reads and writes per second when it copies and adds in the host's memory.
    pub host_bytes_per_second: f64,
    /// Devices of a node.
    pub devices_per_node: u64,
    /// Bandwidth of the network for one device, in each direction.
    pub network_bytes_per_second: f64,
    /// The fraction of the peak that matrix products reach.
    pub products_reach: f64,
    /// The fraction of the peak that attention reaches.
    pub attention_reaches: f64,
    /// The fraction of their bandwidth that memory, links, bus and network reach.
    pub transfers_reach: f64,
}

/// A description of a device that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("device \"{text}\": {message}")]
pub struct DeviceError {
    text: String,
    message: String,
}

/// The device without figures of its own.
const CPU: &str = "cpu";
/// The figures that can be set after the name.
const KEYS: [&str; 11] = [
    "peak",
    "memory",
    "bandwidth",
    "link",
    "bus",
    "host",
    "node",
    "network",
    "products",
    "attention",
    "transfers",
];

/// An assumption: tuned products reach 80 to 90 % on an H100 (Shah et al. 2024, arXiv:2407.08608, section 1), those of
/// a model with its narrower matrices less.
const PRODUCTS: f64 = 0.7;
/// FlashAttention-2, which LibTorch has, on an H100 (Shah et al. 2024, arXiv:2407.08608, abstract).
const ATTENTION_HOPPER: f64 = 0.35;
/// The lower end of 50 to 73 % on an A100 (Dao 2023, arXiv:2307.08691, abstract).
const ATTENTION_AMPERE: f64 = 0.5;
/// An assumption.
const TRANSFERS: f64 = 0.8;
/// An assumption: one thread that copies. Two ranks on this project's own machine sum 100 MB in 68 ms
/// (`crates/collective/src/mpi.rs`), which is some 9 GB/s in the copies that the estimate counts.
const HOST: f64 = 10e9;

impl Device {
    /// A device of the table; `None` for another name and for `cpu`, whose figures must be given.
    pub fn named(name: &str) -> Option<Self> {
        // NVIDIA H100 Tensor Core GPU data sheet, SXM: 1,979 TFLOP/s in bf16 with sparsity, 67 in f32, 80 GB, 3.35 TB/s,
        // NVLink 900 GB/s, PCIe Gen5 128 GB/s. DGX H100 data sheet: 8 GPUs, 8 ConnectX-7 of 400 Gbit/s.
        let h100 = Self {
            name: name.to_owned(),
            bf16_flops_per_second: 989.5e12,
            f32_flops_per_second: 67e12,
            memory_bytes: 80_000_000_000,
            memory_bytes_per_second: 3.35e12,
            link_bytes_per_second: 450e9,
            bus_bytes_per_second: Some(64e9),
            host_bytes_per_second: HOST,
            devices_per_node: 8,
            network_bytes_per_second: 50e9,
            products_reach: PRODUCTS,
            attention_reaches: ATTENTION_HOPPER,
            transfers_reach: TRANSFERS,
        };
        match name {
            "h100" => Some(h100),
            // NVIDIA H200 Tensor Core GPU data sheet, SXM: as an H100 but 141 GB, 4.8 TB/s.
            "h200" => Some(Self {
                memory_bytes: 141_000_000_000,
                memory_bytes_per_second: 4.8e12,
                ..h100
            }),
            // NVIDIA A100 Tensor Core GPU data sheet, 80GB SXM: 312 TFLOP/s in bf16, 19.5 in f32, 2,039 GB/s, NVLink
            // 600 GB/s, PCIe Gen4 64 GB/s. DGX A100 data sheet: 8 GPUs, 8 adapters of 200 Gbit/s for computing.
            "a100-80g" => Some(Self {
                bf16_flops_per_second: 312e12,
                f32_flops_per_second: 19.5e12,
                memory_bytes_per_second: 2.039e12,
                link_bytes_per_second: 300e9,
                bus_bytes_per_second: Some(32e9),
                network_bytes_per_second: 25e9,
                attention_reaches: ATTENTION_AMPERE,
                ..h100
            }),
            _ => None,
        }
    }

    /// The peak of matrix products in a precision.
    pub fn flops_per_second(&self, precision: Precision) -> f64 {
        match precision {
            Precision::Bf16 => self.bf16_flops_per_second,
            Precision::F32 => self.f32_flops_per_second,
        }
    }

    /// The cores of a rank: one node, unless `node` and `network` are both given.
    fn cores(settings: &[(&str, &str)]) -> Result<Self, String> {
        let set = |key: &str| settings.iter().any(|(other, _)| *other == key);
        if let Some(missing) = ["peak", "memory", "bandwidth"].into_iter().find(|key| !set(key)) {
            return Err(format!(
                "a cpu is known by its figures, and `{missing}` is missing; write such as \
                 cpu,peak=400GFLOP/s,memory=16GB,bandwidth=20GB/s for the cores of one rank"
            ));
        }
        if set("node") != set("network") {
            return Err(
                "`node` and `network` belong together; write both, or neither for one node".to_owned(),
            );
        }
        Ok(Self {
            name: CPU.to_owned(),
            bf16_flops_per_second: 0.0,
            f32_flops_per_second: 0.0,
            memory_bytes: 0,
            memory_bytes_per_second: 0.0,
            link_bytes_per_second: HOST,
            bus_bytes_per_second: None,
            host_bytes_per_second: HOST,
            devices_per_node: u64::MAX,
            network_bytes_per_second: HOST,
            products_reach: PRODUCTS,
            attention_reaches: ATTENTION_AMPERE,
            transfers_reach: TRANSFERS,
        })
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "peak" => {
                let peak = rate(key, value, "FLOP/s", "400TFLOP/s")?;
                (self.bf16_flops_per_second, self.f32_flops_per_second) = (peak, peak);
            }
            "memory" => self.memory_bytes = rate(key, value, "B", "80GB")? as u64,
            "bandwidth" => self.memory_bytes_per_second = rate(key, value, "B/s", "2TB/s")?,
            "link" => self.link_bytes_per_second = rate(key, value, "B/s", "300GB/s")?,
            "bus" => self.bus_bytes_per_second = Some(rate(key, value, "B/s", "32GB/s")?),
            "host" => self.host_bytes_per_second = rate(key, value, "B/s", "10GB/s")?,
            "network" => self.network_bytes_per_second = rate(key, value, "B/s", "50GB/s")?,
            "node" => {
                let count: Option<u64> = value.parse().ok().filter(|count| *count > 0);
                self.devices_per_node =
                    count.ok_or_else(|| format!("`{key}` is \"{value}\"; write a count such as node=8"))?;
            }
            "products" => self.products_reach = part(key, value)?,
            "attention" => self.attention_reaches = part(key, value)?,
            "transfers" => self.transfers_reach = part(key, value)?,
            _ => return Err(unknown("figure", key, &KEYS)),
        }
        Ok(())
    }
}

/// `h100`, or a name with figures that replace those of the table: `h100,network=25GB/s,products=60%`. A `cpu` needs
/// `peak`, `memory` and `bandwidth`.
impl FromStr for Device {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let refuse = |message: String| DeviceError {
            text: text.to_owned(),
            message,
        };
        let mut parts = text.split(',').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let settings: Option<Vec<(&str, &str)>> = parts.map(|part| part.split_once('=')).collect();
        let settings = settings.ok_or_else(|| {
            refuse("the name is followed by key=value, such as h100,network=25GB/s".to_owned())
        })?;
        let named = match name {
            CPU => Self::cores(&settings),
            _ => Self::named(name).ok_or_else(|| unknown("device", name, &[&DEVICES[..], &[CPU]].concat())),
        };
        let mut device = named.map_err(refuse)?;
        for (key, value) in settings {
            device.set(key.trim(), value.trim()).map_err(refuse)?;
        }
        Ok(device)
    }
}

/// `"3.35TB/s"` in its unit.
fn rate(key: &str, text: &str, unit: &str, example: &str) -> Result<f64, String> {
    let refuse = || format!("`{key}` is \"{text}\"; write it as {key}={example}");
    let number = text.strip_suffix(unit).ok_or_else(refuse)?.trim_end();
    let factors = [("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12), ("P", 1e15)];
    let (number, factor) = factors
        .iter()
        .find_map(|(prefix, factor)| Some((number.strip_suffix(prefix)?, *factor)))
        .unwrap_or((number, 1.0));
    let value = number.trim_end().parse::<f64>().map_err(|_| refuse())? * factor;
    // Below the largest whole number of f64 and of u64.
    match (1.0..1e19).contains(&value) {
        true => Ok(value),
        false => Err(refuse()),
    }
}

/// `"70%"` as a number above 0, at most 1.
fn part(key: &str, text: &str) -> Result<f64, String> {
    match text.parse::<Percent>().map(Percent::fraction) {
        Ok(part) if part > 0.0 => Ok(part),
        _ => Err(format!(
            "`{key}` is \"{text}\"; write a part above 0%, at most 100%, such as {key}=70%"
        )),
    }
}

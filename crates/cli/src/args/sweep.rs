//! `smollm3 sweep`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use smollm3_sweep::Axis;

/// `smollm3 sweep`.
#[derive(Debug, ClapArgs)]
pub struct SweepArgs {
    /// Folder with a sweep.toml, or that file; or a recipe, with --grid or --seeds
    pub sweep: PathBuf,
    /// Override a setting of all runs, before their variation
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Seeds, instead of the file's; each variation runs with each seed
    #[arg(long, value_name = "SEED,…", value_delimiter = ',')]
    pub seeds: Vec<u64>,
    /// Values of a setting to try; repeatable, to run all combinations
    #[arg(long, value_name = "KEY=V1,V2,…")]
    pub grid: Vec<Axis>,
    /// Run only these variations
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Output folder
    #[arg(long, short, visible_alias = "out", value_name = "FOLDER")]
    pub output: Option<PathBuf>,
    /// Backend: flex (pure Rust, CPU), tch (LibTorch; on a GPU never run so far) or wgpu (any GPU, f32; tested on Vulkan in software)
    #[arg(long)]
    pub backend: Option<String>,
    /// Devices, with one run at a time on each, e.g. cuda:0,cuda:1
    #[arg(long, value_name = "DEVICE,…", value_delimiter = ',', conflicts_with = "jobs")]
    pub devices: Vec<String>,
    /// Number of concurrent runs, which share the cores
    #[arg(long, value_name = "N", default_value = "1")]
    pub jobs: NonZeroUsize,
    /// Only show the runs, their parameters and tokens
    #[arg(long)]
    pub dry_run: bool,
}

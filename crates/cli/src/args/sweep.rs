//! Arguments of `smollm3 sweep`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use smollm3_sweep::Axis;

/// `smollm3 sweep`.
#[derive(Debug, ClapArgs)]
pub struct SweepArgs {
    /// A folder with a sweep.toml (or that file), or a recipe to go with --grid or --seeds
    pub sweep: PathBuf,
    /// Change a setting of all runs, before what a variation changes
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Seeds, in the place of the file's; each variation is run with each
    #[arg(long, value_name = "SEED,…", value_delimiter = ',')]
    pub seeds: Vec<u64>,
    /// Values that a setting takes in turn; given several times, every combination is run
    #[arg(long, value_name = "KEY=V1,V2,…")]
    pub grid: Vec<Axis>,
    /// Run these variations only
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub only: Vec<String>,
    /// The folder to write to
    #[arg(long, short, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
    /// flex (pure Rust, CPU), tch (LibTorch; on a GPU never run so far) or wgpu (any GPU, f32; tested on Vulkan in software)
    #[arg(long)]
    pub backend: Option<String>,
    /// Devices to spread the runs over, one run at a time on each, e.g. cuda:0,cuda:1
    #[arg(long, value_name = "DEVICE,…", value_delimiter = ',', conflicts_with = "jobs")]
    pub devices: Vec<String>,
    /// How many runs go on at a time; they share the cores
    #[arg(long, value_name = "N", default_value = "1")]
    pub jobs: NonZeroUsize,
    /// Show the runs, their parameters and tokens, and run nothing
    #[arg(long)]
    pub dry_run: bool,
}

//! Commands on runs and recipes.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use smollm3_collective::RANK_TIMEOUT;
use smollm3_estimate::Device;

use super::{DeviceArgs, RecipeArgs};

/// `smollm3 run`.
#[derive(Debug, ClapArgs)]
pub struct RunArgs {
    #[command(flatten)]
    pub recipe: RecipeArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// First stage to run (earlier ones must have checkpoints)
    #[arg(long, value_name = "STAGE")]
    pub from: Option<String>,
    /// Last stage to run
    #[arg(long, value_name = "STAGE")]
    pub until: Option<String>,
    /// Serve Prometheus metrics on this port of 127.0.0.1 (0: any free one)
    #[arg(long, value_name = "PORT")]
    pub metrics_port: Option<u16>,
    /// With several ranks (mpirun, srun), end the job after waiting this many seconds for a rank
    #[arg(long, value_name = "SECONDS", default_value_t = RANK_TIMEOUT.as_secs(), value_parser = clap::value_parser!(u64).range(1..))]
    pub rank_timeout: u64,
}

/// `smollm3 plan`.
#[derive(Debug, ClapArgs)]
pub struct PlanArgs {
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Print the plan as JSON
    #[arg(long)]
    pub json: bool,
    /// Estimate the run on this many devices instead: step time by part, memory, days
    #[arg(long, value_name = "N", requires = "device", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub devices: Option<u64>,
    /// Type of device: h100, h200, a100-80g; with your own figures, e.g. h100,network=25GB/s,products=60%; or
    /// cpu,peak=400GFLOP/s,memory=16GB,bandwidth=20GB/s. Figures: peak, memory, bandwidth, link, bus, host, node, network;
    /// achieved fractions: products, attention, transfers
    #[arg(long, value_name = "DEVICE", requires = "devices")]
    pub device: Option<Device>,
}

/// `smollm3 schema`.
#[derive(Debug, ClapArgs)]
pub struct SchemaArgs {
    /// Print a page of tables in place of the JSON Schema
    #[arg(long)]
    pub markdown: bool,
}

/// `smollm3 status`.
#[derive(Debug, ClapArgs)]
pub struct StatusArgs {
    /// Folder of the run, as in `run.output`
    pub run: PathBuf,
}

/// `smollm3 report`.
#[derive(Debug, ClapArgs)]
pub struct ReportArgs {
    /// Folders of runs
    #[arg(required = true)]
    pub runs: Vec<PathBuf>,
    /// Output file
    #[arg(long, short, visible_alias = "out", default_value = "report.html")]
    pub output: PathBuf,
    /// Serve the live report on this machine instead, until Ctrl-C
    #[arg(long, conflicts_with = "output")]
    pub watch: bool,
    /// With --watch, port of 127.0.0.1 (0: any free one)
    #[arg(long, value_name = "PORT", default_value_t = 8001, requires = "watch")]
    pub port: u16,
}

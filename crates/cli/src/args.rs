//! What can be typed.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

/// Reruns the SmolLM3 training recipe from TOML files.
#[derive(Debug, Parser)]
#[command(name = "smollm3", version, about, max_term_width = 100)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a recipe's stages, going on where an earlier run stopped
    Run(RunArgs),
    /// Show what a recipe will do, without data or device
    Plan(PlanArgs),
    /// Continue a prompt with a checkpoint
    Generate(GenerateArgs),
}

/// A recipe with changes.
#[derive(Debug, ClapArgs)]
pub struct RecipeArgs {
    /// The recipe's folder (or its recipe.toml)
    pub recipe: PathBuf,
    /// Change a setting, e.g. --set run.seed=3 or --set stage.pretrain.optimizer.learning_rate=1e-3
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
}

/// What computes.
#[derive(Debug, ClapArgs)]
pub struct DeviceArgs {
    /// flex (pure Rust, CPU), tch (LibTorch) or cuda (CubeCL)
    #[arg(long)]
    pub backend: Option<String>,
    /// Device of the backend, e.g. cpu, cuda:1, mps
    #[arg(long)]
    pub device: Option<String>,
}

/// `smollm3 run`.
#[derive(Debug, ClapArgs)]
pub struct RunArgs {
    #[command(flatten)]
    pub recipe: RecipeArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// First stage to run (those before must have their checkpoints)
    #[arg(long, value_name = "STAGE")]
    pub from: Option<String>,
    /// Last stage to run
    #[arg(long, value_name = "STAGE")]
    pub until: Option<String>,
}

/// `smollm3 plan`.
#[derive(Debug, ClapArgs)]
pub struct PlanArgs {
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Print the plan as JSON
    #[arg(long)]
    pub json: bool,
}

/// `smollm3 generate`.
#[derive(Debug, ClapArgs)]
pub struct GenerateArgs {
    /// Folder of the checkpoint
    pub checkpoint: PathBuf,
    /// The text to continue
    #[arg(long)]
    pub prompt: String,
    /// Stop after so many tokens
    #[arg(long, default_value_t = 128)]
    pub max_new_tokens: usize,
    #[command(flatten)]
    pub device: DeviceArgs,
}

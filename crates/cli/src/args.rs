//! The command line.

mod bench;
mod checkpoint;
mod choices;
mod compute;
mod data;
mod eval;
mod init;
mod model;
mod rows;
mod run;
mod sweep;
mod synthesis;
mod text;

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args as ClapArgs, Parser, Subcommand, ValueEnum};
use smollm3_recipe::Recipe;

pub use bench::{BenchCommand, BenchGenerateArgs, BenchMixerArgs, BenchStepArgs, BenchTokenizeArgs};
pub use checkpoint::{AddChatTokensArgs, CardArgs, ExportArgs, MergeArgs, TokenizerCommand, UploadArgs};
pub use compute::{ComputeArgs, DeviceArgs};
pub use data::{DataCommand, ExplainArgs, FetchArgs, MergeStoresArgs, OrderArgs, TokenizeArgs};
pub use eval::{EvalArgs, Suite};
pub use init::{InitArgs, InitKind};
pub use model::CheckpointArg;
pub use rows::CacheArgs;
pub use run::{PlanArgs, ReportArgs, RunArgs, SchemaArgs, StatusArgs};
pub use sweep::SweepArgs;
pub use synthesis::{AnswerArgs, OF_CHECKPOINTS, OF_ENDPOINTS, PairsArgs, ResponsesArgs};
pub use text::{ChatArgs, GenerateArgs, SamplingArgs, ServeArgs};

/// Train, evaluate and serve language models with the SmolLM3 recipe, from TOML files.
#[derive(Debug, Parser)]
#[command(name = "smollm3", version, about, max_term_width = 100)]
pub struct Args {
    /// Format of the log; `json` also logs every step, instead of progress bars
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text
    Text,
    /// One JSON object per line
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Inspect data and write a short recipe for it
    Init(InitArgs),
    /// Run the stages of a recipe, resuming where an earlier run stopped
    Run(RunArgs),
    /// Show what a recipe will do, without data or device
    Plan(PlanArgs),
    /// Print the keys of recipes as a JSON Schema, for editors
    Schema(SchemaArgs),
    /// Run variations of a recipe over seeds and compare them
    Sweep(SweepArgs),
    /// Show the progress of a run, its checkpoints and incidents
    Status(StatusArgs),
    /// Write an HTML report of one run, or of several side by side
    Report(ReportArgs),
    /// Continue a prompt with a checkpoint
    Generate(GenerateArgs),
    /// Chat with a checkpoint
    Chat(ChatArgs),
    /// Serve a checkpoint with OpenAI's HTTP API
    Serve(ServeArgs),
    /// Change the tokenizer of a checkpoint
    #[command(subcommand)]
    Tokenizer(TokenizerCommand),
    /// Merge checkpoints into their weighted mean
    Merge(MergeArgs),
    /// Convert a checkpoint: another dtype, a longer context by YaRN, GGUF
    Export(ExportArgs),
    /// Upload a checkpoint to the Hugging Face Hub, with a model card
    Upload(UploadArgs),
    /// Print the model card of a checkpoint
    Card(CardArgs),
    /// Evaluate a checkpoint
    Eval(Box<EvalArgs>),
    /// Prepare, inspect and generate data
    #[command(subcommand)]
    Data(DataCommand),
    /// Benchmark this machine
    #[command(subcommand)]
    Bench(BenchCommand),
}

/// A recipe with overrides.
#[derive(Debug, ClapArgs)]
pub struct RecipeArgs {
    /// Folder of the recipe, or its recipe.toml
    pub recipe: PathBuf,
    /// Override a setting, e.g. --set run.seed=3 or --set stage.pretrain.optimizer.learning_rate=1e-3
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
}

impl RecipeArgs {
    /// The recipe.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn load(&self) -> anyhow::Result<Recipe> {
        Ok(Recipe::load(&self.recipe, &self.overrides)?)
    }
}

/// The options that were typed for the innermost command, such as `--max-new-tokens`.
pub fn typed(mut matches: &ArgMatches) -> BTreeSet<String> {
    while let Some((_, inner)) = matches.subcommand() {
        matches = inner;
    }
    let ids = matches.ids().map(|id| id.as_str());
    ids.filter(|id| matches.value_source(id) == Some(ValueSource::CommandLine))
        .map(|id| format!("--{}", id.replace('_', "-")))
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Args;

    fn outputs(command: &clap::Command, found: &mut Vec<String>) {
        for argument in command.get_arguments() {
            let mut names = argument.get_long_and_visible_aliases().unwrap_or_default();
            if names.iter().any(|name| ["out", "output"].contains(name)) {
                names.sort_unstable();
                assert_eq!(
                    (names, argument.get_short()),
                    (vec!["out", "output"], Some('o')),
                    "{}",
                    command.get_name()
                );
                found.push(command.get_name().to_owned());
            }
        }
        command
            .get_subcommands()
            .for_each(|command| outputs(command, found));
    }

    #[test]
    fn an_output_has_the_same_names_in_every_command() {
        Args::command().debug_assert();
        let mut found = Vec::new();
        outputs(&Args::command(), &mut found);
        for command in ["export", "merge", "init", "report", "tokenize"] {
            assert!(found.iter().any(|name| name == command), "{command}: {found:?}");
        }
    }
}

//! `smollm3 eval`.
//!
//! One command with many suites: the help headings say which suites an option is for, and an option that the chosen suite
//! does not have is an error.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::LazyLock;

use anyhow::{Result, bail};
use clap::builder::PossibleValue;
use clap::{Args as ClapArgs, ValueEnum};
use smollm3_eval::{ChoiceTask, Form, ProblemTask};
use smollm3_recipe::{ContextLength, ProbeTask};

use super::choices::{Choice, one_of};
use super::{CheckpointArg, ComputeArgs};

/// `smollm3 eval`.
#[derive(Debug, ClapArgs)]
pub struct EvalArgs {
    /// Folder of a checkpoint, or a model on the Hub: owner/name, owner/name@revision, hf://owner/name/folder
    pub checkpoint: CheckpointArg,
    /// What to measure
    #[arg(long, value_enum, default_value_t = Suite::LongContext)]
    pub suite: Suite,
    /// Folder for settings, results (JSON and Markdown) and a line per item; the same command resumes from it. Not for
    /// long-context
    #[arg(long, short, visible_alias = "output", value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Also write the results to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Maximum number of items (of `loss`: of documents per source)
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Number of tokens computed at once: of a packed row [default: 4096], or of solutions generated together with their
    /// possible length [default: 32768]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u64).range(1..))]
    pub tokens_at_once: Option<u64>,
    /// Random seed of probes and samples
    #[arg(long)]
    pub seed: Option<u64>,

    /// Parquet or JSON lines with the columns of the data set on the Hub; repeatable
    #[arg(long, value_name = "FILE", help_heading = "Questions and problems")]
    pub data: Vec<String>,
    /// Number of solved examples before each item [default: 0]
    #[arg(long, help_heading = "Questions and problems")]
    pub shots: Option<usize>,
    /// Files of the examples [default: the data, without the item itself]
    #[arg(
        long,
        value_name = "FILE",
        requires = "shots",
        help_heading = "Questions and problems"
    )]
    pub shots_from: Vec<String>,
    /// Form of the questions [default: as in lm-evaluation-harness]
    #[arg(long, value_parser = one_of(FORMS), help_heading = "Questions and problems")]
    pub form: Option<Form>,

    /// Use the chat template, with thinking
    #[arg(long, group = "mode", help_heading = "Problems (gsm8k, math)")]
    pub think: bool,
    /// Use the chat template, without thinking; the default if there is a template
    #[arg(long, group = "mode", help_heading = "Problems (gsm8k, math)")]
    pub no_think: bool,
    /// Continue plain text; the default if there is no template
    #[arg(long, group = "mode", help_heading = "Problems (gsm8k, math)")]
    pub plain: bool,
    /// Text after each question of a conversation; \"\" for none [default: Put the final answer in \\boxed{}.]
    #[arg(long, value_name = "TEXT", help_heading = "Problems (gsm8k, math)")]
    pub instruction: Option<String>,
    /// Number of solutions of each problem, for mean pass@1 and majority vote [default: 1]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=65_536), help_heading = "Problems (gsm8k, math)")]
    pub samples: Option<u64>,
    /// Maximum number of new tokens of a solution [default: 1024]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), help_heading = "Problems (gsm8k, math)")]
    pub max_new_tokens: Option<u64>,
    /// Sampling temperature; 0 takes the most probable token [default: 0, for several samples 0.6]
    #[arg(long, help_heading = "Problems (gsm8k, math)")]
    pub temperature: Option<f64>,
    /// Sample from the most probable tokens with this total probability [default: 1, for several samples 0.95]
    #[arg(long, help_heading = "Problems (gsm8k, math)")]
    pub top_p: Option<f64>,

    /// Token store (`smollm3 data tokenize`); for long-context, adds the loss by position in its long documents
    #[arg(long, help_heading = "Loss and long context")]
    pub store: Vec<PathBuf>,
    /// Parquet or JSON lines with a column of text; repeatable
    #[arg(long, value_name = "FILE", help_heading = "Loss and long context")]
    pub text: Vec<String>,
    /// Column of the text [default: text]
    #[arg(long, help_heading = "Loss and long context")]
    pub column: Option<String>,
    /// Cut documents into pieces of this many tokens, e.g. 4k [default: the model's context]
    #[arg(long, value_name = "TOKENS", help_heading = "Loss and long context")]
    pub piece: Option<ContextLength>,
    /// Tokens of a prompt with its answer, e.g. 4k,8k,16k [default: 1k,2k,4k]
    #[arg(long, value_delimiter = ',', help_heading = "Loss and long context")]
    pub lengths: Vec<ContextLength>,
    /// Only these tasks
    #[arg(
        long,
        value_parser = one_of(TASKS),
        value_delimiter = ',',
        help_heading = "Loss and long context"
    )]
    pub tasks: Vec<ProbeTask>,
    /// Number of probes of each task at each length [default: 20]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Loss and long context")]
    pub items: Option<u32>,
    /// Maximum number of documents of the store [default: 64]
    #[arg(long, help_heading = "Loss and long context")]
    pub documents: Option<u32>,

    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// What `smollm3 eval` measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// Long-context probes.
    LongContext,
    /// Loss on text.
    Loss,
    /// Multiple choice.
    Choice(ChoiceTask),
    /// Problems with written solutions.
    Problems(ProblemTask),
}

/// All suites with their help.
const SUITES: [(Suite, &str); 13] = [
    (
        Suite::LongContext,
        "Finding facts, values and words in long texts, after RULER",
    ),
    (
        Suite::Loss,
        "Nats per token, bits per byte and perplexity of text",
    ),
    (
        Suite::Choice(ChoiceTask::HellaSwag),
        "Multiple choice: the end of a scene",
    ),
    (
        Suite::Choice(ChoiceTask::ArcEasy),
        "Multiple choice: grade-school science",
    ),
    (
        Suite::Choice(ChoiceTask::ArcChallenge),
        "Multiple choice: its harder part",
    ),
    (
        Suite::Choice(ChoiceTask::Mmlu),
        "Multiple choice: exams in 57 subjects",
    ),
    (
        Suite::Choice(ChoiceTask::Piqa),
        "Multiple choice: everyday physics",
    ),
    (
        Suite::Choice(ChoiceTask::WinoGrande),
        "Multiple choice: filling a gap",
    ),
    (
        Suite::Choice(ChoiceTask::OpenBookQa),
        "Multiple choice: science with common sense",
    ),
    (
        Suite::Choice(ChoiceTask::CommonsenseQa),
        "Multiple choice: common sense",
    ),
    (
        Suite::Choice(ChoiceTask::BoolQ),
        "Multiple choice: yes or no about a passage",
    ),
    (
        Suite::Problems(ProblemTask::Gsm8k),
        "Problems: arithmetic in words",
    ),
    (
        Suite::Problems(ProblemTask::Math),
        "Problems: competition mathematics (MATH, MATH-500, AIME)",
    ),
];

impl ValueEnum for Suite {
    fn value_variants<'a>() -> &'a [Self] {
        static ALL: LazyLock<[Suite; 13]> = LazyLock::new(|| SUITES.map(|(suite, _)| suite));
        &*ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (_, help) = SUITES.iter().find(|(suite, _)| suite == self)?;
        Some(PossibleValue::new(self.name()).help(*help))
    }
}

impl Suite {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::LongContext => "long-context",
            Self::Loss => "loss",
            Self::Choice(task) => task.name(),
            Self::Problems(task) => task.name(),
        }
    }

    /// The options that it has, apart from those that all suites have.
    fn options(self) -> &'static str {
        match self {
            Self::LongContext => LONG_CONTEXT,
            Self::Loss => LOSS,
            Self::Choice(_) => CHOICE,
            Self::Problems(_) => PROBLEMS,
        }
    }
}

const LONG_CONTEXT: &str = "--lengths, --tasks, --items, --seed, --store, --documents";
const LOSS: &str = "--store, --text, --column, --piece, --limit, --tokens-at-once, --out";
const CHOICE: &str = "--data, --form, --shots, --shots-from, --limit, --tokens-at-once, --out";
const PROBLEMS: &str = "--data, --think, --no-think, --plain, --instruction, --samples, --temperature, --top-p, --seed, \
     --max-new-tokens, --shots, --shots-from, --limit, --tokens-at-once, --out";

const FORMS: &[Choice<Form>] = &[
    ("cloze", Form::Cloze, "The answer itself follows the question"),
    (
        "lettered",
        Form::Lettered,
        "The choices are listed, and a letter follows",
    ),
];

const TASKS: &[Choice<ProbeTask>] = &[
    ("single", ProbeTask::Single, "One fact in a text"),
    (
        "multi-key",
        ProbeTask::MultiKey,
        "Four facts of one kind, one of which is asked for",
    ),
    (
        "multi-value",
        ProbeTask::MultiValue,
        "Four numbers of one thing, all asked for",
    ),
    ("multi-query", ProbeTask::MultiQuery, "Four facts, all asked for"),
    (
        "variable-tracking",
        ProbeTask::VariableTracking,
        "A value passed through a chain of variables",
    ),
    (
        "common-words",
        ProbeTask::CommonWords,
        "The most common entries of a list",
    ),
    (
        "frequent-words",
        ProbeTask::FrequentWords,
        "The three most frequent coded words",
    ),
];

impl EvalArgs {
    /// `--tokens-at-once`, or `default`.
    pub fn tokens_at_once(&self, default: usize) -> usize {
        self.tokens_at_once.map_or(default, |tokens| tokens as usize)
    }

    /// Checks that the suite has all options that were typed.
    ///
    /// # Errors
    /// Names one that it does not have.
    pub fn check(&self, typed: &BTreeSet<String>) -> Result<()> {
        let has = |options: &str, option: &str| options.split(", ").any(|known| known == option);
        let own = self.suite.options();
        let is_foreign = |option: &&String| {
            let any = [LONG_CONTEXT, LOSS, CHOICE, PROBLEMS];
            !has(own, option) && any.iter().any(|options| has(options, option))
        };
        if let Some(option) = typed.iter().find(is_foreign) {
            let suite = self.suite.name();
            bail!("{option} is not an option of --suite {suite}, which has {own}");
        }
        Ok(())
    }
}

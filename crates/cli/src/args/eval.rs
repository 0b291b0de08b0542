//! What `smollm3 eval` can be told.
//!
//! One command with many suites: what an option is for stands in its help heading, and one that the chosen suite does
//! not read is an error, not ignored.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args as ClapArgs, ValueEnum};
use smollm3_eval::{ChoiceTask, Form, ProblemTask};
use smollm3_recipe::{ContextLength, ProbeTask};

use super::{CheckpointArg, DeviceArgs, PrecisionArg};

/// `smollm3 eval`.
#[derive(Debug, ClapArgs)]
pub struct EvalArgs {
    /// Folder of the checkpoint, or a model on the Hub: owner/name, owner/name@revision, hf://owner/name/folder
    pub checkpoint: CheckpointArg,
    /// What is measured
    #[arg(long, value_enum, default_value_t = Suite::LongContext)]
    pub suite: Suite,
    /// Write settings, results (JSON and Markdown) and a line for each item to this folder; the same command goes on where
    /// it was stopped. Not for long-context
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Write what was found to this file too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Only the first so many items (of `loss`: documents of each source)
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Tokens that are computed at once: of a packed row (4096 when left out), or of solutions that are written together
    /// with what they may still become (32768)
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u64).range(1..))]
    pub tokens_at_once: Option<u64>,
    /// Another seed gives other probes, and other samples
    #[arg(long)]
    pub seed: Option<u64>,

    /// Parquet or JSON lines with the columns of the set on the Hub; may be given several times
    #[arg(long, value_name = "FILE", help_heading = "Questions and problems")]
    pub data: Vec<String>,
    /// Solved examples before each item [default: 0]
    #[arg(long, help_heading = "Questions and problems")]
    pub shots: Option<usize>,
    /// Where the first examples are taken from; the data themselves when left out. Never the item itself
    #[arg(
        long,
        value_name = "FILE",
        requires = "shots",
        help_heading = "Questions and problems"
    )]
    pub shots_from: Vec<String>,
    /// How questions are asked; as lm-evaluation-harness does when left out
    #[arg(long, value_enum, help_heading = "Questions and problems")]
    pub form: Option<FormArg>,

    /// Ask through the chat template, with thinking
    #[arg(long, group = "mode", help_heading = "Problems (gsm8k, math)")]
    pub think: bool,
    /// Ask through the chat template, without thinking: what is done when there is a template
    #[arg(long, group = "mode", help_heading = "Problems (gsm8k, math)")]
    pub no_think: bool,
    /// Ask for the continuation of plain text: what is done when there is no template
    #[arg(long, group = "mode", help_heading = "Problems (gsm8k, math)")]
    pub plain: bool,
    /// What follows each question of a conversation; \"\" for nothing [default: Put the final answer in \\boxed{}.]
    #[arg(long, value_name = "TEXT", help_heading = "Problems (gsm8k, math)")]
    pub instruction: Option<String>,
    /// Solutions of each problem: pass@1 is their mean, and there is a majority [default: 1]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=65_536), help_heading = "Problems (gsm8k, math)")]
    pub samples: Option<u64>,
    /// Tokens that a solution may have [default: 1024]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), help_heading = "Problems (gsm8k, math)")]
    pub max_new_tokens: Option<u64>,
    /// 0 takes the most probable token [default: 0, of several samples 0.6]
    #[arg(long, help_heading = "Problems (gsm8k, math)")]
    pub temperature: Option<f64>,
    /// Consider the most probable tokens that make up this part [default: 1, of several samples 0.95]
    #[arg(long, help_heading = "Problems (gsm8k, math)")]
    pub top_p: Option<f64>,

    /// A token store (`smollm3 data tokenize`); for long-context, adds the loss by position in its long documents
    #[arg(long, help_heading = "Loss and long context")]
    pub store: Vec<PathBuf>,
    /// Parquet or JSON lines with a column of text; may be given several times
    #[arg(long, value_name = "FILE", help_heading = "Loss and long context")]
    pub text: Vec<String>,
    /// The column that holds the text [default: text]
    #[arg(long, help_heading = "Loss and long context")]
    pub column: Option<String>,
    /// Cut documents to pieces of so many tokens, e.g. 4k; to the model's context when left out
    #[arg(long, value_name = "TOKENS", help_heading = "Loss and long context")]
    pub piece: Option<ContextLength>,
    /// Tokens of a prompt with its answer, e.g. 4k,8k,16k [default: 1k,2k,4k]
    #[arg(long, value_delimiter = ',', help_heading = "Loss and long context")]
    pub lengths: Vec<ContextLength>,
    /// Only these tasks
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        help_heading = "Loss and long context"
    )]
    pub tasks: Vec<TaskArg>,
    /// Probes of each task at each length [default: 20]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Loss and long context")]
    pub items: Option<u32>,
    /// Documents of the store at most [default: 64]
    #[arg(long, help_heading = "Loss and long context")]
    pub documents: Option<usize>,

    /// Type of the matrix products: f32 or bf16
    #[arg(long, value_enum, default_value_t = PrecisionArg::F32)]
    pub precision: PrecisionArg,
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// What `smollm3 eval` measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// Finding facts, values and words in long texts, after RULER
    LongContext,
    /// Nats a token, bits a byte and perplexity of text
    Loss,
    /// Multiple choice: how a scene goes on
    #[value(name = "hellaswag")]
    HellaSwag,
    /// Multiple choice: science, grade schools
    ArcEasy,
    /// Multiple choice: the harder part of it
    ArcChallenge,
    /// Multiple choice: exams in 57 subjects
    Mmlu,
    /// Multiple choice: everyday physics
    Piqa,
    /// Multiple choice: what a gap stands for
    #[value(name = "winogrande")]
    WinoGrande,
    /// Multiple choice: science with common sense
    #[value(name = "openbookqa")]
    OpenBookQa,
    /// Multiple choice: common sense
    CommonsenseQa,
    /// Multiple choice: yes or no about a passage
    #[value(name = "boolq")]
    BoolQ,
    /// Problems: arithmetic in words
    Gsm8k,
    /// Problems: competition mathematics (MATH, MATH-500, AIME)
    Math,
}

/// Suites that are done in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Long-context probes.
    LongContext,
    /// Loss on text.
    Loss,
    /// Multiple choice.
    Choice(ChoiceTask),
    /// Solutions that are written.
    Problems(ProblemTask),
}

impl Suite {
    /// How it is done.
    pub fn kind(self) -> Kind {
        match self {
            Self::LongContext => Kind::LongContext,
            Self::Loss => Kind::Loss,
            Self::HellaSwag => Kind::Choice(ChoiceTask::HellaSwag),
            Self::ArcEasy => Kind::Choice(ChoiceTask::ArcEasy),
            Self::ArcChallenge => Kind::Choice(ChoiceTask::ArcChallenge),
            Self::Mmlu => Kind::Choice(ChoiceTask::Mmlu),
            Self::Piqa => Kind::Choice(ChoiceTask::Piqa),
            Self::WinoGrande => Kind::Choice(ChoiceTask::WinoGrande),
            Self::OpenBookQa => Kind::Choice(ChoiceTask::OpenBookQa),
            Self::CommonsenseQa => Kind::Choice(ChoiceTask::CommonsenseQa),
            Self::BoolQ => Kind::Choice(ChoiceTask::BoolQ),
            Self::Gsm8k => Kind::Problems(ProblemTask::Gsm8k),
            Self::Math => Kind::Problems(ProblemTask::Math),
        }
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self.kind() {
            Kind::LongContext => "long-context",
            Kind::Loss => "loss",
            Kind::Choice(task) => task.name(),
            Kind::Problems(task) => task.name(),
        }
    }
}

/// How questions are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormArg {
    /// The answer itself follows the question
    Cloze,
    /// The choices are listed, and a letter follows
    Lettered,
}

impl From<FormArg> for Form {
    fn from(form: FormArg) -> Self {
        match form {
            FormArg::Cloze => Self::Cloze,
            FormArg::Lettered => Self::Lettered,
        }
    }
}

impl EvalArgs {
    /// `--tokens-at-once`, or what the suite takes without it.
    pub fn tokens_at_once(&self, usual: usize) -> usize {
        self.tokens_at_once.map_or(usual, |tokens| tokens as usize)
    }

    /// Makes sure that every option given is one that the suite reads.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<()> {
        const LONG: u8 = 1;
        const LOSS: u8 = 2;
        const CHOICE: u8 = 4;
        const PROBLEMS: u8 = 8;
        let (suite, instead) = match self.suite.kind() {
            Kind::LongContext => (LONG, "--lengths, --tasks, --items, --seed, --store, --documents"),
            Kind::Loss => (
                LOSS,
                "--store, --text, --column, --piece, --limit, --tokens-at-once, --out",
            ),
            Kind::Choice(_) => (
                CHOICE,
                "--data, --form, --shots, --shots-from, --limit, --tokens-at-once, --out",
            ),
            Kind::Problems(_) => (
                PROBLEMS,
                "--data, --think, --no-think, --plain, --instruction, --samples, --temperature, --top-p, --seed, \
                 --max-new-tokens, --shots, --shots-from, --limit, --tokens-at-once, --out",
            ),
        };
        let given = [
            ("--out", self.out.is_some(), LOSS | CHOICE | PROBLEMS),
            ("--limit", self.limit.is_some(), LOSS | CHOICE | PROBLEMS),
            (
                "--tokens-at-once",
                self.tokens_at_once.is_some(),
                LOSS | CHOICE | PROBLEMS,
            ),
            ("--seed", self.seed.is_some(), LONG | PROBLEMS),
            ("--data", !self.data.is_empty(), CHOICE | PROBLEMS),
            ("--shots", self.shots.is_some(), CHOICE | PROBLEMS),
            ("--shots-from", !self.shots_from.is_empty(), CHOICE | PROBLEMS),
            ("--form", self.form.is_some(), CHOICE),
            ("--think", self.think, PROBLEMS),
            ("--no-think", self.no_think, PROBLEMS),
            ("--plain", self.plain, PROBLEMS),
            ("--instruction", self.instruction.is_some(), PROBLEMS),
            ("--samples", self.samples.is_some(), PROBLEMS),
            ("--max-new-tokens", self.max_new_tokens.is_some(), PROBLEMS),
            ("--temperature", self.temperature.is_some(), PROBLEMS),
            ("--top-p", self.top_p.is_some(), PROBLEMS),
            ("--store", !self.store.is_empty(), LONG | LOSS),
            ("--text", !self.text.is_empty(), LOSS),
            ("--column", self.column.is_some(), LOSS),
            ("--piece", self.piece.is_some(), LOSS),
            ("--lengths", !self.lengths.is_empty(), LONG),
            ("--tasks", !self.tasks.is_empty(), LONG),
            ("--items", self.items.is_some(), LONG),
            ("--documents", self.documents.is_some(), LONG),
        ];
        for (option, given, readers) in given {
            if given && readers & suite == 0 {
                bail!(
                    "{option} says nothing to --suite {}, which reads {instead}",
                    self.suite.name()
                );
            }
        }
        Ok(())
    }
}

/// A long-context task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TaskArg {
    /// One fact in a text
    Single,
    /// Four facts of one kind, one of which is asked for
    MultiKey,
    /// Four numbers of one thing, all asked for
    MultiValue,
    /// Four facts, all asked for
    MultiQuery,
    /// A value handed on through a chain of variables
    VariableTracking,
    /// The most common entries of a list
    CommonWords,
    /// The three most frequent of coded words
    FrequentWords,
}

impl From<TaskArg> for ProbeTask {
    fn from(task: TaskArg) -> Self {
        match task {
            TaskArg::Single => Self::Single,
            TaskArg::MultiKey => Self::MultiKey,
            TaskArg::MultiValue => Self::MultiValue,
            TaskArg::MultiQuery => Self::MultiQuery,
            TaskArg::VariableTracking => Self::VariableTracking,
            TaskArg::CommonWords => Self::CommonWords,
            TaskArg::FrequentWords => Self::FrequentWords,
        }
    }
}

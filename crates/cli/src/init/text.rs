//! The recipes that `smollm3 init` writes: short, with the settings to change first, and comments.

use std::fmt::Write;
use std::path::PathBuf;

/// The settings that all recipes begin with.
#[derive(Debug, Clone)]
pub struct Head {
    /// Name of the run and of its folder.
    pub name: String,
    /// The backend.
    pub backend: &'static str,
    /// Its device, if not the backend's default.
    pub device: Option<String>,
    /// `f32` or `bf16`.
    pub precision: &'static str,
    /// The device's memory in bytes.
    pub memory: u64,
}

/// `[run]` and `[plan]`.
pub fn head(head: &Head, title: &str) -> String {
    let Head {
        name,
        backend,
        device,
        precision,
        memory,
    } = head;
    let device = device.as_deref().map_or(String::new(), |device| {
        format!("device = {}\n", toml_string(device))
    });
    let gigabytes = memory / 1_000_000_000;
    format!(
        r#"# {title}
# All keys: smollm3 schema --markdown

[run]
name = "{name}"
seed = 1
output = "runs/{name}"         # relative to the working directory
backend = "{backend}"
{device}precision = "{precision}"

[plan]
memory = "{gigabytes}GB"              # of the device; `smollm3 plan` checks it
"#
    )
}

/// Sequences of a step.
pub const BATCH: u64 = 16;

/// The settings of a stage that its memory depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Tokens per row.
    pub sequence_length: u64,
    /// Rows per micro-batch.
    pub micro_batch: u64,
    /// Whether activations are recomputed.
    pub recompute: bool,
    /// Whether only adapters are trained.
    pub lora: bool,
}

impl Shape {
    /// The least memory.
    pub const SMALLEST: Self = Self {
        sequence_length: 256,
        micro_batch: 1,
        recompute: true,
        lora: true,
    };
}

/// `[model]` and `[data]`.
pub fn model(checkpoint: &str, held_out: &str) -> String {
    let checkpoint = toml_string(checkpoint);
    format!(
        r#"
[model]
checkpoint = {checkpoint}

[data]
held_out = "{held_out}"              # of the rows, for evaluation
"#
    )
}

/// Adapters, with the learning rate for training all weights.
fn lora(rate_without: &str) -> String {
    format!(
        "lora = {{ rank = 16, alpha = 32 }}   # remove it to train all weights, at a learning rate of {rate_without}\n"
    )
}

/// A stage on conversations.
pub fn sft(paths: &[PathBuf], template: &str, shape: Shape, epochs: u64, measured: bool) -> String {
    let mut text = stage("sft", shape);
    let _ = writeln!(text, "epochs = {epochs}");
    let _ = writeln!(text, "template = \"{template}\"{}", comment_of(template));
    if shape.lora {
        text += &lora("2e-5");
    }
    if measured {
        text += "# validation = { every = \"50 steps\", best = \"load\", stop_early = { patience = 3 } }\n";
    }
    let rate = if shape.lora { "2e-4" } else { "2e-5" };
    text + &optimizer(rate, "3%") + &rows("chats", paths)
}

/// A stage on pairs of answers.
pub fn apo(paths: &[PathBuf], from: Option<&str>, template: &str, shape: Shape) -> String {
    let mut text = String::from("\n[[stage]]\nname = \"apo\"\nkind = \"apo\"\n");
    if let Some(from) = from {
        let _ = writeln!(
            text,
            "from = \"{from}\"                   # also the reference model"
        );
    }
    let _ = writeln!(
        text,
        "sequence_length = {}         # of a prompt with an answer; longer pairs are left out and counted\n\
         global_batch = \"{BATCH} pairs\"",
        shape.sequence_length
    );
    text += recompute(shape);
    text += "epochs = 1\nloss = { kind = \"apo-zero\", beta = 0.05 }\n";
    let _ = writeln!(text, "template = \"{template}\"{}", comment_of(template));
    if shape.lora {
        text += &lora("1e-6");
    }
    let rate = if shape.lora { "2e-5" } else { "1e-6" };
    text + &optimizer(rate, "10%") + &rows("pairs", paths)
}

fn comment_of(template: &str) -> &'static str {
    match template {
        "checkpoint" => "        # the checkpoint's own",
        "smollm3" => "           # with /think and /no_think",
        _ => "     # ChatML; trains on the answers",
    }
}

fn recompute(shape: Shape) -> &'static str {
    match shape.recompute {
        true => "recompute = \"layers\"         # a third more time, and the memory of one layer\n",
        false => "",
    }
}

fn stage(kind: &str, shape: Shape) -> String {
    let Shape {
        sequence_length,
        micro_batch,
        ..
    } = shape;
    let rows = if micro_batch == 1 { "sequence" } else { "sequences" };
    let recompute = recompute(shape);
    format!(
        r#"
[[stage]]
name = "{kind}"
kind = "{kind}"
sequence_length = {sequence_length}
global_batch = "{BATCH} sequences"
micro_batch = "{micro_batch} {rows}"   # at once on the device; fewer need less memory
{recompute}"#
    )
}

fn optimizer(rate: &str, warmup: &str) -> String {
    format!(
        r#"
[stage.optimizer]
learning_rate = {rate}

[stage.schedule]
kind = "cosine"
warmup = "{warmup}"
min_ratio = 0.1
"#
    )
}

fn rows(name: &str, paths: &[PathBuf]) -> String {
    format!(
        "\n[[stage.data]]\nname = \"{name}\"\npaths = {}\n# fraction = 0.5              # or rows = 1000; always the same rows\n",
        listed(paths)
    )
}

/// Paths as TOML, one per line if there are several.
fn listed(paths: &[PathBuf]) -> String {
    let quoted: Vec<String> = paths
        .iter()
        .map(|path| toml_string(&path.display().to_string()))
        .collect();
    match quoted.as_slice() {
        [one] => format!("[{one}]"),
        many => format!("[\n    {},\n]", many.join(",\n    ")),
    }
}

/// A text as a TOML string.
pub fn toml_string(text: &str) -> String {
    // JSON's escapes are TOML's.
    serde_json::Value::from(text).to_string()
}

/// A source of text for pretraining.
#[derive(Debug, Clone)]
pub struct SourceText {
    /// Its name.
    pub name: String,
    /// Its files.
    pub paths: Vec<PathBuf>,
    /// The column of the text.
    pub column: String,
    /// Whether they are Parquet.
    pub is_parquet: bool,
}

/// A small model, or a checkpoint to continue from.
pub fn pretrained_model(checkpoint: Option<&str>, length: u64, vocabulary: u64) -> String {
    match checkpoint {
        Some(checkpoint) => format!("\n[model]\ncheckpoint = {}\n", toml_string(checkpoint)),
        None => format!(
            r#"
[model.config]                 # about 2 million parameters; no RoPE in every fourth layer, as in SmolLM3
vocab_size = {vocabulary}
hidden_size = 192
intermediate_size = 512
num_hidden_layers = 4
num_attention_heads = 6
num_key_value_heads = 2
max_position_embeddings = {length}
rope_theta = 50000.0
no_rope_layer_interval = 4
tie_word_embeddings = true

[tokenizer.train]
vocab_size = {vocabulary}              # the rows of the model's embedding
bytes = "8MB"                  # of text to train it on
"#
        ),
    }
}

/// `[data]` and the sources.
pub fn sources(sources: &[SourceText], epochs: u64) -> String {
    let mut text = format!(
        "\n[data]\nheld_out = \"1%\"\nmax_epochs = {epochs}                 # how often a document may be repeated\n"
    );
    for source in sources {
        let kind = if source.is_parquet { "parquet" } else { "jsonl" };
        let _ = write!(
            text,
            "\n[source.{}]\ncategory = \"text\"\nkind = \"{kind}\"\npaths = {}\ncolumn = {}\n",
            source.name,
            listed(&source.paths),
            toml_string(&source.column)
        );
    }
    text
}

/// The stage of a pretraining recipe.
pub fn pretrain(shape: Shape, steps: u64, rate: &str, sources: &[SourceText]) -> String {
    let weights: Vec<String> = sources
        .iter()
        .map(|source| format!("{} = 1", source.name))
        .collect();
    stage("pretrain", shape)
        + &format!(
            r#"
[stage.optimizer]
learning_rate = {rate}

[stage.schedule]
kind = "wsd"
warmup = "10%"
decay = "20%"

[[stage.phase]]
name = "all"
until = "{steps} steps"
mixture = {{ sources = {{ {} }} }}
"#,
            weights.join(", ")
        )
}

/// A sweep over a pretraining recipe.
pub fn sweep(name: &str) -> String {
    format!(
        r#"# Variations of the recipe in this folder, each with one setting changed, over seeds.

base = "recipe.toml"
output = "runs/{name}-sweep"
seeds = [1, 2, 3]

[[variation]]
name = "rate-doubled"
set = ["stage.pretrain.optimizer.learning_rate=4e-3"]

[[variation]]
name = "rope-everywhere"       # RoPE in every layer, as in Llama
set = ["model.config.no_rope_layer_interval=0"]
"#
    )
}

/// The mean of checkpoints.
pub fn merge(checkpoints: &[String]) -> String {
    let mut text = format!(
        "\n[model]\ncheckpoint = {first}\n\n[[stage]]\nname = \"merged\"\nkind = \"merge\"\nfrom = {first}      # tokenizer \
         and template\n",
        first = toml_string(checkpoints.first().map_or("", String::as_str))
    );
    for checkpoint in checkpoints {
        let _ = write!(
            text,
            "\n[[stage.model]]\ncheckpoint = {}\nweight = 1.0                   # divided by the sum of weights\n",
            toml_string(checkpoint)
        );
    }
    text
}

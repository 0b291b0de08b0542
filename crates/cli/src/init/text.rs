//! The recipes that `smollm3 init` writes: short, with what one would change first, and a comment on each.

use std::fmt::Write;
use std::path::PathBuf;

/// What all of them begin with.
#[derive(Debug, Clone)]
pub struct Head {
    /// Name of the run and of its folder.
    pub name: String,
    /// What computes.
    pub backend: &'static str,
    /// Its device, where it is not the backend's first choice.
    pub device: Option<String>,
    /// `f32` or `bf16`.
    pub precision: &'static str,
    /// Bytes of the device.
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

[run]
name = "{name}"
seed = 1
output = "runs/{name}"         # from the folder in which the command is given
backend = "{backend}"
{device}precision = "{precision}"

[plan]
memory = "{gigabytes}GB"              # of the device: `smollm3 plan` compares with it
"#
    )
}

/// A stage's data.
#[derive(Debug, Clone)]
pub struct DataText {
    /// Its name.
    pub name: &'static str,
    /// Its files.
    pub paths: Vec<PathBuf>,
}

/// How a stage on rows is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Tokens of a row.
    pub sequence_length: u64,
    /// Rows at once.
    pub micro_batch: u64,
    /// Whether layers are computed again.
    pub recompute: bool,
    /// Whether adapters are trained.
    pub lora: bool,
}

impl Shape {
    /// Takes the least memory.
    pub const SMALLEST: Self = Self {
        sequence_length: 256,
        micro_batch: 1,
        recompute: true,
        lora: true,
    };
}

/// `[model]` and what is held out.
pub fn model(checkpoint: &str, held_out: &str) -> String {
    let checkpoint = toml_string(checkpoint);
    format!(
        r#"
[model]
checkpoint = {checkpoint}

[data]
held_out = "{held_out}"              # of the rows: they are measured, and not trained on
"#
    )
}

/// Adapters; all weights are trained at the other rate.
fn lora(rate_without: &str) -> String {
    format!(
        "lora = {{ rank = 16, alpha = 32 }}   # leave it out to train all weights, at a learning rate of {rate_without}\n"
    )
}

/// A stage on conversations.
pub fn sft(data: &DataText, template: &str, shape: Shape, epochs: u64, measured: bool) -> String {
    let mut text = stage("sft", "sft", shape, 16, "sequences");
    let _ = writeln!(text, "epochs = {epochs}");
    let _ = writeln!(text, "template = \"{template}\"{}", comment_of(template));
    if shape.lora {
        text += &lora("2e-5");
    }
    if measured {
        text += "# validation = { every = \"50 steps\", best = \"load\", stop_early = { patience = 3 } }\n";
    }
    let rate = if shape.lora { "2e-4" } else { "2e-5" };
    text + &optimiser(rate, "3%") + &rows(data)
}

/// A stage on pairs of answers.
pub fn apo(data: &DataText, from: Option<&str>, template: &str, shape: Shape) -> String {
    let mut text = String::from("\n[[stage]]\nname = \"apo\"\nkind = \"apo\"\n");
    if let Some(from) = from {
        let _ = writeln!(
            text,
            "from = \"{from}\"                   # also what it is compared with"
        );
    }
    let _ = writeln!(
        text,
        "sequence_length = {}         # of a prompt with an answer; longer pairs are left out and counted",
        shape.sequence_length
    );
    text += "global_batch = \"16 pairs\"\n";
    if shape.recompute {
        text += "recompute = \"layers\"         # a third more time, and memory for one layer\n";
    }
    text += "epochs = 1\nloss = { kind = \"apo-zero\", beta = 0.05 }\n";
    let _ = writeln!(text, "template = \"{template}\"{}", comment_of(template));
    if shape.lora {
        text += &lora("1e-6");
    }
    let rate = if shape.lora { "2e-5" } else { "1e-6" };
    text + &optimiser(rate, "10%") + &rows(data)
}

fn comment_of(template: &str) -> &'static str {
    match template {
        "checkpoint" => "        # the checkpoint's own",
        "smollm3" => "           # with /think and /no_think",
        _ => "     # ChatML; the answers are learned",
    }
}

fn stage(name: &str, kind: &str, shape: Shape, batch: u64, unit: &str) -> String {
    let Shape {
        sequence_length,
        micro_batch,
        recompute,
        ..
    } = shape;
    let batch = batch.max(micro_batch);
    let rows = if micro_batch == 1 { "sequence" } else { "sequences" };
    let recompute = match recompute {
        true => "recompute = \"layers\"         # a third more time, and memory for one layer\n",
        false => "",
    };
    format!(
        r#"
[[stage]]
name = "{name}"
kind = "{kind}"
sequence_length = {sequence_length}
global_batch = "{batch} {unit}"
micro_batch = "{micro_batch} {rows}"   # at once on the device: less for less memory
{recompute}"#
    )
}

fn optimiser(rate: &str, warmup: &str) -> String {
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

fn rows(data: &DataText) -> String {
    format!(
        "\n[[stage.data]]\nname = \"{}\"\npaths = {}\n# fraction = 0.5              # or rows = 1000: the same rows each time\n",
        data.name,
        listed(&data.paths)
    )
}

/// Paths as TOML, one a line where there are several.
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
    /// Its column.
    pub column: String,
    /// Whether they are Parquet.
    pub is_parquet: bool,
}

/// A small model, or a checkpoint that is trained further.
pub fn pretrained_model(checkpoint: Option<&str>, length: u64, vocabulary: u64) -> String {
    match checkpoint {
        Some(checkpoint) => format!("\n[model]\ncheckpoint = {}\n", toml_string(checkpoint)),
        None => format!(
            r#"
[model.config]                 # some 2 million parameters; every fourth layer without RoPE, as SmolLM3
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
vocab_size = {vocabulary}              # as many as the model's embedding has rows
bytes = "8MB"                  # of text, to learn it from
"#
        ),
    }
}

/// `[data]` and the sources.
pub fn sources(sources: &[SourceText], epochs: u64) -> String {
    let mut text = format!(
        "\n[data]\nheld_out = \"1%\"\nmax_epochs = {epochs}                 # how often a document may be seen\n"
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
pub fn pretrain(shape: Shape, batch: u64, steps: u64, rate: &str, sources: &[SourceText]) -> String {
    let weights: Vec<String> = sources
        .iter()
        .map(|source| format!("{} = 1", source.name))
        .collect();
    stage("pretrain", "pretrain", shape, batch, "sequences")
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
        r#"# What is compared with the recipe beside this file: one setting changed at a time, over seeds.

base = "recipe.toml"
output = "runs/{name}-sweep"
seeds = [1, 2, 3]

[[variation]]
name = "rate-doubled"
set = ["stage.pretrain.optimizer.learning_rate=4e-3"]

[[variation]]
name = "rope-everywhere"       # RoPE in every layer, as Llama
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
            "\n[[stage.model]]\ncheckpoint = {}\nweight = 1.0                   # divided by the sum of all\n",
            toml_string(checkpoint)
        );
    }
    text
}

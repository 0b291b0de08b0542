//! `smollm3 init`: a short recipe for data that have been looked at.

mod fit;
mod rows;
mod start;
mod text;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use smollm3_kernels::{compiled_backends, computes_bf16, total_memory, visible_gpus};
use smollm3_recipe::Backend;

use crate::args::{InitArgs, InitKind};
use fit::fitting;
use rows::{Found, RowKind, look, unused};
use start::Start;
use text::{DataText, Head, Shape, SourceText};

/// What is fine-tuned where no checkpoint is named.
const CHECKPOINT: &str = "HuggingFaceTB/SmolLM3-3B";
/// Tokens that a micro-batch has at most: more do not make a step faster.
const MICRO_BATCH_TOKENS: u64 = 8_192;
/// Bytes of text below which a tokenizer is small.
const SMALL_TEXT: u64 = 4_000_000;

/// `smollm3 init`.
pub fn init(args: &InitArgs) -> Result<ExitCode> {
    let kind = args.kind.name();
    let folder = args.output.clone().unwrap_or_else(|| PathBuf::from(kind));
    if folder.join("recipe.toml").exists() {
        bail!(
            "{} exists; write another --output, or remove it",
            folder.join("recipe.toml").display()
        );
    }
    let mut said = String::new();
    let head = head(args, &folder)?;
    let files = match args.kind {
        InitKind::FineTune => fine_tune(args, &head, &mut said)?,
        InitKind::Pretrain | InitKind::Ablation => pretrain(args, &head, &mut said)?,
        InitKind::Merge => merge(args, &head, &mut said)?,
    };
    fs::create_dir_all(&folder).with_context(|| format!("{}: cannot create", folder.display()))?;
    for (name, text) in &files {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("{}: cannot write", path.display()))?;
    }
    let shown = folder.display();
    print!("{said}");
    println!("wrote {shown}/recipe.toml");
    println!("next:");
    println!("  smollm3 plan {shown}");
    match args.kind {
        InitKind::FineTune => {
            println!(
                "  smollm3 data prepare {shown}         # tokenises the rows: the plan knows steps and time then"
            );
            println!("  smollm3 data explain {shown} --row 1  # a row token by token");
            println!("  smollm3 run {shown}");
        }
        InitKind::Ablation => {
            println!("  smollm3 sweep {shown} --dry-run");
            println!("  smollm3 sweep {shown}");
        }
        InitKind::Pretrain | InitKind::Merge => println!("  smollm3 run {shown}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn head(args: &InitArgs, folder: &Path) -> Result<Head> {
    let compiled = compiled_backends();
    let fastest = if compiled.contains(&"tch") { "tch" } else { "flex" };
    let wanted = args.backend.as_deref().unwrap_or(fastest);
    let Some(backend) = Backend::ALL
        .map(Backend::name)
        .into_iter()
        .find(|name| *name == wanted)
    else {
        bail!("--backend {wanted}: there is no such backend; write flex, tch or wgpu");
    };
    let has_gpu =
        backend == "tch" && compiled.contains(&"tch") && visible_gpus("tch").is_some_and(|count| count > 0);
    let device = args.device.clone().or_else(|| has_gpu.then(|| "cuda".to_owned()));
    let is_cpu = device
        .as_deref()
        .map_or(backend != "wgpu", |device| device == "cpu");
    if args.memory.is_some() && args.kind != InitKind::FineTune {
        bail!("--memory: only fine-tuning is fitted to a device; leave it out");
    }
    if args.memory.is_none() && args.kind == InitKind::FineTune && !is_cpu {
        bail!("--memory is missing; write that of the GPU, such as --memory 24GB");
    }
    let name = std::path::absolute(folder)?.file_name().map_or_else(
        || args.kind.name().to_owned(),
        |name| name.to_string_lossy().into_owned(),
    );
    let plain = name.chars().map(|c| {
        if c.is_ascii_alphanumeric() || "-_.".contains(c) {
            c
        } else {
            '-'
        }
    });
    let memory = args.memory.map(|bytes| bytes.0).or_else(total_memory);
    Ok(Head {
        name: plain.collect(),
        backend,
        // A GPU computes in bf16; on a CPU it is no faster.
        precision: if computes_bf16(backend) && !is_cpu {
            "bf16"
        } else {
            "f32"
        },
        device,
        memory: memory.unwrap_or(16_000_000_000).max(1_000_000_000),
    })
}

fn need_data(args: &InitArgs, example: &str) -> Result<()> {
    match args.data.is_empty() {
        true => bail!("--data is missing; write such as --data {example}"),
        false => Ok(()),
    }
}

fn fine_tune(args: &InitArgs, head: &Head, said: &mut String) -> Result<Vec<(&'static str, String)>> {
    need_data(args, "chats.jsonl")?;
    let start = match args.checkpoint.as_slice() {
        [] => Start::of(CHECKPOINT, said)?,
        [one] => Start::of(one, said)?,
        _ => bail!("--checkpoint: a model starts from one checkpoint; keep one"),
    };
    let found = look(&args.data, start.tokenizer.as_ref())?;
    for found in &found {
        describe(found, start.tokenizer.is_some(), said);
        if let RowKind::Text(column) = &found.kind {
            bail!(
                "{}: rows of text (column `{column}`; columns {}), and fine-tuning needs conversations: messages, \
                 conversations, prompt and completion, or instruction and output. For text: smollm3 init pretrain",
                found.paths[0].display(),
                found.columns.join(", ")
            );
        }
    }
    let of = |kind: &RowKind| found.iter().find(|found| found.kind == *kind);
    let (chats, pairs) = (of(&RowKind::Conversations), of(&RowKind::Pairs));
    let rows = chats.or(pairs).map_or(0, |found| found.lengths.len());
    let held_out = match rows {
        0..100 => "0%",
        100..1_000 => "5%",
        _ => "1%",
    };
    let template = start.template(said);
    let text = |shape: Shape, pair_shape: Shape| {
        let title = format!(
            "Fine-tuning {} on {}.",
            args.checkpoint.first().map_or(CHECKPOINT, String::as_str),
            what(&found)
        );
        let mut text = text::head(head, &title) + &text::model(&start.text, held_out);
        if let Some(chats) = chats {
            let epochs = if chats.more { 1 } else { 2 };
            let data = DataText {
                name: "chats",
                paths: chats.paths.clone(),
            };
            text += &text::sft(&data, template, shape, epochs, held_out != "0%");
        }
        if let Some(pairs) = pairs {
            let data = DataText {
                name: "pairs",
                paths: pairs.paths.clone(),
            };
            text += &text::apo(&data, chats.map(|_| "sft"), template, pair_shape);
        }
        text
    };
    // Each stage for itself: what is fitted takes its memory beside a stage that takes the least.
    let fit = |found: Option<&Found>, text: &dyn Fn(Shape) -> String| match found {
        None => Ok(Shape::SMALLEST),
        Some(found) => fitting(head, start.config.as_ref(), found.quantile(1.0) as u64, text),
    };
    let pair_shape = fit(pairs, &|pairs| text(Shape::SMALLEST, pairs))?;
    let shape = fit(chats, &|chats| text(chats, pair_shape))?;
    for (what, found, shape) in [("conversations", chats, shape), ("pairs", pairs, pair_shape)] {
        let Some(found) = found else { continue };
        let longer = found
            .lengths
            .iter()
            .filter(|length| **length as u64 > shape.sequence_length)
            .count();
        if longer > 0 {
            let _ = writeln!(
                said,
                "{longer} of the {what} are longer than sequence_length = {}, which is what the memory or the model allows",
                shape.sequence_length
            );
        }
    }
    Ok(vec![("recipe.toml", text(shape, pair_shape))])
}

fn pretrain(args: &InitArgs, head: &Head, said: &mut String) -> Result<Vec<(&'static str, String)>> {
    need_data(args, "texts.jsonl")?;
    let is_ablation = args.kind == InitKind::Ablation;
    let start = match args.checkpoint.as_slice() {
        [] => None,
        [_, ..] if is_ablation => {
            bail!("--checkpoint: an ablation trains small models from the beginning; leave it out")
        }
        [one] => Some(Start::of(one, said)?),
        _ => bail!("--checkpoint: a model starts from one checkpoint; keep one"),
    };
    let tokenizer = start.as_ref().and_then(|start| start.tokenizer.as_ref());
    let found = look(&args.data, tokenizer)?;
    let mut sources = Vec::new();
    for (number, found) in found.iter().enumerate() {
        describe(found, tokenizer.is_some(), said);
        let RowKind::Text(column) = &found.kind else {
            bail!(
                "{}: {} (columns {}), and pretraining needs text in a column such as `text`. For them: smollm3 init fine-tune",
                found.paths[0].display(),
                what(std::slice::from_ref(found)),
                found.columns.join(", ")
            );
        };
        let name = if number == 0 {
            "text".to_owned()
        } else {
            format!("text-{}", number + 1)
        };
        // One source has one format.
        let (parquet, json): (Vec<PathBuf>, Vec<PathBuf>) = found
            .paths
            .iter()
            .cloned()
            .partition(|path| path.to_string_lossy().to_ascii_lowercase().ends_with(".parquet"));
        let both = !parquet.is_empty() && !json.is_empty();
        for (paths, is_parquet) in [(json, false), (parquet, true)] {
            if !paths.is_empty() {
                let name = if both && is_parquet {
                    format!("{name}-parquet")
                } else {
                    name.clone()
                };
                sources.push(SourceText {
                    name,
                    paths,
                    column: column.clone(),
                    is_parquet,
                });
            }
        }
    }
    let config = start.as_ref().and_then(|start| start.config.as_ref());
    let tokens: u64 = found.iter().map(Found::all_tokens).sum();
    let own = if start.is_some() { 2_048 } else { 256 };
    let length = config.map_or(own, |config| own.min(config.max_position_embeddings as u64));
    let shape = Shape {
        sequence_length: length,
        micro_batch: (MICRO_BATCH_TOKENS / length).clamp(1, 8),
        recompute: false,
        lora: false,
    };
    let batch = 16;
    // A third is taken off for what is held out, for documents that fill no row, and because tokens are guessed or of the first rows.
    let epochs = 4;
    let steps = (tokens * epochs * 2 / 3 / (batch * length)).clamp(10, 2_000);
    let rate = if start.is_some() { "1e-4" } else { "2e-3" };
    let epochs = (steps * batch * length)
        .div_ceil((tokens * 2 / 3).max(1))
        .clamp(epochs, 10_000);
    let title = match is_ablation {
        true => format!(
            "What the variations in sweep.toml are compared with, on {}.",
            what(&found)
        ),
        false => format!("Pretraining on {}.", what(&found)),
    };
    let bytes: u64 = found.iter().map(|found| found.bytes).sum();
    // A small text has not as many different pieces.
    let vocabulary = if bytes < SMALL_TEXT { 512 } else { 4_096 };
    let checkpoint = start.as_ref().map(|start| start.text.as_str());
    let text = text::head(head, &title)
        + &text::pretrained_model(checkpoint, length, vocabulary)
        + &text::sources(&sources, epochs)
        + &text::pretrain(shape, batch, steps, rate, &sources);
    let mut files = vec![("recipe.toml", text)];
    if is_ablation {
        files.push(("sweep.toml", text::sweep(&head.name)));
    }
    Ok(files)
}

fn merge(args: &InitArgs, head: &Head, said: &mut String) -> Result<Vec<(&'static str, String)>> {
    if !args.data.is_empty() {
        bail!("--data: a merge reads no data; leave it out");
    }
    if args.checkpoint.len() < 2 {
        bail!("a merge needs two checkpoints or more; write --checkpoint A --checkpoint B");
    }
    let starts: Vec<Start> = args
        .checkpoint
        .iter()
        .map(|typed| Start::of(typed, said))
        .collect::<Result<_>>()?;
    let texts: Vec<String> = starts.into_iter().map(|start| start.text).collect();
    let text = text::head(head, "The mean of checkpoints.") + &text::merge(&texts);
    Ok(vec![("recipe.toml", text)])
}

/// What the rows are, in words.
fn what(found: &[Found]) -> String {
    let words: Vec<&str> = found
        .iter()
        .map(|found| match found.kind {
            RowKind::Conversations => "conversations",
            RowKind::Pairs => "pairs of answers",
            RowKind::Text(_) => "text",
        })
        .collect();
    words.join(" and ")
}

/// What was found, a few lines.
fn describe(found: &Found, in_tokens: bool, said: &mut String) {
    let files = match found.paths.len() {
        1 => found.paths[0].display().to_string(),
        count => format!("{count} files"),
    };
    let rows = found.lengths.len();
    let read = if found.more {
        format!("the first {rows} rows")
    } else {
        format!("{rows} rows")
    };
    let unit = if in_tokens {
        "tokens"
    } else {
        "tokens at four characters each"
    };
    let _ = writeln!(
        said,
        "{files}: {}, {read} read; half of them up to {}, 95 % up to {}, the longest {} {unit}",
        what(std::slice::from_ref(found)),
        found.quantile(0.5),
        found.quantile(0.95),
        found.quantile(1.0),
    );
    if let RowKind::Text(column) = &found.kind {
        let _ = writeln!(said, "  the text is in the column `{column}`");
    }
    let unused: Vec<&str> = unused(found).into_iter().collect();
    if !unused.is_empty() {
        let _ = writeln!(said, "  columns that are not read: {}", unused.join(", "));
    }
    if let Some((count, first)) = &found.unlike {
        let _ = writeln!(
            said,
            "  {count} rows are none, the first: {first}; mend them, or write data.bad_rows = \"skip\""
        );
    }
}

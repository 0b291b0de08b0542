//! `smollm3 init`: inspects data and writes a short recipe for it.

mod fit;
mod rows;
mod start;
mod text;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use smollm3_kernels::{compiled_backends, computes_bf16, total_memory, visible_gpus};
use smollm3_recipe::Backend;

use crate::args::{InitArgs, InitKind};
use fit::fitting;
use rows::{RowFiles, RowKind, look, unused};
use start::Start;
use text::{BATCH, Head, Shape, SourceText};

/// The default checkpoint to fine-tune.
const CHECKPOINT: &str = "HuggingFaceTB/SmolLM3-3B";
/// Maximum number of tokens of a micro-batch; more do not make a step faster.
const MICRO_BATCH_TOKENS: u64 = 8_192;
/// Bytes of text below which the tokenizer is small.
const SMALL_TEXT: u64 = 4_000_000;

/// `smollm3 init`.
pub fn init(args: &InitArgs) -> Result<()> {
    let kind = args.kind.name();
    let folder = args.output.clone().unwrap_or_else(|| PathBuf::from(kind));
    let names: &[&str] = match args.kind {
        InitKind::Ablation => &["recipe.toml", "sweep.toml"],
        _ => &["recipe.toml"],
    };
    let mut paths = names.iter().map(|name| folder.join(name));
    if let Some(path) = paths.find(|path| path.exists()) {
        bail!("{} exists; use another --output, or remove it", path.display());
    }
    let mut notes = Vec::new();
    let head = head(args, &folder)?;
    let files = match args.kind {
        InitKind::FineTune => fine_tune(args, &head, &mut notes)?,
        InitKind::Pretrain | InitKind::Ablation => pretrain(args, &head, &mut notes)?,
        InitKind::Merge => merge(args, &head, &mut notes)?,
    };
    fs::create_dir_all(&folder).with_context(|| format!("{}: cannot create", folder.display()))?;
    for (name, text) in &files {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("{}: cannot write", path.display()))?;
    }
    let shown = folder.display();
    notes.iter().for_each(|note| println!("{note}"));
    println!("wrote {shown}/recipe.toml");
    println!("next:");
    println!("  smollm3 plan {shown}");
    match args.kind {
        InitKind::FineTune => {
            println!("  smollm3 data prepare {shown}         # then the plan shows steps and time");
            println!("  smollm3 data explain {shown} --row 1  # shows a row token by token");
            println!("  smollm3 run {shown}");
        }
        InitKind::Ablation => {
            println!("  smollm3 sweep {shown} --dry-run");
            println!("  smollm3 sweep {shown}");
        }
        InitKind::Pretrain | InitKind::Merge => println!("  smollm3 run {shown}"),
    }
    Ok(())
}

fn head(args: &InitArgs, folder: &Path) -> Result<Head> {
    let compiled = compiled_backends();
    let fastest = if compiled.contains(&"tch") { "tch" } else { "flex" };
    let wanted = args.backend.as_deref().unwrap_or(fastest);
    let mut backends = Backend::ALL.map(Backend::name).into_iter();
    let Some(backend) = backends.find(|name| *name == wanted) else {
        bail!("--backend {wanted}: there is no such backend; write flex, tch or wgpu");
    };
    let has_gpu =
        backend == "tch" && compiled.contains(&"tch") && visible_gpus("tch").is_some_and(|count| count > 0);
    let device = args.device.clone().or_else(|| has_gpu.then(|| "cuda".to_owned()));
    let is_cpu = device
        .as_deref()
        .map_or(backend != "wgpu", |device| device == "cpu");
    if args.memory.is_some() && args.kind != InitKind::FineTune {
        bail!("--memory is for fine-tuning only; leave it out");
    }
    if args.memory.is_none() && args.kind == InitKind::FineTune && !is_cpu {
        bail!("--memory is missing; write the memory of the GPU, such as --memory 24GB");
    }
    let name = std::path::absolute(folder)?.file_name().map_or_else(
        || args.kind.name().to_owned(),
        |name| name.to_string_lossy().into_owned(),
    );
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name = name.replace(|c| !is_plain(c), "-");
    let memory = args.memory.map(|bytes| bytes.0).or_else(total_memory);
    Ok(Head {
        name,
        backend,
        // On a CPU, bf16 is not faster.
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
        true => bail!("--data is missing; write for example --data {example}"),
        false => Ok(()),
    }
}

fn fine_tune(args: &InitArgs, head: &Head, notes: &mut Vec<String>) -> Result<Vec<(&'static str, String)>> {
    need_data(args, "chats.jsonl")?;
    let start = match args.checkpoint.as_slice() {
        [] => Start::of(CHECKPOINT, notes)?,
        [one] => Start::of(one, notes)?,
        _ => bail!("--checkpoint: a model starts from one checkpoint; write only one"),
    };
    let found = look(&args.data, start.tokenizer.as_ref())?;
    for found in &found {
        describe(found, start.tokenizer.is_some(), notes);
        if let RowKind::Text(column) = &found.kind {
            bail!(
                "{}: the rows are text (column `{column}`; columns {}), but fine-tuning needs conversations: messages, \
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
    let template = start.template(notes);
    let text = |shape: Shape, pair_shape: Shape| {
        let title = format!(
            "Fine-tuning {} on {}.",
            args.checkpoint.first().map_or(CHECKPOINT, String::as_str),
            what(&found)
        );
        let mut text = text::head(head, &title) + &text::model(&start.text, held_out);
        if let Some(chats) = chats {
            let epochs = if chats.more { 1 } else { 2 };
            text += &text::sft(&chats.paths, template, shape, epochs, held_out != "0%");
        }
        if let Some(pairs) = pairs {
            text += &text::apo(&pairs.paths, chats.map(|_| "sft"), template, pair_shape);
        }
        text
    };
    // Stages are fitted one by one, next to a stage that takes the least memory.
    let fit = |found: Option<&RowFiles>, text: &dyn Fn(Shape) -> String| match found {
        None => Ok(Shape::SMALLEST),
        Some(found) => fitting(head, start.config.as_ref(), found.quantile(1.0) as u64, text),
    };
    let pair_shape = fit(pairs, &|pairs| text(Shape::SMALLEST, pairs))?;
    let shape = fit(chats, &|chats| text(chats, pair_shape))?;
    for (what, found, shape) in [("conversations", chats, shape), ("pairs", pairs, pair_shape)] {
        let Some(found) = found else { continue };
        let is_longer = |length: &&usize| **length as u64 > shape.sequence_length;
        let longer = found.lengths.iter().filter(is_longer).count();
        if longer > 0 {
            notes.push(format!(
                "{longer} of the {what} are longer than sequence_length = {}, the most that the memory or the model allows",
                shape.sequence_length
            ));
        }
    }
    Ok(vec![("recipe.toml", text(shape, pair_shape))])
}

fn pretrain(args: &InitArgs, head: &Head, notes: &mut Vec<String>) -> Result<Vec<(&'static str, String)>> {
    need_data(args, "texts.jsonl")?;
    let is_ablation = args.kind == InitKind::Ablation;
    let start = match args.checkpoint.as_slice() {
        [] => None,
        [_, ..] if is_ablation => {
            bail!("--checkpoint: an ablation trains small models from scratch; leave it out")
        }
        [one] => Some(Start::of(one, notes)?),
        _ => bail!("--checkpoint: a model starts from one checkpoint; write only one"),
    };
    let tokenizer = start.as_ref().and_then(|start| start.tokenizer.as_ref());
    let found = look(&args.data, tokenizer)?;
    let mut sources = Vec::new();
    for (number, found) in found.iter().enumerate() {
        describe(found, tokenizer.is_some(), notes);
        let RowKind::Text(column) = &found.kind else {
            bail!(
                "{}: the rows are {} (columns {}), but pretraining needs text in a column such as `text`. For these: smollm3 init fine-tune",
                found.paths[0].display(),
                what(std::slice::from_ref(found)),
                found.columns.join(", ")
            );
        };
        let name = match number {
            0 => "text".to_owned(),
            _ => format!("text-{}", number + 1),
        };
        // A source has one format.
        let (parquet, json): (Vec<PathBuf>, Vec<PathBuf>) = found
            .paths
            .iter()
            .cloned()
            .partition(|path| path.to_string_lossy().to_ascii_lowercase().ends_with(".parquet"));
        let both = !parquet.is_empty() && !json.is_empty();
        for (paths, is_parquet) in [(json, false), (parquet, true)] {
            if !paths.is_empty() {
                let name = match both && is_parquet {
                    true => format!("{name}-parquet"),
                    false => name.clone(),
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
    let tokens: u64 = found.iter().map(RowFiles::all_tokens).sum();
    let own = if start.is_some() { 2_048 } else { 256 };
    let length = config.map_or(own, |config| own.min(config.max_position_embeddings as u64));
    let shape = Shape {
        sequence_length: length,
        micro_batch: (MICRO_BATCH_TOKENS / length).clamp(1, 8),
        recompute: false,
        lora: false,
    };
    // A third is subtracted for held-out documents, for incomplete rows, and because the number of tokens is an estimate.
    let epochs = 4;
    let steps = (tokens * epochs * 2 / 3 / (BATCH * length)).clamp(10, 2_000);
    let rate = if start.is_some() { "1e-4" } else { "2e-3" };
    let epochs = (steps * BATCH * length)
        .div_ceil((tokens * 2 / 3).max(1))
        .clamp(epochs, 10_000);
    let title = match is_ablation {
        true => format!(
            "The baseline of the variations in sweep.toml, on {}.",
            what(&found)
        ),
        false => format!("Pretraining on {}.", what(&found)),
    };
    let bytes: u64 = found.iter().map(|found| found.bytes).sum();
    // A small text has fewer distinct tokens.
    let vocabulary = if bytes < SMALL_TEXT { 512 } else { 4_096 };
    let checkpoint = start.as_ref().map(|start| start.text.as_str());
    let text = text::head(head, &title)
        + &text::pretrained_model(checkpoint, length, vocabulary)
        + &text::sources(&sources, epochs)
        + &text::pretrain(shape, steps, rate, &sources);
    let mut files = vec![("recipe.toml", text)];
    if is_ablation {
        files.push(("sweep.toml", text::sweep(&head.name)));
    }
    Ok(files)
}

fn merge(args: &InitArgs, head: &Head, notes: &mut Vec<String>) -> Result<Vec<(&'static str, String)>> {
    if !args.data.is_empty() {
        bail!("--data is not for merges; leave it out");
    }
    if args.checkpoint.len() < 2 {
        bail!("a merge needs at least two checkpoints; write --checkpoint A --checkpoint B");
    }
    let starts = args.checkpoint.iter().map(|typed| Start::of(typed, notes));
    let texts: Vec<String> = starts.map(|start| Ok(start?.text)).collect::<Result<_>>()?;
    let text = text::head(head, "The mean of checkpoints.") + &text::merge(&texts);
    Ok(vec![("recipe.toml", text)])
}

/// The kinds of rows, in words.
fn what(found: &[RowFiles]) -> String {
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

/// Describes the files in a few lines.
fn describe(found: &RowFiles, in_tokens: bool, notes: &mut Vec<String>) {
    let files = match found.paths.as_slice() {
        [file] => file.display().to_string(),
        files => format!("{} files", files.len()),
    };
    let first = if found.more { "the first " } else { "" };
    let unit = match in_tokens {
        true => "tokens",
        false => "tokens at four characters each",
    };
    notes.push(format!(
        "{files}: {}, read {first}{} rows; median length {}, 95 % up to {}, longest {} {unit}",
        what(std::slice::from_ref(found)),
        found.lengths.len(),
        found.quantile(0.5),
        found.quantile(0.95),
        found.quantile(1.0),
    ));
    if let RowKind::Text(column) = &found.kind {
        notes.push(format!("  the text is in the column `{column}`"));
    }
    let unused: Vec<&str> = unused(found).into_iter().collect();
    if !unused.is_empty() {
        notes.push(format!("  unused columns: {}", unused.join(", ")));
    }
    if let Some((count, first)) = &found.unlike {
        notes.push(format!(
            "  {count} rows are malformed, the first: {first}; mend them, or write data.bad_rows = \"skip\""
        ));
    }
}

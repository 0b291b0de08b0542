//! `smollm3 eval`: what a checkpoint can do, as tables and as JSON.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use smollm3_corpus::{TokenStore, Tokenizer};
use smollm3_engine::dtype;
use smollm3_eval::{PositionLoss, loss_by_position, probe_scores, table};
use smollm3_model::hf::Checkpoint;
use smollm3_recipe::LongContextProbes;

use crate::args::{EvalArgs, Suite};

/// `smollm3 eval`.
pub fn eval(args: &EvalArgs) -> Result<ExitCode> {
    let Suite::LongContext = args.suite;
    let device = args.device.open()?;
    let precision = args.device.precision(args.precision)?;
    let mut checkpoint = Checkpoint::open(&args.checkpoint)?;
    let tokenizer = Tokenizer::load(args.checkpoint.join("tokenizer.json"))
        .context("a checkpoint needs its tokenizer.json to read probes")?;
    let mut lengths: Vec<usize> = args.lengths.iter().map(|length| length.0 as usize).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let Some(&longest) = lengths.last() else {
        bail!("there is no length; write --lengths 4k,8k");
    };
    let context = checkpoint.config.max_position_embeddings;
    if longest > context {
        eprintln!(
            "note: the model's context is {context}; what it does at {longest} is measured beyond it. `smollm3 export \
             --context` stretches it by YaRN."
        );
        checkpoint.config.max_position_embeddings = longest;
    }
    let model = checkpoint.model_in(dtype(precision), &device)?;
    let probes = LongContextProbes {
        lengths: args.lengths.clone(),
        tasks: match args.tasks.is_empty() {
            true => LongContextProbes::all_tasks(),
            false => args.tasks.iter().map(|task| (*task).into()).collect(),
        },
        items: args.items,
        seed: args.seed,
    };
    let bar = bar("probes");
    let scores = probe_scores(&model, &tokenizer, &probes, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        Ok(())
    })?;
    bar.finish_and_clear();
    println!("Long-context probes, part of the answers found (± standard error)\n");
    print!("{}", table(&scores));

    let mut losses = Vec::new();
    if let Some(store) = &args.store {
        let bar = self::bar("loss by position");
        let stores = [TokenStore::open(store)?];
        losses = loss_by_position(
            &model,
            &stores,
            &lengths,
            args.documents,
            &device,
            &mut |done, total| {
                bar.set_length(total);
                bar.set_position(done);
                Ok(())
            },
        )?;
        bar.finish_and_clear();
        println!("\n{}", positions(&losses, longest));
    }
    if let Some(path) = &args.json {
        let found = json!({
            "checkpoint": args.checkpoint,
            "asked": probes,
            "long_context": scores,
            "loss_by_position": losses,
        });
        std::fs::write(path, serde_json::to_string_pretty(&found)? + "\n")
            .with_context(|| format!("{}: cannot write", path.display()))?;
        println!("\nwrote {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn positions(losses: &[PositionLoss], longest: usize) -> String {
    let Some(documents) = losses.first().map(|part| part.documents) else {
        return format!("No document of the store has {longest} tokens; give shorter --lengths.\n");
    };
    let mut text = format!("Loss by position, nats/token, on {documents} documents (± standard error)\n\n");
    for part in losses {
        text.push_str(&format!(
            "  {:<20}{:>8.3} ± {:.3}\n",
            format!("{} to {}", part.from, part.to - 1),
            part.loss,
            part.standard_error
        ));
    }
    text
}

fn bar(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(0).with_prefix(what);
    if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len}  {eta} left") {
        bar.set_style(style.progress_chars("━╸ "));
    }
    bar
}

//! `--suite long-context`: probes after RULER, and loss by position in long documents.

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use serde_json::json;
use smollm3_corpus::{TokenStore, Tokenizer};
use smollm3_eval::{loss_by_position, probe_scores, table};
use smollm3_model::hf::Checkpoint;
use smollm3_recipe::{ContextLength, LongContextProbes};
use smollm3_records::PositionLoss;

use super::{bar, write_results};
use crate::args::EvalArgs;

/// Default lengths.
const LENGTHS: [u64; 3] = [1 << 10, 2 << 10, 4 << 10];

/// Scores by task and length, and loss by position with `--store`.
pub fn long_context(args: &EvalArgs) -> Result<()> {
    if args.store.is_empty() && args.documents.is_some() {
        bail!("--documents needs --store FOLDER");
    }
    let (device, dtype) = args.compute.open()?;
    let folder = args.checkpoint.folder()?;
    let mut checkpoint = Checkpoint::open(folder)?;
    let tokenizer = Tokenizer::load(folder.join("tokenizer.json"))
        .context("long-context probes need the checkpoint's tokenizer.json")?;
    let asked = match args.lengths.is_empty() {
        true => LENGTHS.map(ContextLength).to_vec(),
        false => args.lengths.clone(),
    };
    let mut lengths: Vec<usize> = asked.iter().map(|length| length.0 as usize).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let longest = lengths.last().copied().unwrap_or(0);
    let context = checkpoint.config.max_position_embeddings;
    if longest > context {
        eprintln!(
            "note: length {longest} exceeds the model's context of {context}; `smollm3 export --context` extends it by YaRN"
        );
        checkpoint.config = checkpoint.config.with_positions(longest as u64, folder)?;
    }
    let model = checkpoint.model_in(dtype, &device)?;
    let probes = LongContextProbes {
        lengths: asked,
        tasks: match args.tasks.is_empty() {
            true => LongContextProbes::all_tasks(),
            false => args.tasks.clone(),
        },
        items: args.items.unwrap_or(20),
        documents: args.documents.unwrap_or(64),
        seed: args.seed.unwrap_or(0),
    };
    let progress = |bar: &ProgressBar, done, total| {
        bar.set_length(total);
        bar.set_position(done);
        Ok(())
    };
    let probes_bar = bar("probes");
    let scores = probe_scores(&model, &tokenizer, &probes, &mut |done, total| {
        progress(&probes_bar, done, total)
    })?;
    probes_bar.finish_and_clear();
    println!("Long-context probes, fraction of answers found (± standard error)\n");
    print!("{}", table(&scores));

    let mut losses = Vec::new();
    if !args.store.is_empty() {
        let bar = bar("loss by position");
        let stores: Vec<TokenStore> = args
            .store
            .iter()
            .map(TokenStore::open)
            .collect::<Result<_, _>>()?;
        losses = loss_by_position(
            &model,
            &stores,
            &lengths,
            probes.documents as usize,
            &device,
            &mut |done, total| progress(&bar, done, total),
        )?;
        bar.finish_and_clear();
        println!("\n{}", positions(&losses, longest));
    }
    let results = json!({
        "checkpoint": args.checkpoint,
        "asked": probes,
        "long_context": scores,
        "loss_by_position": losses,
    });
    write_results(args, &results)
}

fn positions(losses: &[PositionLoss], longest: usize) -> String {
    let Some(documents) = losses.first().map(|part| part.documents) else {
        return format!("No document of the store has {longest} tokens; use shorter --lengths.\n");
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

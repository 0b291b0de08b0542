//! `--suite loss`: nats per token and bits per byte, by source.

use anyhow::{Result, bail};
use serde_json::json;
use smollm3_corpus::TokenStore;
use smollm3_corpus::shards::LocalShards;
use smollm3_eval::{DocumentLoss, LossSettings, LossSource, report, source_losses, text_loss};

use super::SuiteRun;
use crate::args::EvalArgs;

/// Default number of tokens of a packed row.
const TOKENS_AT_ONCE: usize = 4096;

/// Loss on stores and on text.
pub fn loss(args: &EvalArgs) -> Result<()> {
    if args.store.is_empty() && args.text.is_empty() {
        bail!("--suite loss needs text; write --store FOLDER or --text FILE");
    }
    if args.text.is_empty() && args.column.is_some() {
        bail!("--column needs --text FILE");
    }
    let column = args.column.as_deref().unwrap_or("text");
    let mut sources = Vec::new();
    let mut fingerprints = Vec::new();
    for folder in &args.store {
        let store = TokenStore::open(folder)?;
        if args.out.is_some() {
            fingerprints.push(store.fingerprint()?);
        }
        sources.push((folder.display().to_string(), LossSource::Store(store)));
    }
    for file in &args.text {
        let files = LocalShards::find(file, &[file])?;
        let column = column.to_owned();
        sources.push((file.clone(), LossSource::Text { files, column }));
    }
    let own = json!({
        "sources": sources.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        "stores": fingerprints,
        "column": column,
        "piece": args.piece.map(|piece| piece.0),
    });
    let model = args.compute.text_model(&args.checkpoint)?;
    let context = model.model.max_positions();
    if let Some(piece) = args.piece.filter(|piece| piece.0 as usize > context) {
        bail!(
            "--piece {}: the model's context is {context}; write at most that",
            piece.0
        );
    }
    let mut work: SuiteRun<'_, DocumentLoss> = SuiteRun::begin(args, model, own)?;
    let settings = LossSettings {
        limit: args.limit,
        length: args.piece.map(|piece| piece.0 as usize),
        tokens_at_once: args.tokens_at_once(TOKENS_AT_ONCE),
    };
    text_loss(
        &work.model,
        &sources,
        settings,
        &mut work.log,
        &mut |done, total| work.progress.report(done, total),
    )?;
    let losses = source_losses(work.log.records().values());
    if losses.iter().all(|source| source.tokens == 0) {
        bail!("--suite loss: there is no token to predict in these documents");
    }
    let title = format!("Loss (± standard error over documents): {}", args.checkpoint);
    let table = report::losses(&losses);
    work.finish(&title, json!(losses), &table)
}

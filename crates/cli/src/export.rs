//! `smollm3 export`: converts a checkpoint.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};
use smollm3_corpus::Tokenizer;
use smollm3_engine::rewrite;
use smollm3_files::atomic_folder::refuse_existing;
use smollm3_inference::check_vocabulary;
use smollm3_model::hf::Checkpoint;
use smollm3_model::{ModelConfig, Yarn};

use crate::adapter::merged;
use crate::args::ExportArgs;

/// `smollm3 export`.
pub fn export(args: &ExportArgs) -> Result<()> {
    let typed = args.checkpoint.model_or_adapter()?;
    // Before an adapter is merged, which takes a while.
    refuse_existing(&args.out)?;
    let merged = merged(typed, &args.out)?;
    let from = merged.as_ref().map_or(typed, |folder| folder.path());
    let checkpoint = Checkpoint::open(from)?;
    // Tokenizers of kinds that are not read here are copied unchecked.
    if let Ok(tokenizer) = Tokenizer::load(from) {
        check_vocabulary(from, &tokenizer, &checkpoint.config)?;
    }
    let config = match args.context {
        None => checkpoint.config.clone(),
        Some(context) => stretched(&checkpoint.config, context.0, from)?,
    };
    if let Some(precision) = args.gguf {
        smollm3_gguf::export(from, &checkpoint, &config, &args.out, precision)?;
        let bytes = fs::metadata(&args.out).map_or(0, |file| file.len());
        println!("wrote {} ({:.1} MB)", args.out.display(), bytes as f64 / 1e6);
    } else {
        rewrite(from, checkpoint, &config, args.dtype, &args.out)?;
        println!("wrote {} ({})", args.out.display(), args.dtype.name());
    }
    if let Some(yarn) = &config.rope_scaling {
        println!(
            "context {}: YaRN, factor {} over {}",
            config.max_position_embeddings, yarn.factor, yarn.original_max_position_embeddings
        );
    }
    Ok(())
}

/// The architecture with YaRN from the length it was trained at to `context`.
fn stretched(config: &ModelConfig, context: u64, folder: &Path) -> Result<ModelConfig> {
    let yarn = config.rope_scaling.as_ref();
    let trained = yarn.map_or(config.max_position_embeddings, |yarn| {
        yarn.original_max_position_embeddings
    });
    if context <= trained as u64 {
        bail!(
            "--context {context} is within the {trained} tokens that the model was trained for; leave it out"
        );
    }
    let stretched = ModelConfig {
        rope_scaling: Some(Yarn::new(context as f64 / trained as f64, trained)),
        // A longer context is not kept.
        max_position_embeddings: trained,
        ..config.clone()
    };
    Ok(stretched.with_positions(context, folder)?)
}

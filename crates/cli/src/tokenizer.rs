//! `smollm3 tokenizer …`: a checkpoint with other tokens.

use std::process::ExitCode;

use anyhow::{Context, Result};
use smollm3_chat::tokens;
use smollm3_corpus::Tokenizer;
use smollm3_model::ModelConfig;
use smollm3_model::hf::{Checkpoint, FileDtype};

use crate::args::AddChatTokensArgs;
use crate::export::{named_tensors, write_folder};

/// Tables with a row a token.
const TABLES: [&str; 2] = ["model.embed_tokens.weight", "lm_head.weight"];

/// `smollm3 tokenizer add-chat-tokens`.
pub fn add_chat_tokens(args: &AddChatTokensArgs) -> Result<ExitCode> {
    let from = args.checkpoint.folder()?;
    let tokenizer =
        Tokenizer::load(from.join("tokenizer.json")).context("the checkpoint has no tokenizer to add to")?;
    let (tokenizer, added) = tokens::add_chat_tokens(&tokenizer)?;
    let checkpoint = Checkpoint::open(from)?;
    let entries = tokenizer.info().vocab_size as usize;
    let before = checkpoint.config.vocab_size;
    let config = ModelConfig {
        vocab_size: before.max(entries),
        ..checkpoint.config.clone()
    };
    let dtype = FileDtype::F32;
    let (rows, width) = (config.vocab_size, config.hidden_size);
    let tensors = named_tensors(
        checkpoint,
        config.parameter_shapes(),
        dtype,
        move |name, mut values| {
            if TABLES.contains(&name) {
                append_mean_rows(&mut values, rows, width);
            }
            values
        },
    );
    write_folder(from, &args.out, &config, &tensors, dtype, |folder| {
        Ok(tokenizer.save(folder.join("tokenizer.json"))?)
    })?;
    for (token, id) in &added {
        println!("{id:>8}  {token}");
    }
    match added.len() {
        0 => println!("all tokens were there already"),
        count => println!(
            "added {count} tokens; the embedding has {} rows ({before} before), new ones are the mean of the others",
            config.vocab_size
        ),
    }
    println!("wrote {}", args.out.display());
    Ok(ExitCode::SUCCESS)
}

/// Rows up to `rows`, each the mean of those that are there: near to every token, and of no unusual length.
fn append_mean_rows(values: &mut Vec<f32>, rows: usize, width: usize) {
    let known = values.len() / width.max(1);
    let mut mean = vec![0.0f64; width];
    for row in values.chunks_exact(width.max(1)) {
        row.iter()
            .zip(&mut mean)
            .for_each(|(value, sum)| *sum += f64::from(*value));
    }
    let mean: Vec<f32> = mean
        .iter()
        .map(|sum| (sum / known.max(1) as f64) as f32)
        .collect();
    for _ in known..rows {
        values.extend(&mean);
    }
}

#[cfg(test)]
mod tests {
    use super::append_mean_rows;

    #[test]
    fn new_rows_are_the_mean_of_the_others() {
        let mut values = vec![1.0, 10.0, 3.0, 20.0];
        append_mean_rows(&mut values, 4, 2);
        assert_eq!(values, [1.0, 10.0, 3.0, 20.0, 2.0, 15.0, 2.0, 15.0]);
        append_mean_rows(&mut values, 3, 2);
        assert_eq!(values.len(), 8);
    }
}

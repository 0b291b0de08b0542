//! What a run prints about its checkpoints at its end.

use std::path::PathBuf;

use anyhow::Result;
use burn::tensor::DType;
use smollm3_engine::Run;
use smollm3_inference::{Continuation, TextModel};
use smollm3_recipe::Stage;
use smollm3_records::stage_result;

/// Prompts for the last checkpoint: a sum and a piece of documentation.
const PROMPTS: [&str; 2] = ["Question: What is 27 + 15?\n", "# Installation\n\n"];

/// Continuations by the last checkpoint trained on plain text, and how to use the last checkpoint.
pub fn closing_sample(run: &Run) -> Result<String> {
    let newest = |stage: &Stage| -> Result<Option<PathBuf>> {
        Ok(stage_result(stage, &run.stage_folder(&stage.name))?)
    };
    let mut text = String::new();
    let stages = &run.recipe.stages;
    if let Some(stage) = stages.iter().rfind(|stage| !stage.is_conversational())
        && let Some(folder) = newest(stage)?
    {
        let model = TextModel::open(&folder, DType::F32, &run.device)?;
        text.push_str(&format!("\nContinuations after {}:\n", stage.name));
        let how = Continuation {
            max_new_tokens: 60,
            ..Continuation::default()
        };
        for prompt in PROMPTS {
            let ids = model.tokenizer.encode(prompt)?;
            let continued = model.continue_text(&ids, &how, |_| Ok(()))?;
            text.push_str(&format!("\n{prompt}{}\n", continued.trim_end()));
        }
    }
    if let Some(stage) = stages.last()
        && let Some(folder) = newest(stage)?
    {
        let folder = folder.display();
        text.push_str(&format!("\nCheckpoint: {folder}\n"));
        text.push_str(&match stage.is_conversational() {
            true => format!("Try: smollm3 chat {folder}\n"),
            false => format!("Try: smollm3 generate {folder} --prompt \"…\"\n"),
        });
    }
    Ok(text)
}

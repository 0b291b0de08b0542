//! A new kind of stage: documents of tokens with a mask, from JSON lines.
//!
//! ```sh
//! cargo run -p smollm3-pipeline --example json_lines -- RECIPE ROWS.jsonl
//! ```
//!
//! A line is `{"ids": [5, 7, 9], "mask": [0, 1, 1]}`: a document, and which of its tokens are learned. The first stage of the
//! recipe gives batch, optimizer and schedule; its mixture is not read.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde::Deserialize;
use smollm3_engine::{
    CrossEntropy, EngineError, EpochData, EpochOrder, RankSlice, Result, Row, Run, StageCheckpoints,
    run_stage,
};
use smollm3_files::hash_file;
use smollm3_recipe::{Recipe, Stage};
use smollm3_records::{Listener, Listeners, Metrics};

const SOURCE: &str = "json-lines";

#[derive(Deserialize)]
struct Line {
    ids: Vec<u32>,
    mask: Vec<u8>,
}

/// Rows of up to `length` tokens, with as many documents as fit. Longer documents are cut off.
fn rows_of_lines(path: &Path, length: usize, vocab_size: usize) -> Result<Vec<Row>> {
    let refuse = |problem: String| EngineError::Refused(format!("{}: {problem}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    let mut rows: Vec<Row> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let refuse = |problem: String| refuse(format!("line {number}: {problem}"));
        let Line { mut ids, mask } = serde_json::from_str(line).map_err(|error| refuse(error.to_string()))?;
        if ids.is_empty() || mask.len() != ids.len() || ids.iter().any(|id| *id as usize >= vocab_size) {
            return Err(refuse(format!(
                "it needs ids below {vocab_size}, and one mask an id"
            )));
        }
        ids.truncate(length);
        let learned: Vec<bool> = mask.iter().map(|mask| *mask != 0).collect();
        match rows.last_mut() {
            Some(row) if row.ids.len() + ids.len() <= length => row.append(&ids, &learned),
            _ => {
                let mut row = Row::default();
                row.append(&ids, &learned);
                rows.push(row);
            }
        }
    }
    match rows.is_empty() {
        true => Err(refuse("it has no line".to_owned())),
        false => Ok(rows),
    }
}

/// Runs a stage on the documents of `path` to its end, from its newest checkpoint if it has one.
pub fn train_json_lines(
    run: &Run,
    stage: &Stage,
    path: &Path,
    stop: &AtomicBool,
    listener: &mut dyn Listener,
) -> Result<()> {
    let training = &stage
        .training()
        .ok_or_else(|| EngineError::Refused(format!("stage \"{}\" has no phases", stage.name)))?;
    run.verify_parents(stage)?;
    let config = run.stage_config(stage)?;
    let rows = rows_of_lines(path, training.sequence_length.0 as usize, config.vocab_size)?;
    let (count, seed) = (rows.len() as u64, run.recipe.run.seed);
    let slice = RankSlice::new(&*run.ranks, stage, training)?;
    let data = EpochData {
        order: EpochOrder::new(count, seed, SOURCE, training.sequences_per_step()),
        slice,
        steps: training.total_steps(),
        category: SOURCE,
        sources: vec![(SOURCE.to_owned(), count)],
        read: |numbers: &[u64]| -> Result<_> {
            let rows = numbers.iter().map(|number| rows[*number as usize].clone());
            Ok(slice.micro_batches(rows.collect()))
        },
    };
    let checkpoints = StageCheckpoints {
        run,
        stage,
        training,
        generation: run.generation_json(stage, &config)?,
        config,
        tokenizer_folder: run.data.tokenizer_folder.clone(),
        data: [(SOURCE.to_owned(), hash_file(path)?.to_hex().to_string())].into(),
        lora: None,
    };
    run_stage(&checkpoints, &data, &CrossEntropy, &(), stop, listener)
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [recipe, rows] = arguments.as_slice() else {
        return Err("usage: json_lines RECIPE ROWS.jsonl".into());
    };
    let mut listeners = Listeners::default().with(Metrics::default());
    let run = Run::open(Recipe::load(Path::new(recipe), &[])?, &mut listeners)?;
    let stage = run.recipe.stages.first().ok_or("the recipe has no stage")?;
    train_json_lines(
        &run,
        stage,
        Path::new(rows),
        &AtomicBool::new(false),
        &mut listeners,
    )?;
    println!("trained in {}", run.output.display());
    Ok(())
}

//! The scores of a model on long-context probes, and a table of them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use smollm3_corpus::Tokenizer;
use smollm3_model::{Generation, SmolLm3, generate};
use smollm3_recipe::LongContextProbes;
use smollm3_records::ProbeScore;

use crate::{Probe, Result, Task};

/// Tokens of the prompts that are continued at once.
const TOKENS_AT_ONCE: usize = 16_384;

/// The scores of all tasks at all lengths, by greedy decoding. `progress` gets the number of probes done and the total.
///
/// # Errors
/// A task does not fit a length, a length is longer than the model's context, or `progress` ends the work.
pub fn probe_scores(
    model: &SmolLm3,
    tokenizer: &Tokenizer,
    probes: &LongContextProbes,
    progress: &mut dyn FnMut(u64, u64) -> Result<()>,
) -> Result<Vec<ProbeScore>> {
    let cells = (probes.lengths.len() * probes.tasks.len()) as u64;
    let total = cells * u64::from(probes.items);
    let (mut done, mut scores) = (0, Vec::new());
    for length in probes.lengths.iter().map(|length| length.0 as usize) {
        for task in probes.tasks.iter().copied() {
            let mut found = Vec::new();
            let indices: Vec<u64> = (0..u64::from(probes.items)).collect();
            for indices in indices.chunks((TOKENS_AT_ONCE / length.max(1)).max(1)) {
                progress(done, total)?;
                let some = indices
                    .iter()
                    .map(|index| Probe::new(task, length, tokenizer, probes.seed, *index));
                let some: Vec<Probe> = some.collect::<Result<_>>()?;
                found.extend(scored(model, tokenizer, &some)?);
                done += indices.len() as u64;
            }
            scores.push(ProbeScore::of(task, length, &found));
        }
    }
    progress(done, total)?;
    Ok(scores)
}

/// The score of each probe.
fn scored(model: &SmolLm3, tokenizer: &Tokenizer, probes: &[Probe]) -> Result<Vec<f64>> {
    let prompts = probes.iter().map(|probe| tokenizer.encode(&probe.prompt));
    let prompts: Vec<Vec<u32>> = prompts.collect::<std::result::Result<_, _>>()?;
    let most = probes.iter().map(|probe| probe.max_new_tokens).max().unwrap_or(0);
    let settings = Generation {
        max_new_tokens: most,
        stop: vec![tokenizer.info().end_of_text],
        ..Generation::default()
    };
    let mut written = vec![0; probes.len()];
    let found = generate(model, &prompts, &settings, |row, _| {
        written[row] += 1;
        match written[row] < probes[row].max_new_tokens {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    let score = |(probe, ids): (&Probe, Vec<u32>)| Ok(probe.score(&tokenizer.decode(&ids, true)?));
    probes.iter().zip(found).map(score).collect()
}

/// Scores in percent, a row a task and a column a length, with the mean over tasks below.
pub fn table(scores: &[ProbeScore]) -> String {
    let mut lengths: Vec<usize> = scores.iter().map(|score| score.length).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let mut rows: BTreeMap<Task, BTreeMap<usize, &ProbeScore>> = BTreeMap::new();
    for score in scores {
        rows.entry(score.task).or_default().insert(score.length, score);
    }
    let mut text = String::new();
    let mut line = |name: &str, cells: Vec<String>| {
        text.push_str(&format!("  {name:<20}"));
        cells
            .iter()
            .for_each(|cell| text.push_str(&format!("{cell:>14}")));
        text.push('\n');
    };
    line("score, %", lengths.iter().map(ToString::to_string).collect());
    for (task, cells) in &rows {
        let cell = |length: &usize| {
            cells.get(length).map_or("-".to_owned(), |cell| {
                format!("{:.1} ± {:.1}", 100.0 * cell.score, 100.0 * cell.standard_error)
            })
        };
        line(&task.to_string(), lengths.iter().map(cell).collect());
    }
    if rows.len() > 1 {
        let mean = |length: &usize| {
            let at = scores.iter().filter(|score| score.length == *length);
            let at: Vec<f64> = at.map(|score| score.score).collect();
            format!("{:.1}", 100.0 * at.iter().sum::<f64>() / at.len() as f64)
        };
        line("mean", lengths.iter().map(mean).collect());
    }
    text
}

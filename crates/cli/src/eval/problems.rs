//! Problems with written solutions: `--suite gsm8k`, `math`.

use anyhow::{Result, bail};
use serde_json::json;
use smollm3_eval::{
    Asking, DataRow, INSTRUCTION, Problem, ProblemRecord, ProblemTask, problem_score, report, solve,
};
use smollm3_inference::InferenceError;
use smollm3_model::Sampling;
use smollm3_records::Mode;

use super::{SuiteRun, data_rows, examples, limited};
use crate::args::EvalArgs;
use crate::sampling::checked;

/// Default number of tokens of solutions generated together.
const TOKENS_AT_ONCE: usize = 32_768;
/// Default maximum number of new tokens.
const LONGEST: u64 = 1024;

/// Exact match on a data set.
pub fn problems(args: &EvalArgs, task: ProblemTask) -> Result<()> {
    let problems = |rows: &[DataRow]| -> Result<Vec<Problem>> {
        Ok(rows
            .iter()
            .map(|row| task.problem(row))
            .collect::<smollm3_eval::Result<_>>()?)
    };
    let columns = task.read_columns();
    let all = problems(&data_rows(args, &columns)?)?;
    let (shots, examples) = examples(args, &all, &columns, problems)?;
    let asked = limited(args, &all);
    let sampling = sampling(args)?;
    let model = args.compute.text_model(&args.checkpoint)?;
    let mode = match (args.think, args.no_think, args.plain) {
        (true, _, _) => Mode::Think,
        (_, true, _) => Mode::NoThink,
        (_, _, true) => Mode::Plain,
        _ if model.template.is_some() => Mode::NoThink,
        _ => Mode::Plain,
    };
    if mode != Mode::Plain && model.template.is_none() {
        return Err(InferenceError::NoTemplate { folder: model.folder }.into());
    }
    if mode == Mode::Plain && args.instruction.is_some() {
        bail!("--instruction is for conversations only; leave it out, or add --no-think or --think");
    }
    let asking = Asking {
        task,
        mode,
        instruction: args.instruction.clone().unwrap_or_else(|| INSTRUCTION.to_owned()),
        shots,
        examples,
        samples: args.samples.unwrap_or(1) as usize,
        max_new_tokens: args.max_new_tokens.unwrap_or(LONGEST) as usize,
        sampling,
    };
    let own = json!({
        "mode": mode,
        "instruction": (mode != Mode::Plain).then_some(&asking.instruction),
        "shots": shots,
        "samples": asking.samples,
        "max_new_tokens": asking.max_new_tokens,
        "temperature": asking.sampling.temperature,
        "top_p": asking.sampling.top_p,
        "seed": asking.sampling.seed,
        "tokens_at_once": args.tokens_at_once(TOKENS_AT_ONCE),
    });
    let mut work: SuiteRun<'_, ProblemRecord> = SuiteRun::begin(args, model, own)?;
    solve(
        &work.model,
        &asked,
        &asking,
        args.tokens_at_once(TOKENS_AT_ONCE),
        &mut work.log,
        &mut |done, total| work.progress.report(done, total),
    )?;
    let score = problem_score(work.log.records().values());
    let title = format!("{}, {mode}, {shots}-shot: {}", task.name(), args.checkpoint);
    let table = report::problems(&score);
    work.finish(&title, json!(score), &table)
}

/// Greedy for one solution; for several, sampling as SmolLM3's model card recommends.
fn sampling(args: &EvalArgs) -> Result<Sampling> {
    let several = args.samples.unwrap_or(1) > 1;
    let temperature = args.temperature.unwrap_or(if several { 0.6 } else { 0.0 });
    let sampling = checked(Sampling {
        temperature,
        top_p: args.top_p.unwrap_or(if several { 0.95 } else { 1.0 }),
        seed: args.seed.unwrap_or(0),
        ..Sampling::default()
    })?;
    let random = temperature > 0.0;
    if several && !random {
        bail!("--samples with --temperature 0 would repeat the same solution; write --temperature 0.6");
    }
    for (option, is_given) in [("--top-p", args.top_p.is_some()), ("--seed", args.seed.is_some())] {
        if is_given && !random {
            bail!("{option} has no effect at temperature 0; write --temperature 0.6 too");
        }
    }
    Ok(sampling)
}

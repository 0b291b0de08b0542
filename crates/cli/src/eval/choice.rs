//! Multiple choice: `--suite hellaswag`, `mmlu`, ….

use anyhow::Result;
use serde_json::json;
use smollm3_eval::{ChoiceRecord, ChoiceTask, DataRow, Form, Item, Prompts, choice_score, choose, report};

use super::{SuiteRun, data_rows, examples, limited};
use crate::args::EvalArgs;

/// Default number of tokens of a packed row.
const TOKENS_AT_ONCE: usize = 4096;

/// Accuracy on a data set.
pub fn choice(args: &EvalArgs, task: ChoiceTask) -> Result<()> {
    let items = |rows: &[DataRow]| -> Result<Vec<Item>> {
        Ok(rows
            .iter()
            .map(|row| task.item(row))
            .collect::<smollm3_eval::Result<_>>()?)
    };
    let columns = task.read_columns();
    let all = items(&data_rows(args, &columns)?)?;
    let (shots, examples) = examples(args, &all, &columns, items)?;
    let prompts = Prompts {
        task,
        form: args.form.unwrap_or(task.usual_form()),
        shots,
        examples,
    };
    let asked = limited(args, &all);
    // Refuses bad items before the weights are read.
    asked
        .iter()
        .try_for_each(|item| prompts.questions(item).map(drop))?;
    let own = json!({"form": prompts.form, "shots": prompts.shots});
    let model = args.compute.text_model(&args.checkpoint)?;
    let mut work: SuiteRun<'_, ChoiceRecord> = SuiteRun::begin(args, model, own)?;
    choose(
        &work.model,
        &asked,
        &prompts,
        args.tokens_at_once(TOKENS_AT_ONCE),
        &mut work.log,
        &mut |done, total| work.progress.report(done, total),
    )?;
    let (score, subjects) = choice_score(work.log.records().values());
    let form = match prompts.form {
        Form::Cloze => "cloze",
        Form::Lettered => "lettered",
    };
    let title = format!("{}, {form}, {shots}-shot: {}", task.name(), args.checkpoint);
    let table = report::choices(&score, &subjects);
    work.finish(&title, json!({"all": score, "subjects": subjects}), &table)
}

//! `smollm3 data responses` and `smollm3 data pairs`: generate data from the answers of models.

mod answer_bar;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use smollm3_chat::NaiveDate;
use smollm3_corpus::remote::RetryPolicy;
use smollm3_hub::Wanted;
use smollm3_model::Sampling;
use smollm3_recipe::HubId;
use smollm3_synthesis::{
    Asked, Asking, CheckpointModel, Endpoint, Form, Journal, Key, LeftOut, Model, Patience, Prompts,
    Settings, Survey, SynthesisError, Written, answer_all, write_rows,
};

use crate::args::{AnswerArgs, OF_CHECKPOINTS, OF_ENDPOINTS, PairsArgs, ResponsesArgs};
use crate::date;
use crate::hub::local_folder;
use crate::interrupt::{Stopped, flag};
use crate::sampling::checked;

/// Default number of samples of a single model, which needs right and wrong ones.
const SAMPLES_OF_ONE: u32 = 4;

/// `smollm3 data responses`.
pub fn responses(args: &ResponsesArgs, typed: &BTreeSet<String>) -> Result<()> {
    let model = asked("model", &args.model, args.key_env.as_deref(), &args.answers)?;
    check_options(typed, &[&model])?;
    write(&args.answers, &[model], Form::Responses, args.samples, None)
}

/// `smollm3 data pairs`.
pub fn pairs(args: &PairsArgs, typed: &BTreeSet<String>) -> Result<()> {
    let answers = &args.answers;
    match (&args.model, &args.strong, &args.weak) {
        (Some(model), _, _) => {
            let samples = args.samples.unwrap_or(SAMPLES_OF_ONE);
            if samples < 2 {
                bail!("--samples 1: a pair needs two answers of a single model; write 2 or more");
            }
            let model = asked("model", model, args.key_env.as_deref(), answers)?;
            check_options(typed, &[&model])?;
            write(
                answers,
                &[model],
                Form::RightOverWrong,
                samples,
                args.right.clone(),
            )
        }
        (None, Some(strong), Some(weak)) => {
            let strong = asked("strong", strong, args.strong_key_env.as_deref(), answers)?;
            let mut weak = asked("weak", weak, args.weak_key_env.as_deref(), answers)?;
            if let Some(temperature) = args.weak_temperature {
                weak.sampling.temperature = temperature;
                weak.sampling = checked(weak.sampling).context("--weak-temperature")?;
            }
            check_options(typed, &[&strong, &weak])?;
            write(
                answers,
                &[strong, weak],
                Form::StrongOverWeak,
                args.samples.unwrap_or(1),
                None,
            )
        }
        _ => bail!("write --strong MODEL --weak MODEL, or one MODEL and --right COLUMN"),
    }
}

/// A model as typed.
fn asked(name: &'static str, address: &str, key_env: Option<&str>, args: &AnswerArgs) -> Result<Asked> {
    let sampling = checked(Sampling {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        min_p: args.min_p,
        repetition_penalty: args.repetition_penalty,
        seed: args.seed,
    })?;
    let model = if address.starts_with("http://") || address.starts_with("https://") {
        let patience = Patience {
            timeout: Duration::from_secs(args.timeout),
            retry: RetryPolicy {
                attempts: args.attempts,
                ..RetryPolicy::default()
            },
        };
        let key = key_env.map(Key::from_env).transpose()?;
        Model::Endpoint(Endpoint::new(address, key, args.concurrency, patience)?)
    } else {
        let is_place = Path::new(address).exists() || HubId::parse(address).is_some();
        let folder = match local_folder(Path::new(address), Wanted::MODEL) {
            Err(error) if !is_place => {
                bail!("`{address}` is no endpoint, such as http://localhost:8000/v1#MODEL: {error}")
            }
            found => found?,
        };
        if !folder.is_dir() {
            bail!(
                "`{address}` is not a checkpoint's folder, a model on the Hub (owner/name) or an endpoint (http://localhost:8000/v1#MODEL)"
            );
        }
        if let Some(variable) = key_env {
            bail!("{variable}: a checkpoint needs no key; leave the option out");
        }
        let (device, dtype) = args.compute.open()?;
        let date = match args.date {
            // Answers that were begun on another day keep their date.
            None => begun(name, &args.out)?,
            given => given,
        };
        let date = date::or_today(date)?;
        Model::Checkpoint(CheckpointModel::new(&folder, dtype, &device, args.batch, date)?)
    };
    Ok(Asked {
        name,
        model,
        sampling,
        max_new_tokens: args.max_new_tokens as usize,
    })
}

/// Refuses options that none of the models has.
fn check_options(typed: &BTreeSet<String>, models: &[&Asked]) -> Result<()> {
    let is_endpoint = |asked: &&&Asked| matches!(asked.model, Model::Endpoint(_));
    let endpoints = models.iter().filter(is_endpoint).count();
    for (options, count, whose) in [
        (OF_ENDPOINTS, endpoints, "endpoints"),
        (OF_CHECKPOINTS, models.len() - endpoints, "checkpoints"),
    ] {
        if count == 0
            && let Some(option) = options.iter().find(|option| typed.contains(**option))
        {
            bail!("{option} is for {whose}, but there is none; leave it out");
        }
    }
    Ok(())
}

/// The date of existing answers.
fn begun(name: &str, out: &Path) -> Result<Option<NaiveDate>> {
    let settings = Journal::settings_of(out)?;
    let date = settings.and_then(|there| {
        let date = there.settings.get(&format!("{name}.date"))?.as_str()?;
        date::parse(date).ok()
    });
    Ok(date)
}

fn write(
    args: &AnswerArgs,
    models: &[Asked],
    form: Form,
    samples: u32,
    expected: Option<String>,
) -> Result<()> {
    if args.out.extension().is_none_or(|ending| ending != "jsonl") {
        bail!(
            "--out {}: the output is JSON lines; write a name that ends in .jsonl",
            args.out.display()
        );
    }
    let prompts = open_prompts(args, expected)?;
    let stop = flag("stopping; the answers so far are kept")?;
    let mut journal = Journal::open(&args.out, &settings(args, models, form))?;
    let survey = prompts.survey(|prompt| match stop.load(Ordering::Relaxed) {
        true => Err(SynthesisError::Interrupted),
        false => journal.check(prompt),
    })?;
    if survey.prompts == 0 {
        bail!("there is no prompt in {}", args.prompts.join(", "));
    }
    let mut bar = answer_bar::AnswerBar::new();
    let answered = answer_all(
        &prompts,
        &survey,
        models,
        samples,
        &mut journal,
        &stop,
        &mut |progress| {
            bar.show(progress);
        },
    );
    bar.finish();
    let interrupted = matches!(answered, Err(SynthesisError::Interrupted));
    if !interrupted && let Err(error) = answered {
        if !journal.is_empty() {
            eprintln!("the answers so far are kept; the same command continues from there");
        }
        return Err(error.into());
    }
    let written = write_rows(&args.out, &prompts, &mut journal, form, samples, &args.keep)?;
    print!("{}", describe(args, form, models, &survey, &written, &journal));
    match interrupted {
        false => Ok(()),
        true => Err(Stopped("stopped; the same command continues from there".to_owned()).into()),
    }
}

fn open_prompts(args: &AnswerArgs, expected: Option<String>) -> Result<Prompts> {
    let mut cache = args.out.as_os_str().to_owned();
    cache.push(".cache");
    let asking = Asking {
        system: args.system.clone(),
        think: thinks(args),
        expected,
        limit: args.limit,
        bad_rows: args.bad_rows,
    };
    Prompts::open(&args.prompts, &args.cache.options(cache.into()), asking).context("--prompts")
}

fn thinks(args: &AnswerArgs) -> Option<bool> {
    (args.think || args.no_think).then_some(args.think)
}

fn settings(args: &AnswerArgs, models: &[Asked], form: Form) -> Settings {
    let mut settings = Settings::default();
    for model in models {
        model.describe(&mut settings);
    }
    let mut set = |key: &str, value: Value| settings.settings.insert(key.to_owned(), value);
    set("rows", json!(kind(form)));
    set("think", json!(thinks(args)));
    set("system", json!(args.system));
    let mut note = |key: &str, value: Value| settings.circumstances.insert(key.to_owned(), value);
    note("prompts", json!(args.prompts));
    note("smollm3", json!(env!("CARGO_PKG_VERSION")));
    settings
}

/// What the rows are.
fn kind(form: Form) -> &'static str {
    match form {
        Form::Responses => "conversations",
        Form::StrongOverWeak | Form::RightOverWrong => "pairs",
    }
}

fn describe(
    args: &AnswerArgs,
    form: Form,
    models: &[Asked],
    survey: &Survey,
    written: &Written,
    journal: &Journal,
) -> String {
    let mut lines = vec![format!(
        "{}: {} {} of {} prompts",
        args.out.display(),
        written.rows,
        kind(form),
        survey.prompts
    )];
    if written.waiting > 0 {
        lines.push(format!("  not answered yet: {}", written.waiting));
    }
    for (reason, count) in &written.left_out {
        let hint = match reason {
            LeftOut::CutOff => format!(" (--max-new-tokens {})", args.max_new_tokens),
            _ => String::new(),
        };
        lines.push(format!("  left out: {count}, {}{hint}", reason.words()));
    }
    if let Some(example) = &survey.example {
        lines.push(format!(
            "  skipped: {} rows without a prompt\n    {example}",
            survey.bad_rows
        ));
    }
    for (number, model) in (0u8..).zip(models) {
        lines.push(format!("  {}: {} tokens", model.name, journal.tokens(number)));
    }
    lines.push(format!(
        "  all answers: {}\n",
        Journal::path_of(&args.out).display()
    ));
    lines.join("\n")
}

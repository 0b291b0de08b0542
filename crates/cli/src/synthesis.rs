//! `smollm3 data responses`, `smollm3 data pairs`: prompts in, rows with answers of models out.

mod answer_bar;

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use smollm3_corpus::remote::RetryPolicy;
use smollm3_corpus::shards::CacheOptions;
use smollm3_engine::dtype;
use smollm3_hub::Wanted;
use smollm3_synthesis::{
    Asked, Asking, BadRows, CheckpointModel, Endpoint, Form, Journal, Key, LeftOut, Model, Patience, Prompts,
    Settings, Survey, SynthesisError, Written, answer_all, write_rows,
};

use crate::args::{self, AnswerArgs, KeepArg, PairsArgs, PrecisionArg, ResponsesArgs};
use crate::date::date;
use crate::hub::local_folder;
use crate::interrupt::{STOPPED, flag};
use crate::sampling::drawn;

/// Samples of one model that is to contradict itself.
const SAMPLES_OF_ONE: u32 = 4;

/// `smollm3 data responses`.
pub fn responses(args: &ResponsesArgs) -> Result<ExitCode> {
    let models = vec![asked(
        "model",
        &args.model,
        args.key_env.as_deref(),
        &args.answers,
    )?];
    write(&args.answers, models, Form::Responses, args.samples, None)
}

/// `smollm3 data pairs`.
pub fn pairs(args: &PairsArgs) -> Result<ExitCode> {
    let answers = &args.answers;
    match (&args.model, &args.strong, &args.weak) {
        (Some(model), _, _) => {
            let samples = args.samples.unwrap_or(SAMPLES_OF_ONE);
            if samples < 2 {
                bail!("--samples 1: one answer of one model makes no pair; write 2 or more");
            }
            let models = vec![asked("model", model, args.key_env.as_deref(), answers)?];
            write(answers, models, Form::RightOverWrong, samples, args.right.clone())
        }
        (None, Some(strong), Some(weak)) => {
            let strong = asked("strong", strong, args.strong_key_env.as_deref(), answers)?;
            let mut weak = asked("weak", weak, args.weak_key_env.as_deref(), answers)?;
            if let Some(temperature) = args.weak_temperature {
                weak.sampling.temperature = temperature;
                weak.sampling = drawn(weak.sampling).context("--weak-temperature")?;
            }
            let samples = args.samples.unwrap_or(1);
            write(answers, vec![strong, weak], Form::StrongOverWeak, samples, None)
        }
        _ => bail!("write --strong MODEL --weak MODEL, or one MODEL and --right COLUMN"),
    }
}

/// A model as it is typed.
fn asked(name: &'static str, address: &str, key_env: Option<&str>, args: &AnswerArgs) -> Result<Asked> {
    let sampling = drawn(args.into())?;
    let model = if address.starts_with("http://") || address.starts_with("https://") {
        let patience = Patience {
            timeout: Duration::from_secs(args.timeout.unwrap_or(3600)),
            retry: RetryPolicy {
                attempts: args.attempts.unwrap_or(8),
                ..RetryPolicy::default()
            },
        };
        let key = key_env.map(Key::from_env).transpose()?;
        Model::Endpoint(Endpoint::new(
            address,
            key,
            args.concurrency.unwrap_or(32),
            patience,
        )?)
    } else {
        let folder = local_folder(Path::new(address), Wanted::MODEL)?;
        if !folder.is_dir() {
            bail!(
                "`{address}` is neither a checkpoint's folder nor a model on the Hub (owner/name) nor an endpoint, http://localhost:8000/v1#MODEL"
            );
        }
        if let Some(variable) = key_env {
            bail!("{variable}: a checkpoint on this machine needs no key; leave the option out");
        }
        let device = args.device.open()?;
        let precision = dtype(
            args.device
                .precision(args.precision.unwrap_or(PrecisionArg::F32))?,
        );
        let date = match &args.date {
            // Answers begun yesterday go on with yesterday's date.
            None => date(begun(name, &args.out)?.as_deref())?,
            given => date(given.as_deref())?,
        };
        Model::Checkpoint(CheckpointModel::new(
            &folder,
            precision,
            &device,
            args.batch.unwrap_or(8),
            date,
        )?)
    };
    Ok(Asked {
        name,
        model,
        sampling,
        max_new_tokens: args.max_new_tokens as usize,
    })
}

/// Refuses options that none of the models would heed.
fn check_heeded(args: &AnswerArgs, models: &[Asked]) -> Result<()> {
    let has_endpoint = models
        .iter()
        .any(|asked| matches!(asked.model, Model::Endpoint(_)));
    let has_checkpoint = models
        .iter()
        .any(|asked| matches!(asked.model, Model::Checkpoint(_)));
    let of_endpoints = args
        .of_endpoints()
        .map(|given| (given, has_endpoint, "endpoints"));
    let of_checkpoints = args
        .of_checkpoints()
        .map(|given| (given, has_checkpoint, "checkpoints"));
    for ((option, given), has, whose) in of_endpoints.into_iter().chain(of_checkpoints) {
        if given && !has {
            bail!("{option} is for {whose}, and none is asked; leave it out");
        }
    }
    Ok(())
}

/// The date of the answers that are there already.
fn begun(name: &str, out: &Path) -> Result<Option<String>> {
    let settings = Journal::settings_of(out)?;
    let date =
        settings.and_then(|there| Some(there.settings.get(&format!("{name}.date"))?.as_str()?.to_owned()));
    Ok(date)
}

fn write(
    args: &AnswerArgs,
    models: Vec<Asked>,
    form: Form,
    samples: u32,
    expected: Option<String>,
) -> Result<ExitCode> {
    if args.out.extension().is_none_or(|ending| ending != "jsonl") {
        bail!(
            "--out {}: rows are JSON lines; write a name that ends in .jsonl",
            args.out.display()
        );
    }
    check_heeded(args, &models)?;
    let prompts = open_prompts(args, expected)?;
    let stop = flag("stopping; the answers so far are kept")?;
    let mut journal = Journal::open(&args.out, &settings(args, &models, form))?;
    let survey = prompts.survey(|prompt| match stop.load(Ordering::Relaxed) {
        true => Err(SynthesisError::Interrupted),
        false => journal.check(prompt),
    });
    let survey = match survey {
        Err(SynthesisError::Interrupted) => return Ok(ExitCode::from(STOPPED)),
        survey => survey?,
    };
    if survey.prompts == 0 {
        bail!("there is no prompt in {}", args.prompts.join(", "));
    }
    let mut bar = answer_bar::AnswerBar::new();
    let answered = answer_all(
        &prompts,
        &survey,
        &models,
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
            eprintln!("the answers so far are kept; the same command goes on from there");
        }
        return Err(error.into());
    }
    let keep: Vec<LeftOut> = args.keep.iter().map(|keep| (*keep).into()).collect();
    let written = write_rows(&args.out, &prompts, &mut journal, form, samples, &keep)?;
    print!("{}", describe(args, form, &models, &survey, &written, &journal));
    Ok(match interrupted {
        false => ExitCode::SUCCESS,
        true => {
            eprintln!("stopped; the same command goes on from there");
            ExitCode::from(STOPPED)
        }
    })
}

fn open_prompts(args: &AnswerArgs, expected: Option<String>) -> Result<Prompts> {
    let beside = || {
        let mut name = args.out.as_os_str().to_owned();
        name.push(".cache");
        name.into()
    };
    let cache = CacheOptions {
        folder: args.cache.cache.clone().unwrap_or_else(beside),
        bytes: args.cache.cache_size.0,
        retry: RetryPolicy::default(),
    };
    let asking = Asking {
        system: args.system.clone(),
        think: thinks(args),
        expected,
        limit: args.limit,
        bad_rows: match args.bad_rows {
            args::BadRows::Stop => BadRows::Stop,
            args::BadRows::Skip => BadRows::Skip,
        },
    };
    Prompts::open(&args.prompts, &cache, asking).context("--prompts")
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

impl From<KeepArg> for LeftOut {
    fn from(keep: KeepArg) -> Self {
        match keep {
            KeepArg::CutOff => Self::CutOff,
            KeepArg::Empty => Self::Empty,
            KeepArg::Equal => Self::Equal,
        }
    }
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
    let rows = kind(form);
    let mut text = format!(
        "{}: {} {rows} of {} prompts\n",
        args.out.display(),
        written.rows,
        survey.prompts
    );
    if written.waiting > 0 {
        text.push_str(&format!("  not answered yet: {}\n", written.waiting));
    }
    for (reason, count) in &written.left_out {
        let hint = match reason {
            LeftOut::CutOff => format!(" (--max-new-tokens {})", args.max_new_tokens),
            _ => String::new(),
        };
        text.push_str(&format!("  left out: {count}, {}{hint}\n", reason.words()));
    }
    if let Some(example) = &survey.example {
        text.push_str(&format!(
            "  skipped: {} rows without a prompt\n    {example}\n",
            survey.bad_rows
        ));
    }
    for (number, model) in (0u8..).zip(models) {
        text.push_str(&format!("  {}: {} tokens\n", model.name, journal.tokens(number)));
    }
    text.push_str(&format!(
        "  all answers: {}\n",
        Journal::path_of(&args.out).display()
    ));
    text
}

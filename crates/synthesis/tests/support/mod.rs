//! Shared by the tests of this crate: a scripted server, prompts on disk, a random checkpoint.

#![allow(dead_code)]

#[path = "../../../inference/tests/checkpoint/mod.rs"]
mod files;
pub mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use burn::tensor::{DType, Device};
use serde_json::{Value, json};
use smollm3_chat::NaiveDate;
use smollm3_corpus::remote::RetryPolicy;
use smollm3_corpus::shards::CacheOptions;
use smollm3_model::Sampling;
use smollm3_synthesis::{
    Asked, Asking, CheckpointModel, Endpoint, Form, Journal, LeftOut, Model, Patience, Progress, Prompts,
    Result, Settings, Written, answer_all, write_rows,
};

/// A folder with prompts, rows and answers.
pub struct Bench {
    pub folder: tempfile::TempDir,
    pub asking: Asking,
    pub samples: u32,
    pub form: Form,
    pub keep: Vec<LeftOut>,
}

impl Bench {
    pub fn new(rows: &[Value]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_lines(&folder.path().join("prompts.jsonl"), rows);
        Self {
            folder,
            asking: Asking::default(),
            samples: 1,
            form: Form::Responses,
            keep: Vec::new(),
        }
    }

    /// Prompts that are numbers to be repeated.
    pub fn of_numbers(prompts: usize) -> Self {
        let rows: Vec<Value> = (0..prompts)
            .map(|number| json!({"prompt": format!("Say {number}.")}))
            .collect();
        Self::new(&rows)
    }

    pub fn out(&self) -> PathBuf {
        self.folder.path().join("rows.jsonl")
    }

    pub fn answers(&self) -> PathBuf {
        Journal::path_of(&self.out())
    }

    pub fn prompts(&self) -> Prompts {
        let cache = CacheOptions {
            folder: self.folder.path().join("cache"),
            bytes: 0,
            retry: RetryPolicy::default(),
        };
        let file = self.folder.path().join("prompts.jsonl");
        Prompts::open(&[file.to_string_lossy()], &cache, self.asking.clone()).unwrap()
    }

    pub fn journal(&self, models: &[Asked]) -> Result<Journal> {
        let mut settings = Settings::default();
        models.iter().for_each(|model| model.describe(&mut settings));
        Journal::open(&self.out(), &settings)
    }

    /// The whole command.
    pub fn run(
        &self,
        models: &[Asked],
        stop: &AtomicBool,
        show: &mut dyn FnMut(Progress),
    ) -> Result<Written> {
        let prompts = self.prompts();
        let mut journal = self.journal(models)?;
        let survey = prompts.survey(|prompt| journal.check(prompt))?;
        answer_all(&prompts, &survey, models, self.samples, &mut journal, stop, show)?;
        write_rows(
            &self.out(),
            &prompts,
            &mut journal,
            self.form,
            self.samples,
            &self.keep,
        )
    }

    pub fn done(&self, models: &[Asked]) -> Written {
        self.run(models, &AtomicBool::new(false), &mut |_| ()).unwrap()
    }

    #[track_caller]
    pub fn refused(&self, models: &[Asked], words: &[&str]) {
        let error = self
            .run(models, &AtomicBool::new(false), &mut |_| ())
            .unwrap_err()
            .to_string();
        for word in words {
            assert!(error.contains(word), "{word} is missing: {error}");
        }
    }

    pub fn rows(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.out()).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

pub fn write_lines(path: &Path, rows: &[Value]) {
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    fs::write(path, lines).unwrap();
}

/// Retries within milliseconds.
pub fn patience() -> Patience {
    Patience {
        timeout: Duration::from_millis(400),
        retry: RetryPolicy {
            attempts: 4,
            first_wait: Duration::from_millis(2),
            longest_wait: Duration::from_millis(5),
            stall: Duration::from_secs(5),
        },
    }
}

pub fn sampling(seed: u64) -> Sampling {
    Sampling {
        temperature: 1.0,
        seed,
        ..Sampling::default()
    }
}

pub fn endpoint(name: &'static str, address: &str, model: &str) -> Asked {
    let address = format!("{address}/v1#{model}");
    Asked {
        name,
        model: Model::Endpoint(Endpoint::new(&address, None, 4, patience()).unwrap()),
        sampling: sampling(3),
        max_new_tokens: 50,
    }
}

/// The fixture model with a tokenizer and a short template.
pub fn checkpoint_folder(folder: &Path) -> PathBuf {
    let to = files::checkpoint(folder);
    let template = "{% for m in messages %}{{ m.content }}\n{% endfor %}<|im_start|>";
    fs::write(to.join("chat_template.jinja"), template).unwrap();
    to
}

pub fn checkpoint(name: &'static str, folder: &Path, batch: usize, temperature: f64) -> Asked {
    let date = NaiveDate::from_ymd_opt(2025, 7, 8).unwrap();
    let model = CheckpointModel::new(folder, DType::F32, &Device::default(), batch, date).unwrap();
    Asked {
        name,
        model: Model::Checkpoint(model),
        sampling: Sampling {
            temperature,
            ..sampling(5)
        },
        max_new_tokens: 24,
    }
}

//! The template, the date and the tokenizer of a stage on conversations.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use smollm3_chat::tokens::{ChatTokens, IM_END, check_tokens};
use smollm3_chat::{NaiveDate, Render, Template};
use smollm3_corpus::Tokenizer;
use smollm3_engine::Run;
use smollm3_engine::checkpoint::{self, write_json};
use smollm3_recipe::{Recipe, Stage, Start, TemplateChoice};

use crate::{Result, SftError};

/// How conversations of a stage become tokens.
#[derive(Debug, Clone)]
pub struct ChatSetup {
    /// The template.
    pub template: Template,
    /// The date, where the recipe gives one.
    pub render: Render,
}

impl ChatSetup {
    /// That of a stage.
    ///
    /// # Errors
    /// There is no such template, it does not parse, or the tokenizer has no tokens for turns.
    pub fn of(
        recipe: &Recipe,
        tokenizer: &Tokenizer,
        stage: &Stage,
        template: &TemplateChoice,
        date: Option<&str>,
    ) -> Result<Self> {
        check_tokens(tokenizer)?;
        let template = match template {
            TemplateChoice::BuiltIn(name) => Template::builtin(name).ok_or_else(|| {
                SftError::Refused(format!(
                    "stage.{}.template: there is no template `{name}`; write one of {}, \"checkpoint\", or a file such as \
                     \"./template.jinja\"",
                    stage.name,
                    smollm3_chat::template::BUILTIN.join(", ")
                ))
            })?,
            TemplateChoice::Checkpoint => {
                let folder = start_folder(recipe, stage)?;
                Template::of_checkpoint(&folder)?.ok_or_else(|| {
                    SftError::Refused(format!("{}: the checkpoint has no chat template; write template = \"smollm3\"", folder.display()))
                })?
            }
            TemplateChoice::File(file) => {
                let path = recipe.resolve(file);
                let source = fs::read_to_string(&path).map_err(|error| SftError::File {
                    path: path.clone(),
                    problem: format!("cannot read the template: {error}"),
                })?;
                Template::parse(&path.display().to_string(), &source)?
            }
        };
        let date = date.map(|date| {
            NaiveDate::parse_from_str(date, "%Y-%m-%d").map_err(|_| {
                SftError::Refused(format!(
                    "stage.{}.date: `{date}` is no date; write it as \"2025-07-08\"",
                    stage.name
                ))
            })
        });
        let render = Render {
            date: date.transpose()?,
            ..Render::default()
        };
        Ok(Self { template, render })
    }

    /// Stands for it.
    pub fn identity(&self) -> Value {
        json!([
            self.template.source(),
            self.render.date.map(|date| date.to_string())
        ])
    }

    /// Whether the template is that of a checkpoint which a run has yet to make.
    pub fn is_later(stage: &Stage, template: &TemplateChoice) -> bool {
        *template == TemplateChoice::Checkpoint && matches!(stage.from, Start::Stage(_))
    }
}

/// The checkpoint that a stage starts from.
fn start_folder(recipe: &Recipe, stage: &Stage) -> Result<PathBuf> {
    match &stage.from {
        Start::Stage(earlier) => {
            let folder = recipe.run.output.join(earlier);
            let newest = checkpoint::list(&folder)?.pop();
            newest.map(|(_, path)| path).ok_or_else(|| {
                SftError::Refused(format!(
                    "stage \"{}\": template = \"checkpoint\" is that of \"{earlier}\", which has no checkpoint in {}; run it \
                     first",
                    stage.name,
                    folder.display()
                ))
            })
        }
        Start::Folder(folder) => Ok(recipe.resolve(folder)),
        Start::Random | Start::Hub(_) => Err(SftError::Refused(format!(
            "stage \"{}\": template = \"checkpoint\" needs a checkpoint on this machine",
            stage.name
        ))),
    }
}

/// The tokenizer that the stage's checkpoints carry: the run's, with turns ended by `<|im_end|>` and the template. Rank 0
/// writes it; returns its folder.
///
/// # Errors
/// A file cannot be written.
pub fn stage_tokenizer(run: &Run, stage: &Stage, template: &Template) -> Result<(PathBuf, ChatTokens)> {
    let tokens = check_tokens(&run.data.tokenizer)?;
    let folder = run.stage_folder(&stage.name).join("tokenizer");
    run.only_first(|| write_tokenizer(&run.data.tokenizer_folder, template, &folder))?;
    Ok((folder, tokens))
}

fn write_tokenizer(from: &Path, template: &Template, folder: &Path) -> Result<()> {
    let trouble = |path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| SftError::File {
            path,
            problem: error.to_string(),
        }
    };
    fs::create_dir_all(folder).map_err(trouble(folder))?;
    fs::copy(from.join("tokenizer.json"), folder.join("tokenizer.json")).map_err(trouble(folder))?;
    let mut config: Value = fs::read_to_string(from.join("tokenizer_config.json"))
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_else(|| json!({}));
    config["eos_token"] = json!(IM_END);
    write_json(&folder.join("tokenizer_config.json"), &config)?;
    let file = folder.join("chat_template.jinja");
    fs::write(&file, template.source()).map_err(trouble(&file))
}

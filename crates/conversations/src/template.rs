//! The template, the date and the tokenizer of a stage on conversations.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use smollm3_chat::tokens::{ChatTokens, IM_END, check_tokens};
use smollm3_chat::{ChatError, Conversation, NaiveDate, Render, Rendered, Template, spelled_token};
use smollm3_corpus::Tokenizer;
use smollm3_engine::ranks::on_rank_zero;
use smollm3_engine::{EngineError, Run, StageCheckpoints};
use smollm3_files::atomic_file::write_json;
use smollm3_files::io;
use smollm3_recipe::{
    ChatText, ModelConfig, Recipe, SpecialTokens, Stage, Start, TemplateChoice, TemplateDrops, Training,
};
use smollm3_records::stage_result;

use crate::error::{ConversationsError, Result};

/// How conversations of a stage become tokens.
#[derive(Debug, Clone)]
pub struct ChatSetup {
    /// The template.
    pub template: Template,
    /// The date, where the recipe gives one.
    pub render: Render,
    /// What becomes of rows that the template does not write whole.
    pub drops: TemplateDrops,
    /// What becomes of special tokens that a row spells.
    pub special_tokens: SpecialTokens,
}

impl ChatSetup {
    /// That of a stage.
    ///
    /// # Errors
    /// There is no such template, it does not parse, or the tokenizer has no tokens for turns.
    pub fn of(recipe: &Recipe, tokenizer: &Tokenizer, stage: &Stage, text: ChatText<'_>) -> Result<Self> {
        check_tokens(tokenizer)?;
        let template = match text.template {
            TemplateChoice::BuiltIn(name) => Template::builtin(name).ok_or_else(|| {
                ConversationsError::Refused(format!(
                    "stage.{}.template: there is no template `{name}`; write one of {}, \"checkpoint\", or a file such as \
                     \"./template.jinja\"",
                    stage.name,
                    smollm3_chat::template::BUILTIN.join(", ")
                ))
            })?,
            TemplateChoice::Checkpoint => {
                let folder = start_folder(recipe, stage)?;
                Template::of_checkpoint(&folder)?.ok_or_else(|| {
                    ConversationsError::Refused(format!("{}: the checkpoint has no chat template; write template = \"smollm3\"", folder.display()))
                })?
            }
            TemplateChoice::Hub(id) => {
                let folder = recipe.hub_folders.get(id).ok_or_else(|| {
                    ConversationsError::Refused(format!("stage.{}.template: {id} is not on this machine", stage.name))
                })?;
                Template::of_checkpoint(folder)?
                    .ok_or_else(|| ConversationsError::Refused(format!("stage.{}.template: {id} has no chat template", stage.name)))?
            }
            TemplateChoice::File(file) => {
                let path = recipe.resolve(file);
                let source = fs::read_to_string(&path).map_err(|error| ConversationsError::File {
                    path: path.clone(),
                    problem: format!("cannot read the template: {error}"),
                })?;
                Template::parse(&path.display().to_string(), &source)?
            }
        };
        let date = text.date.map(|date| {
            NaiveDate::parse_from_str(date, "%Y-%m-%d").map_err(|_| {
                ConversationsError::Refused(format!(
                    "stage.{}.date: `{date}` is no date; write it as \"2025-07-08\"",
                    stage.name
                ))
            })
        });
        let render = Render {
            date: date.transpose()?,
            ..Render::default()
        };
        Ok(Self {
            template,
            render,
            drops: text.template_drops,
            special_tokens: text.special_tokens,
        })
    }

    /// A conversation as text, and the kinds of what the template leaves out of it.
    ///
    /// # Errors
    /// The template refuses it, or it holds what the stage refuses.
    pub fn render(
        &self,
        tokenizer: &Tokenizer,
        talk: &Conversation,
    ) -> smollm3_chat::Result<(Rendered, BTreeSet<&'static str>)> {
        self.check_special_tokens(tokenizer, talk)?;
        let rendered = self.template.render_for(tokenizer, talk, &self.render)?;
        let dropped = self.dropped(talk, &rendered)?;
        Ok((rendered, dropped))
    }

    /// Refuses special tokens in content, if that is asked for.
    ///
    /// # Errors
    /// There is one.
    pub fn check_special_tokens(
        &self,
        tokenizer: &Tokenizer,
        talk: &Conversation,
    ) -> smollm3_chat::Result<()> {
        match self.special_tokens {
            SpecialTokens::Text => Ok(()),
            SpecialTokens::Refuse => match spelled_token(tokenizer, talk) {
                None => Ok(()),
                Some(spelled) => Err(ChatError::Spelled { spelled }),
            },
        }
    }

    /// The kinds of what the template leaves out.
    ///
    /// # Errors
    /// It leaves something out, and that is refused.
    pub fn dropped(
        &self,
        talk: &Conversation,
        rendered: &Rendered,
    ) -> smollm3_chat::Result<BTreeSet<&'static str>> {
        let mut dropped = self.template.drops(talk, rendered, &self.render)?;
        if self.drops == TemplateDrops::Refuse && !dropped.is_empty() {
            return Err(ChatError::Dropped {
                template: self.template.name().to_owned(),
                dropped: Box::new(dropped.swap_remove(0)),
            });
        }
        Ok(dropped.into_iter().map(|dropped| dropped.kind).collect())
    }

    /// Its identity, for fingerprints.
    pub fn identity(&self) -> Value {
        json!([
            self.template.source(),
            self.render.date.map(|date| date.to_string()),
            self.drops,
            self.special_tokens,
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
            stage_result(recipe.stage(earlier).map_err(EngineError::from)?, &folder)?.ok_or_else(|| {
                ConversationsError::Refused(format!(
                    "stage \"{}\": template = \"checkpoint\" is that of \"{earlier}\", which has no checkpoint in {}; run it \
                     first",
                    stage.name,
                    folder.display()
                ))
            })
        }
        start => recipe.checkpoint_folder(start).ok_or_else(|| {
            ConversationsError::Refused(format!(
                "stage \"{}\": template = \"checkpoint\" needs a checkpoint on this machine",
                stage.name
            ))
        }),
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
    on_rank_zero(&*run.ranks, || {
        write_tokenizer(&run.data.tokenizer_folder, template, &folder)
    })?;
    Ok((folder, tokens))
}

/// The checkpoints of a stage on conversations, which end texts with the end of a turn and carry the template.
///
/// # Errors
/// A file cannot be written, or as [`Run::stage_config`].
pub fn chat_checkpoints<'a>(
    run: &'a Run,
    stage: &'a Stage,
    training: &'a Training,
    template: &Template,
    fingerprint: &str,
) -> Result<StageCheckpoints<'a>> {
    let (tokenizer_folder, tokens) = stage_tokenizer(run, stage, template)?;
    Ok(StageCheckpoints {
        run,
        stage,
        training,
        // The end of a turn is where generation stops.
        config: ModelConfig {
            eos_token_id: Some(tokens.im_end),
            ..run.stage_config(stage)?
        },
        tokenizer_folder,
        data: [(stage.name.clone(), fingerprint.to_owned())].into(),
        lora: stage.lora(),
    })
}

fn write_tokenizer(from: &Path, template: &Template, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(io("create", folder))?;
    let (original, copy) = (from.join("tokenizer.json"), folder.join("tokenizer.json"));
    fs::copy(&original, copy).map_err(io("copy", &original))?;
    let mut config: Value = fs::read_to_string(from.join("tokenizer_config.json"))
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_else(|| json!({}));
    config["eos_token"] = json!(IM_END);
    write_json(&folder.join("tokenizer_config.json"), &config)?;
    let file = folder.join("chat_template.jinja");
    Ok(fs::write(&file, template.source()).map_err(io("write", &file))?)
}

//! Template, date and tokenizer of a stage on conversations.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use smollm3_chat::tokens::{ChatTokens, IM_END, check_tokens};
use smollm3_chat::{ChatError, Conversation, NaiveDate, Render, Rendered, Template, spelled_token};
use smollm3_corpus::Tokenizer;
use smollm3_engine::checkpoint::FROZEN;
use smollm3_engine::ranks::on_rank_zero;
use smollm3_engine::{Run, StageCheckpoints};
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
    /// The date, if the recipe sets one.
    pub render: Render,
    /// The treatment of rows that the template does not write completely.
    pub drops: TemplateDrops,
    /// The treatment of special tokens spelt in rows.
    pub special_tokens: SpecialTokens,
}

impl ChatSetup {
    /// That of a stage.
    ///
    /// # Errors
    /// There is no such template, it does not parse, or the tokenizer has no tokens for turns.
    pub fn of(recipe: &Recipe, tokenizer: &Tokenizer, stage: &Stage, text: ChatText<'_>) -> Result<Self> {
        check_tokens(tokenizer)?;
        let refused = |key: &str, problem: String| {
            ConversationsError::Refused(format!("stage.{}.{key}: {problem}", stage.name))
        };
        let template = match text.template {
            TemplateChoice::BuiltIn(name) => Template::builtin(name).ok_or_else(|| {
                let names = smollm3_chat::template::BUILTIN.join(", ");
                let problem = format!(
                    "there is no template `{name}`; write one of {names}, \"checkpoint\", or a file such as \
                     \"./template.jinja\""
                );
                refused("template", problem)
            })?,
            TemplateChoice::Checkpoint => {
                let folder = start_folder(recipe, stage)?;
                Template::of_checkpoint(&folder)?.ok_or_else(|| {
                    let problem = "the checkpoint has no chat template; write template = \"smollm3\"";
                    ConversationsError::Refused(format!("{}: {problem}", folder.display()))
                })?
            }
            TemplateChoice::Hub(id) => {
                let folder = recipe.hub_folders.get(id);
                let folder =
                    folder.ok_or_else(|| refused("template", format!("{id} is not on this machine")))?;
                let template = Template::of_checkpoint(folder)?;
                template.ok_or_else(|| refused("template", format!("{id} has no chat template")))?
            }
            TemplateChoice::File(file) => {
                let path = recipe.resolve(file);
                let source = fs::read_to_string(&path).map_err(io("read", &path))?;
                Template::parse(&path.display().to_string(), &source)?
            }
        };
        let date = text.date.map(|date| {
            NaiveDate::parse_from_str(date, "%Y-%m-%d").map_err(|_| {
                refused(
                    "date",
                    format!("`{date}` is not a date; write it as \"2025-07-08\""),
                )
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

    /// A conversation as text, and the kinds of content that the template leaves out.
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

    /// Refuses special tokens in content, if so configured.
    ///
    /// # Errors
    /// There is one.
    pub fn check_special_tokens(
        &self,
        tokenizer: &Tokenizer,
        talk: &Conversation,
    ) -> smollm3_chat::Result<()> {
        if self.special_tokens == SpecialTokens::Refuse
            && let Some(spelled) = spelled_token(tokenizer, talk)
        {
            return Err(ChatError::Spelled { spelled });
        }
        Ok(())
    }

    /// The kinds of content that the template leaves out.
    ///
    /// # Errors
    /// It leaves something out, and that is to be refused.
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

    /// Whether the template is a checkpoint's that the run has yet to write.
    pub fn is_later(stage: &Stage, template: &TemplateChoice) -> bool {
        *template == TemplateChoice::Checkpoint && matches!(stage.from, Start::Stage(_))
    }
}

/// The checkpoint that a stage starts from.
fn start_folder(recipe: &Recipe, stage: &Stage) -> Result<PathBuf> {
    let refused = |problem: String| {
        ConversationsError::Refused(format!(
            "stage \"{}\": template = \"checkpoint\" {problem}",
            stage.name
        ))
    };
    match &stage.from {
        Start::Stage(earlier) => {
            let folder = recipe.run.output.join(earlier);
            let found = stage_result(recipe.stage(earlier)?, &folder)?;
            let folder = folder.display();
            found.ok_or_else(|| {
                refused(format!(
                    "is that of \"{earlier}\", which has no checkpoint in {folder}; run it first"
                ))
            })
        }
        start => recipe
            .checkpoint_folder(start)
            .ok_or_else(|| refused("needs a checkpoint on this machine".to_owned())),
    }
}

/// Writes (on rank 0) the tokenizer of the stage's checkpoints, which is the run's with `<|im_end|>` as the end of turns and
/// the template; returns its folder.
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
/// A file cannot be written, or as [`Run::stage_config`] and [`Run::frozen_identity`].
pub fn chat_checkpoints<'a>(
    run: &'a Run,
    stage: &'a Stage,
    training: &'a Training,
    template: &Template,
    fingerprint: &str,
) -> Result<StageCheckpoints<'a>> {
    let (tokenizer_folder, tokens) = stage_tokenizer(run, stage, template)?;
    let frozen = run.frozen_identity(stage)?;
    let frozen = frozen.map(|identity| (FROZEN.to_owned(), identity));
    let own = (stage.name.clone(), fingerprint.to_owned());
    // The end of a turn is where generation stops.
    let config = ModelConfig {
        eos_token_id: Some(tokens.im_end),
        ..run.stage_config(stage)?
    };
    Ok(StageCheckpoints {
        run,
        stage,
        training,
        generation: run.generation_json(stage, &config)?,
        config,
        tokenizer_folder,
        data: [own].into_iter().chain(frozen).collect(),
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

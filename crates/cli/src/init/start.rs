//! The checkpoint that a recipe starts from, and what of it is on this machine.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use smollm3_chat::Template;
use smollm3_chat::tokens::check_tokens;
use smollm3_corpus::Tokenizer;
use smollm3_hub::Wanted;
use smollm3_recipe::{HubId, ModelConfig};

use crate::hub::local_folder;

/// A checkpoint as a recipe names it, and what of it is on this machine.
pub struct Start {
    /// As a recipe names it.
    pub text: String,
    folder: Option<PathBuf>,
    /// Its architecture.
    pub config: Option<ModelConfig>,
    /// Its tokenizer.
    pub tokenizer: Option<Tokenizer>,
}

impl Start {
    /// That of what is typed. What cannot be had is left out, and said.
    ///
    /// # Errors
    /// There is a folder of this name, and no checkpoint in it.
    pub fn of(typed: &str, said: &mut String) -> Result<Self> {
        let path = Path::new(typed);
        let is_local = path.is_dir() || HubId::parse(typed).is_none();
        let text = match is_local {
            true => std::path::absolute(path)?.display().to_string(),
            false => typed.to_owned(),
        };
        let wanted = Wanted {
            weights: false,
            ..Wanted::MODEL
        };
        let folder = match local_folder(path, wanted) {
            Ok(folder) => folder,
            Err(error) => {
                let _ = writeln!(
                    said,
                    "{typed}: {error:#}; lengths are in characters, four to a token"
                );
                return Ok(Self {
                    text,
                    folder: None,
                    config: None,
                    tokenizer: None,
                });
            }
        };
        if is_local && !folder.join("config.json").is_file() && !folder.join("adapter_config.json").is_file()
        {
            bail!(
                "{typed}: there is no config.json in this folder; give the folder of a checkpoint, or owner/name on the Hub"
            );
        }
        Ok(Self {
            text,
            config: ModelConfig::from_hf_file(&folder.join("config.json")).ok(),
            tokenizer: Tokenizer::load(&folder).ok(),
            folder: Some(folder),
        })
    }

    /// The template that marks what is learned: the checkpoint's own, or one of this project.
    pub fn template(&self, said: &mut String) -> &'static str {
        let own = self
            .folder
            .as_deref()
            .and_then(|folder| Template::of_checkpoint(folder).ok().flatten());
        if self
            .tokenizer
            .as_ref()
            .is_some_and(|tokenizer| check_tokens(tokenizer).is_err())
        {
            let _ = writeln!(
                said,
                "the tokenizer has no tokens for turns; first: smollm3 tokenizer add-chat-tokens {} --out CHAT, then take CHAT as \
                 the checkpoint",
                self.text
            );
        }
        match own {
            Some(template) if template.marks_assistant() => "checkpoint",
            Some(_) => "chatml-masked",
            None if self.text.contains("SmolLM3") => "smollm3",
            None => "chatml-masked",
        }
    }
}

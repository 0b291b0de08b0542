//! The checkpoint that a recipe starts from.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use smollm3_chat::Template;
use smollm3_chat::tokens::check_tokens;
use smollm3_corpus::Tokenizer;
use smollm3_hub::{AdapterBase, Wanted, adapter_base};
use smollm3_recipe::{HubId, ModelConfig, PeftConfig};

use crate::hub::local_folder;

/// A checkpoint and what was found of it.
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
    /// The checkpoint as typed. If it cannot be downloaded, a note is added to `notes`.
    ///
    /// # Errors
    /// The folder exists, but is not a checkpoint.
    pub fn of(typed: &str, notes: &mut Vec<String>) -> Result<Self> {
        let path = Path::new(typed);
        let is_local = path.is_dir() || HubId::parse(typed).is_none();
        let text = match is_local {
            true => std::path::absolute(path)?.display().to_string(),
            false => typed.to_owned(),
        };
        let folder = match local_folder(path, Wanted::TEXT) {
            Ok(folder) => folder,
            Err(error) if is_local => return Err(error),
            Err(error) => return Ok(Self::unknown(text, typed, &error, notes)),
        };
        if is_local && !folder.join("config.json").is_file() && !folder.join("adapter_config.json").is_file()
        {
            bail!(
                "{typed}: there is no config.json in this folder; write the folder of a checkpoint, or owner/name on the Hub"
            );
        }
        let base = match PeftConfig::is_adapter(&folder) {
            true => Some(adapter_base(&folder)?),
            false => None,
        };
        let base = match base {
            Some(AdapterBase::Hub(id)) => match local_folder(Path::new(&id), Wanted::TEXT) {
                Ok(base) => Some(base),
                Err(error) => return Ok(Self::unknown(text, &id, &error, notes)),
            },
            Some(AdapterBase::Folder(base)) => Some(base),
            None => None,
        };
        if let Some(base) = &base {
            notes.push(format!(
                "{typed} is an adapter of {}; the run starts from both merged",
                base.display()
            ));
        }
        // An adapter may bring a tokenizer and a template.
        let has_text = folder.join("tokenizer.json").is_file();
        let model = base.unwrap_or_else(|| folder.clone());
        let folder = if has_text { folder } else { model.clone() };
        Ok(Self {
            text,
            config: ModelConfig::from_hf_file(&model.join("config.json")).ok(),
            tokenizer: Tokenizer::load(&folder).ok(),
            folder: Some(folder),
        })
    }

    /// A checkpoint of which nothing is known, because `typed` cannot be downloaded.
    fn unknown(text: String, typed: &str, error: &anyhow::Error, notes: &mut Vec<String>) -> Self {
        notes.push(format!(
            "{typed}: {error:#}; lengths are estimated, at four characters per token"
        ));
        Self {
            text,
            folder: None,
            config: None,
            tokenizer: None,
        }
    }

    /// The template: the checkpoint's own if it marks the learned tokens, else one of this project.
    pub fn template(&self, notes: &mut Vec<String>) -> &'static str {
        let own = self
            .folder
            .as_deref()
            .and_then(|folder| Template::of_checkpoint(folder).ok().flatten());
        let tokenizer = self.tokenizer.as_ref();
        if tokenizer.is_some_and(|tokenizer| check_tokens(tokenizer).is_err()) {
            notes.push(format!(
                "the tokenizer has no tokens for turns; first run smollm3 tokenizer add-chat-tokens {} --out CHAT, then use CHAT \
                 as the checkpoint",
                self.text
            ));
        }
        match own {
            Some(template) if template.marks_assistant() => "checkpoint",
            Some(_) => "chatml-masked",
            None if self.text.contains("SmolLM3") => "smollm3",
            None => "chatml-masked",
        }
    }
}

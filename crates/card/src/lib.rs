//! A checkpoint as others get it: its files, a model card, and the recipe beside it.
//!
//! ```text
//! CHECKPOINT/                config.json, state.json, merge.json, hub.json ─┐
//! CHECKPOINT/../             stage.json, metrics.jsonl, evaluation.json    ─┼─ facts ─ front_matter, sections ─ README.md
//! CHECKPOINT/../../          recipe.toml, recipe.json                      ─┘
//! ```
//!
//! Everything is read from files, so that a card can be written for a run that ended long ago, without a device. What is not
//! on record is left out or called unknown, and no path of this machine is named; the recipe beside the card keeps the paths
//! of its data.

mod error;
mod evaluation;
mod facts;
mod front_matter;
mod loading;
mod origin;
mod table;
mod training;

use std::fs;
use std::path::Path;

use smollm3_corpus::remote::without_secrets;
use smollm3_hub::{Content, UploadFile, checkpoint_files};
use smollm3_records::WRITTEN_RECIPE;
use toml::{Table, Value};

pub use error::{CardError, Result};

use error::unreadable;
use facts::Facts;

/// The line that marks a card as generated. A card without it was written by hand and stays.
pub const MARKER: &str =
    "<!-- Written by smollm3 from the run's records. Remove this line to keep changes. -->";

/// The last line of the card that a merge leaves in its folder.
const MERGE_CARD: &str = "The same as data: `merge.json`.";

/// The file of a card.
pub const README: &str = "README.md";

/// What a checkpoint's folder does not say.
#[derive(Debug, Clone, Copy, Default)]
pub struct About<'a> {
    /// Where it is going: `owner/name`.
    pub repository: Option<&'a str>,
    /// The revision of it, if it is not `main`.
    pub revision: Option<&'a str>,
    /// The licence as the Hub spells it; that of the recipe when absent.
    pub license: Option<&'a str>,
}

/// The model card of the checkpoint or adapter in `folder`.
///
/// # Errors
/// The folder is no checkpoint, or what it or its run has on record cannot be read.
pub fn card(folder: &Path, about: &About<'_>) -> Result<String> {
    let facts = Facts::read(folder)?;
    let mut card = front_matter::front_matter(&facts, about);
    card.push_str(&format!("\n{MARKER}\n\n"));
    card.push_str(&facts.introduction(about));
    card.push_str(&loading::loading(&facts, about));
    card.push_str(&training::training(&facts));
    card.push_str(&evaluation::evaluation(&facts));
    card.push_str(&training::versions(&facts));
    Ok(card)
}

/// All files of the checkpoint or adapter in `folder` for the Hub: those of the model, the card (the folder's own if it was
/// written by hand) and the recipe of its run.
///
/// # Errors
/// As [`card()`] and [`checkpoint_files`].
pub fn publication(folder: &Path, about: &About<'_>) -> Result<Vec<UploadFile>> {
    let mut files = checkpoint_files(folder)?;
    let own = match fs::read_to_string(folder.join(README)) {
        Ok(text) if !is_generated(&text) => Some(Content::Text(text)),
        _ => None,
    };
    let content = match own {
        Some(own) => own,
        None => Content::Generated {
            text: card(folder, about)?,
            marker: MARKER,
        },
    };
    let file = |name: &str, content| UploadFile {
        name: name.to_owned(),
        content,
    };
    files.push(file(README, content));
    if let Ok(checkpoint) = facts::checkpoint_of(folder)
        && let Some(run) = facts::run_of(&checkpoint)
        && let Some(text) = recipe_for_others(&run.join(WRITTEN_RECIPE))?
    {
        files.push(file(WRITTEN_RECIPE, Content::Text(text)));
    }
    Ok(files)
}

/// A run's recipe for others: without device and upload target, with another output folder, and without secrets in
/// addresses. Paths of data stay as they are.
fn recipe_for_others(path: &Path) -> Result<Option<String>> {
    let Some(text) = facts::text(path)? else {
        return Ok(None);
    };
    let mut recipe: Table = text.parse().map_err(unreadable(path))?;
    if let Some(Value::Table(run)) = recipe.get_mut("run") {
        run.remove("push");
        run.remove("device");
        let name = run.get("name").and_then(Value::as_str).unwrap_or("run");
        run.insert("output".to_owned(), format!("runs/{name}").into());
    }
    recipe.iter_mut().for_each(|(_, value)| hide_secrets(value));
    Ok(Some(recipe.to_string()))
}

/// Removes the secrets from all addresses in a value.
fn hide_secrets(value: &mut Value) {
    match value {
        Value::String(text) => *text = without_secrets(text),
        Value::Array(values) => values.iter_mut().for_each(hide_secrets),
        Value::Table(table) => table.iter_mut().for_each(|(_, value)| hide_secrets(value)),
        _ => {}
    }
}

/// Whether a card was generated and not edited since.
fn is_generated(text: &str) -> bool {
    text.contains(MARKER) || text.trim_end().ends_with(MERGE_CARD)
}

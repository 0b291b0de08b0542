//! The recipe that a run's folder belongs to: `recipe.json` in canonical form, `recipe.toml` as people write it.

use std::path::Path;

use smollm3_recipe::{Canonical, Recipe};

use crate::error::{Result, content, read};

/// The file of the canonical form.
pub const RECIPE: &str = "recipe.json";
/// The file with the recipe as people write it, for model cards, including settings that change no result.
pub const WRITTEN_RECIPE: &str = "recipe.toml";

/// The recipe that a run's folder belongs to; `None` where the folder has none.
///
/// # Errors
/// What is there cannot be read.
pub fn read_recipe(folder: &Path) -> Result<Option<Canonical>> {
    let path = folder.join(RECIPE);
    let Some(bytes) = read(&path)? else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes).map_err(content(&path))?;
    text.parse::<Canonical>().map(Some).map_err(content(&path))
}

/// Whether the recipe's output folder holds a run of this very recipe.
///
/// # Errors
/// What is there cannot be read.
pub fn belongs(recipe: &Recipe) -> Result<bool> {
    let found = read_recipe(&recipe.run.output)?;
    Ok(found.is_some_and(|found| found == recipe.canonical()))
}

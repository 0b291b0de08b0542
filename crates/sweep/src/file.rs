//! `sweep.toml`: a base recipe, seeds, and what is varied. Settings are written as on the command line, so that there is one
//! language for them, and one place that explains what is wrong with them.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use smollm3_files::io;

use crate::{Axis, Measure, Result, SweepError};

/// The name of the file in a sweep's folder.
pub(crate) const NAME: &str = "sweep.toml";

/// A sweep as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepFile {
    /// The base recipe, a folder or a file; relative to the sweep's folder as written, to the current folder once read.
    #[serde(default = "recipe_toml")]
    pub base: PathBuf,
    /// The folder to write to, relative to the current folder; the recipe's with `-sweep` when absent.
    pub output: Option<PathBuf>,
    /// Every variation is run with each of these.
    pub seeds: Vec<u64>,
    /// What is compared.
    #[serde(default = "Measure::all")]
    pub measures: Vec<Measure>,
    /// `[[variation]]`, in order.
    #[serde(default, rename = "variation")]
    pub variations: Vec<Varied>,
}

/// `[[variation]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Varied {
    /// Its name.
    pub name: String,
    /// Its settings, `KEY=VALUE`.
    #[serde(default)]
    pub set: Vec<String>,
    /// Lists of values, `KEY=V1,V2`, whose product makes several variations of it.
    #[serde(default)]
    pub grid: Vec<String>,
}

fn recipe_toml() -> PathBuf {
    PathBuf::from("recipe.toml")
}

impl SweepFile {
    /// The `sweep.toml` that `path` names or contains.
    pub(crate) fn at(path: &Path) -> Option<PathBuf> {
        let inside = path.join(NAME);
        match path.file_name().is_some_and(|name| name == NAME) {
            true => Some(path.to_owned()),
            false => inside.is_file().then_some(inside),
        }
    }

    /// Reads a `sweep.toml`.
    ///
    /// # Errors
    /// It cannot be read, has an unknown key, or a setting that cannot be honoured.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(io("read", path))?;
        let refuse = |message: String| SweepError::File(path.to_owned(), message);
        let mut file: Self =
            toml::from_str(&text).map_err(|error| refuse(error.to_string().trim_end().to_owned()))?;
        file.base = path.with_file_name(&file.base);
        match file.problem() {
            Some(message) => Err(refuse(message)),
            None => Ok(file),
        }
    }

    fn problem(&self) -> Option<String> {
        if self.seeds.is_empty() {
            return Some("`seeds` is empty; write at least one, such as [1, 2, 3]".to_owned());
        }
        if self.measures.is_empty() {
            return Some("`measures` is empty; leave it out to compare everything".to_owned());
        }
        if !self.base.exists() {
            return Some(format!(
                "the base {} does not exist; write base = \"FILE\" or a folder with a recipe.toml, relative to the folder \
                 of the sweep",
                self.base.display()
            ));
        }
        for variation in &self.variations {
            let mut axes = variation.grid.iter().map(|axis| axis.parse::<Axis>());
            if let Some(Err(error)) = axes.find(Result::is_err) {
                return Some(format!("variation \"{}\": {error}", variation.name));
            }
        }
        let is_unchanged = |variation: &&Varied| variation.set.is_empty() && variation.grid.is_empty();
        self.variations.iter().find(is_unchanged).map(|variation| {
            format!(
                "variation \"{}\" changes nothing; write set = [\"KEY=VALUE\"] or grid = [\"KEY=V1,V2\"] (the base itself \
                 is always run)",
                variation.name
            )
        })
    }
}

//! `sweep.toml`: a base recipe, seeds, and what is varied. Settings are written as on the command line, so that there is one
//! language for them and one place that explains what is wrong with them.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::io;
use crate::{Axis, Measure, Result, SweepError};

/// The name of the file in a sweep's folder.
pub(crate) const NAME: &str = "sweep.toml";

/// A sweep as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepFile {
    /// The base recipe, a folder or a file, from the current folder.
    pub base: PathBuf,
    /// The folder to write to, from the folder in which the command is given; the recipe's, with `-sweep`, when absent.
    pub output: Option<PathBuf>,
    /// Every variation is run with each of these.
    pub seeds: Vec<u64>,
    /// What is compared.
    pub measures: Vec<Measure>,
    /// In the order of the file.
    pub variations: Vec<Varied>,
}

/// `[[variation]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Varied {
    /// Its name.
    pub name: String,
    /// Its settings, `KEY=VALUE`.
    pub set: Vec<String>,
    /// Lists of values, whose product makes several variations of it.
    pub grid: Vec<Axis>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default = "recipe_toml")]
    base: PathBuf,
    output: Option<PathBuf>,
    seeds: Vec<u64>,
    #[serde(default = "Measure::all")]
    measures: Vec<Measure>,
    #[serde(default)]
    variation: Vec<WrittenVariation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenVariation {
    name: String,
    #[serde(default)]
    set: Vec<String>,
    #[serde(default)]
    grid: Vec<String>,
}

fn recipe_toml() -> PathBuf {
    PathBuf::from("recipe.toml")
}

impl SweepFile {
    /// The `sweep.toml` that `path` is or has, if it is or has one.
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
    /// It cannot be read, has an unknown key, or says something that cannot be meant.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(io("read the sweep", path))?;
        let refuse = |message: String| SweepError::File {
            path: path.to_owned(),
            message,
        };
        let written: Written =
            toml::from_str(&text).map_err(|error| refuse(error.to_string().trim_end().to_owned()))?;
        if written.seeds.is_empty() {
            return Err(refuse(
                "`seeds` is empty; write at least one, such as [1, 2, 3]".to_owned(),
            ));
        }
        if written.measures.is_empty() {
            return Err(refuse(
                "`measures` is empty; leave it out to compare everything".to_owned(),
            ));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let base = folder.join(&written.base);
        if !base.exists() {
            return Err(refuse(format!(
                "the base {} does not exist; write base = \"FILE\" or a folder with a recipe.toml, from the folder of the \
                 sweep",
                base.display()
            )));
        }
        let mut variations = Vec::new();
        for variation in written.variation {
            if variation.set.is_empty() && variation.grid.is_empty() {
                let message = format!(
                    "variation \"{}\" changes nothing; write set = [\"KEY=VALUE\"] or grid = [\"KEY=V1,V2\"] (the base itself \
                     is always run)",
                    variation.name
                );
                return Err(refuse(message));
            }
            let axes = variation.grid.iter().map(|axis| axis.parse());
            variations.push(Varied {
                grid: axes
                    .collect::<Result<_>>()
                    .map_err(|error| refuse(format!("variation \"{}\": {error}", variation.name)))?,
                name: variation.name,
                set: variation.set,
            });
        }
        Ok(Self {
            base,
            output: written.output,
            seeds: written.seeds,
            measures: written.measures,
            variations,
        })
    }
}

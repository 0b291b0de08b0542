//! A sweep with all its runs, planned and checked before any of them starts.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

use crate::file::SweepFile;
use crate::folder::State;
use crate::planned_run::{PlannedRun, load, own_setting};
use crate::{Axis, BASE, Measure, Result, SweepError, Variation, expand};

/// What is asked for on the command line.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// A sweep's folder or `sweep.toml`, or a recipe.
    pub path: PathBuf,
    /// `KEY=VALUE` for all runs, before those of a variation.
    pub settings: Vec<String>,
    /// Replace the file's, if any are given.
    pub seeds: Vec<u64>,
    /// Further lists of values; every variation is run at every point of their product.
    pub grid: Vec<Axis>,
    /// The variations to run, all if none is named.
    pub only: Vec<String>,
    /// Replaces the file's.
    pub output: Option<PathBuf>,
}

/// Everything that is to be run.
#[derive(Debug)]
pub struct Sweep {
    /// The base recipe's name.
    pub name: String,
    /// The base recipe, a folder or a file.
    pub base: PathBuf,
    /// The folder that it writes to.
    pub output: PathBuf,
    /// What is compared.
    pub measures: Vec<Measure>,
    /// All variations, also those that [`Request::only`] leaves out: they may have been run before.
    pub variations: Vec<Variation>,
    /// All seeds.
    pub seeds: Vec<u64>,
    /// The runs, seed by seed, so that a stopped sweep can compare what it has.
    pub runs: Vec<PlannedRun>,
    only: BTreeSet<String>,
}

impl Sweep {
    /// Reads the sweep or the recipe, and plans all runs. Nothing is written.
    ///
    /// # Errors
    /// The file, a recipe or a plan is refused; a name is unknown; a variation is the same as what it is compared with.
    pub fn plan(request: &Request) -> Result<Self> {
        let file = match SweepFile::at(&request.path) {
            Some(path) => SweepFile::read(&path)?,
            None => SweepFile {
                base: request.path.clone(),
                output: None,
                seeds: Vec::new(),
                measures: Measure::all(),
                variations: Vec::new(),
            },
        };
        let variations = expand(&file.variations, &request.grid)?;
        check_settings(request, &file, &variations)?;
        let base = load(&file.base, BASE, &request.settings)?;
        let mut seeds = match request.seeds.is_empty() {
            true => file.seeds,
            false => request.seeds.clone(),
        };
        if seeds.is_empty() {
            seeds.push(base.run.seed);
        }
        let different: BTreeSet<u64> = seeds.iter().copied().collect();
        if different.len() < seeds.len() {
            return Err(SweepError::Refused(format!(
                "a seed is listed twice in {seeds:?}; each makes one run of every variation"
            )));
        }
        let output = request.output.clone().or(file.output).unwrap_or_else(|| {
            let mut name = base.run.output.clone().into_os_string();
            name.push("-sweep");
            name.into()
        });
        let only = chosen(&request.only, &variations)?;
        let mut runs = Vec::new();
        for seed in &seeds {
            for variation in &variations {
                runs.push(PlannedRun::new(
                    &file.base,
                    &request.settings,
                    variation,
                    *seed,
                    &output,
                )?);
            }
        }
        let sweep = Self {
            name: base.run.name,
            base: file.base,
            output,
            measures: file.measures,
            variations,
            seeds,
            runs,
            only,
        };
        sweep.check_differences(!file.variations.is_empty() && request.grid.is_empty())?;
        Ok(sweep)
    }

    /// The run of a variation with a seed.
    pub fn run_of(&self, variation: &str, seed: u64) -> Option<&PlannedRun> {
        self.runs
            .iter()
            .find(|run| run.variation == variation && run.seed == seed)
    }

    /// The runs that [`Request::only`] does not leave out.
    pub fn asked(&self) -> impl Iterator<Item = &PlannedRun> {
        self.runs
            .iter()
            .filter(|run| self.only.is_empty() || self.only.contains(&run.variation))
    }

    /// A variation that changes no setting is a mistake, but a grid may contain the base's own value.
    fn check_differences(&self, is_strict: bool) -> Result<()> {
        let Some(seed) = self.seeds.first().filter(|_| is_strict) else {
            return Ok(());
        };
        for variation in self.variations.iter().filter(|one| one.name != one.reference) {
            let (Some(ours), Some(theirs)) = (
                self.run_of(&variation.name, *seed),
                self.run_of(&variation.reference, *seed),
            ) else {
                continue;
            };
            if ours.hash == theirs.hash && !variation.name.contains('=') {
                return Err(SweepError::Refused(format!(
                    "variation \"{}\" is the same recipe as \"{}\"; change a setting that the base does not have already",
                    variation.name, variation.reference
                )));
            }
        }
        Ok(())
    }

    /// What will be run, in words: the variations with their parameters and tokens, then the runs.
    ///
    /// # Errors
    /// A run's folder is of another recipe, or cannot be read.
    pub fn overview(&self) -> Result<String> {
        let mut text = format!(
            "{}: {} variations, {} seeds, into {}\n\n",
            self.name,
            self.variations.len(),
            self.seeds.len(),
            self.output.display()
        );
        let width = self.runs.iter().map(|run| run.name.len()).max().unwrap_or(0);
        let head = ["variation", "parameters", "to its reference", "steps", "tokens"];
        let _ = writeln!(
            text,
            "  {:width$} {:>14} {:>17} {:>10} {:>15}  changes",
            head[0], head[1], head[2], head[3], head[4]
        );
        for variation in &self.variations {
            let Some(run) = self
                .seeds
                .first()
                .and_then(|seed| self.run_of(&variation.name, *seed))
            else {
                continue;
            };
            let _ = writeln!(
                text,
                "  {:width$} {:>14} {:>17} {:>10} {:>15}  {}",
                variation.name,
                run.parameters,
                self.parameters_in_words(variation, run),
                run.steps,
                run.tokens,
                variation.settings.join(" ")
            );
        }
        let _ = writeln!(text);
        let mut tokens: u64 = 0;
        for run in self.asked() {
            let state = run.state()?;
            if state != State::Finished {
                tokens = tokens.saturating_add(run.tokens);
            }
            let _ = writeln!(text, "  {:width$} {}", run.name, state.in_words());
        }
        let _ = writeln!(text, "\n  {tokens} tokens in the runs that are not finished");
        Ok(text)
    }

    fn parameters_in_words(&self, variation: &Variation, run: &PlannedRun) -> String {
        match self.run_of(&variation.reference, run.seed) {
            Some(reference) if variation.name != variation.reference => {
                format!("{:+.2} %", 100.0 * run.parameters_relative_to(reference))
            }
            _ => "–".to_owned(),
        }
    }
}

/// Refuses settings without effect: those that the sweep gives each of its runs. In settings of all runs, the seed and the
/// output count where no others are written, and the name is the sweep's.
fn check_settings(request: &Request, file: &SweepFile, variations: &[Variation]) -> Result<()> {
    let is_replaced = |setting: &&String| match own_setting(setting) {
        Some("run.seed") => !(request.seeds.is_empty() && file.seeds.is_empty()),
        Some("run.output") => request.output.is_some() || file.output.is_some(),
        _ => false,
    };
    let mut varied = variations.iter().flat_map(|variation| &variation.settings);
    let varied = varied.find(|setting| own_setting(setting).is_some());
    let Some(setting) = varied.or_else(|| request.settings.iter().find(is_replaced)) else {
        return Ok(());
    };
    let instead = match own_setting(setting) {
        Some("run.seed") => "write --seeds 1,2 or `seeds` in sweep.toml",
        _ => "leave it out; --output FOLDER or `output` in sweep.toml is the folder of all runs",
    };
    Err(SweepError::Refused(format!(
        "{setting}: a sweep gives each of its runs a seed, a name and a folder; {instead}"
    )))
}

/// The names of the chosen variations, all of which must exist.
fn chosen(only: &[String], variations: &[Variation]) -> Result<BTreeSet<String>> {
    for name in only {
        if !variations.iter().any(|variation| variation.name == *name) {
            let known: Vec<&str> = variations.iter().map(|one| one.name.as_str()).collect();
            return Err(SweepError::Refused(format!(
                "--only {name}: there is no such variation; there are {}",
                known.join(", ")
            )));
        }
    }
    Ok(only.iter().cloned().collect())
}

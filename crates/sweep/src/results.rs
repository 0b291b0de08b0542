//! The results of a sweep's finished runs: `sweep.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;
use smollm3_files::atomic_file::write_atomically;

use crate::folder::State;
use crate::measure::of_stage;
use crate::{Change, Measured, Result, RunFigures, Spread, Sweep, SweepError};

/// All that is compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Results {
    /// The base recipe's name.
    pub name: String,
    /// The seeds that were asked for.
    pub seeds: Vec<u64>,
    /// What was measured, stage by stage.
    pub measures: Vec<Measured>,
    /// One a variation, in order.
    pub rows: Vec<Row>,
}

/// The results of one variation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub variation: String,
    /// The variation that it is compared with; its own name, if it is compared with none.
    pub reference: String,
    /// What it changes.
    pub settings: Vec<String>,
    /// Numbers in the model.
    pub parameters: u64,
    /// How many more it has than its reference, as a fraction of those.
    pub parameters_relative: f64,
    /// Tokens of a run.
    pub tokens: u64,
    /// Seeds of its finished runs.
    pub seeds: Vec<u64>,
    /// Whether it reads the tokens that its reference reads, so that losses per token can be compared.
    pub same_tokens: bool,
    /// One a measure, in order; `null` where nothing was measured.
    pub values: Vec<Option<Value>>,
    /// The records of its runs, by seed.
    #[serde(skip)]
    pub figures: BTreeMap<u64, RunFigures>,
}

/// One measure of one variation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Value {
    /// By seed.
    pub by_seed: BTreeMap<u64, f64>,
    /// Over the seeds.
    pub spread: Spread,
    /// To the reference, paired by seed; absent for the reference and where the two have no seed in common.
    pub change: Option<Change>,
    /// Whether that is larger than twice its standard error; absent where that is not known.
    pub exceeds_twice_its_error: Option<bool>,
}

impl Results {
    /// Reads the finished runs of `sweep`.
    ///
    /// # Errors
    /// A run's folder is of another recipe, or cannot be read.
    pub fn read(sweep: &Sweep) -> Result<Self> {
        let mut rows = Vec::new();
        for variation in &sweep.variations {
            let runs = || sweep.runs.iter().filter(|run| run.variation == variation.name);
            let mut figures = BTreeMap::new();
            for run in runs() {
                if run.state()? == State::Finished {
                    let stages = run.recipe.stages.iter().map(|stage| stage.name.as_str());
                    figures.insert(run.seed, RunFigures::read(&run.folder, stages)?);
                }
            }
            let Some(first) = runs().next() else { continue };
            let Some(reference) = sweep.run_of(&variation.reference, first.seed) else {
                continue;
            };
            rows.push(Row {
                variation: variation.name.clone(),
                reference: variation.reference.clone(),
                settings: variation.settings.clone(),
                parameters: first.parameters,
                parameters_relative: first.parameters_relative_to(reference),
                tokens: first.tokens,
                seeds: figures.keys().copied().collect(),
                same_tokens: first.data_key() == reference.data_key(),
                values: Vec::new(),
                figures,
            });
        }
        let mut results = Self {
            name: sweep.name.clone(),
            seeds: sweep.seeds.clone(),
            measures: Vec::new(),
            rows,
        };
        results.compare(sweep);
        Ok(results)
    }

    fn compare(&mut self, sweep: &Sweep) {
        // For each variation: what was measured, by which seed, and the value.
        let values = self.rows.iter().map(|row| {
            let stages = row
                .figures
                .iter()
                .flat_map(|(seed, figures)| figures.stages.iter().map(move |stage| (seed, stage)));
            let measured = stages.flat_map(|(seed, stage)| {
                let all = of_stage(stage, &sweep.measures).into_iter();
                all.map(move |(measured, value)| (measured, *seed, value))
            });
            (row.variation.clone(), measured.collect())
        });
        let values: BTreeMap<String, Vec<(Measured, u64, f64)>> = values.collect();
        for (measured, ..) in self.rows.iter().flat_map(|row| &values[&row.variation]) {
            if !self.measures.contains(measured) {
                self.measures.push(measured.clone());
            }
        }
        self.sort_measures(sweep);
        let by_seed = |variation: &str, measured: &Measured| -> BTreeMap<u64, f64> {
            let all = values.get(variation).into_iter().flatten();
            all.filter(|(one, ..)| one == measured)
                .map(|(_, seed, value)| (*seed, *value))
                .collect()
        };
        for row in &mut self.rows {
            let value = |measured: &Measured| {
                let theirs = match row.is_reference() {
                    true => BTreeMap::new(),
                    false => by_seed(&row.reference, measured),
                };
                Value::of(by_seed(&row.variation, measured), &theirs)
            };
            row.values = self.measures.iter().map(value).collect();
        }
    }

    /// Stage by stage in the recipe's order; a measure that only later variations have stays with its stage.
    fn sort_measures(&mut self, sweep: &Sweep) {
        let stages: Vec<&String> = sweep
            .runs
            .iter()
            .flat_map(|run| &run.recipe.stages)
            .map(|stage| &stage.name)
            .collect();
        self.measures
            .sort_by_key(|measured| stages.iter().position(|stage| **stage == measured.stage));
    }

    /// The stages of which something was measured, in order.
    pub fn stages(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        let stages = self.measures.iter().map(|measured| measured.stage.as_str());
        stages.filter(|stage| seen.insert(*stage)).collect()
    }

    /// The measures of a stage, each with its number.
    pub(crate) fn measures_of(&self, stage: &str) -> Vec<(usize, &Measured)> {
        let all = self.measures.iter().enumerate();
        all.filter(|(_, measured)| measured.stage == stage).collect()
    }

    /// As `sweep.json` holds it.
    ///
    /// # Errors
    /// It cannot be written as JSON, which does not happen with figures.
    pub fn json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).map_err(|error| SweepError::Refused(error.to_string()))
    }

    /// Writes `table.md`, `sweep.json` and `report.html` into the sweep's folder; returns the report's path.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, sweep: &Sweep) -> Result<PathBuf> {
        let page = sweep.output.join("report.html");
        write_atomically(&sweep.output.join("table.md"), self.markdown().as_bytes())?;
        write_atomically(&sweep.output.join("sweep.json"), self.json()?.as_bytes())?;
        write_atomically(&page, self.html().as_bytes())?;
        Ok(page)
    }
}

impl Value {
    fn of(by_seed: BTreeMap<u64, f64>, theirs: &BTreeMap<u64, f64>) -> Option<Self> {
        let values: Vec<f64> = by_seed.values().copied().collect();
        let pairs: Vec<(f64, f64)> = by_seed
            .iter()
            .filter_map(|(seed, ours)| Some((*ours, *theirs.get(seed)?)))
            .collect();
        let change = Change::of(&pairs);
        Some(Self {
            spread: Spread::of(&values)?,
            exceeds_twice_its_error: change.and_then(|change| change.exceeds_twice_its_error()),
            change,
            by_seed,
        })
    }
}

impl Row {
    /// Whether it is one that others are compared with.
    pub(crate) fn is_reference(&self) -> bool {
        self.variation == self.reference
    }
}

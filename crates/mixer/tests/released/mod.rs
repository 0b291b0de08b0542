//! The five mixtures SmolLM3 was trained with, and nanotron's blend of each; the fixture's `about`
//! names the sources.

use std::error::Error;
use std::path::Path;

use serde::Deserialize;

#[derive(Deserialize)]
pub struct Released {
    pub phases: Vec<ReleasedPhase>,
}

#[derive(Deserialize)]
#[allow(dead_code)] // Each test file reads other fields.
pub struct ReleasedPhase {
    pub name: String,
    pub steps: u64,
    pub global_batch: u64,
    pub names: Vec<String>,
    pub weights: Vec<f64>,
    pub first_picks: Vec<usize>,
    pub counts_57600: Vec<u64>,
}

pub fn load() -> Result<Released, Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/mixer/released_blends.json");
    Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
}

//! Fits a stage to the memory of a device, as `smollm3 plan` estimates it.

use std::fs;

use anyhow::Result;
use smollm3_estimate::{Machine, plan};
use smollm3_recipe::{Facts, ModelConfig, Recipe};

use super::MICRO_BATCH_TOKENS;
use super::text::{Head, Shape};

/// Fraction of the memory to plan with. Allocators take more than the estimate; how much has not been measured.
const USABLE: f64 = 0.8;
/// Number of parameters from which only adapters are trained, whatever the memory.
const ADAPTED: u64 = 500_000_000;

/// The largest shape for rows of up to `longest` tokens that fits the device.
pub fn fitting(
    head: &Head,
    config: Option<&ModelConfig>,
    longest: u64,
    text: impl Fn(Shape) -> String,
) -> Result<Shape> {
    let context = config.map_or(4_096, |config| config.max_position_embeddings as u64);
    let wanted = longest.next_power_of_two().max(256).min(context);
    let adapted = config.is_none_or(|config| config.parameters() >= ADAPTED);
    let usable = (head.memory as f64 * USABLE) as u64;
    let fits = |shape: Shape| match config {
        None => Ok(true),
        Some(config) => Ok::<_, anyhow::Error>(memory(&text(shape), config)? <= usable),
    };
    let mut length = wanted;
    loop {
        for (lora, recompute) in [(adapted, false), (adapted, true), (true, false), (true, true)] {
            let shape = |micro_batch| Shape {
                sequence_length: length,
                micro_batch,
                recompute,
                lora,
            };
            // As many rows as possible: fewer, larger matrix products.
            for rows in [8, 4, 2, 1] {
                if rows * length <= MICRO_BATCH_TOKENS.max(length) && fits(shape(rows))? {
                    return Ok(shape(rows));
                }
            }
        }
        if length <= 256 {
            // Nothing fits; the plan says how much is missing.
            return Ok(Shape {
                sequence_length: length,
                ..Shape::SMALLEST
            });
        }
        length /= 2;
    }
}

/// The memory of the largest stage of a recipe.
fn memory(text: &str, config: &ModelConfig) -> Result<u64> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("recipe.toml"), text)?;
    let recipe = Recipe::load(folder.path(), &[])?;
    let facts = Facts {
        architecture: Some(config.clone()),
        ..Facts::default()
    };
    let plan = plan(&recipe, &facts, &Machine::default())?;
    let unplanned = plan
        .conversations
        .iter()
        .filter_map(|stage| stage.unplanned.as_ref());
    let all = unplanned.map(|stage| stage.memory.total);
    let all = all.chain(plan.stages.iter().map(|stage| stage.memory.total));
    Ok(all.max().unwrap_or_default())
}

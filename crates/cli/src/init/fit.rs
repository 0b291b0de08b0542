//! What the memory of a device holds, as `smollm3 plan` counts it.

use std::fs;

use smollm3_recipe::{Facts, ModelConfig, Recipe};

use super::MICRO_BATCH_TOKENS;
use super::text::{Head, Shape};

/// What a plan may take of the device's memory: allocators take more than it counts.
const USABLE: f64 = 0.8;
/// Parameters from which adapters are trained in the place of the weights, whatever the memory is.
const ADAPTED: u64 = 500_000_000;

/// The largest shape for rows of `longest` tokens that the device's memory holds, as the plan counts it.
pub fn fitting(
    head: &Head,
    config: Option<&ModelConfig>,
    longest: u64,
    text: impl Fn(Shape) -> String,
) -> Shape {
    let context = config.map_or(4_096, |config| config.max_position_embeddings as u64);
    let wanted = longest
        .next_power_of_two()
        .clamp(256, context.max(256))
        .min(context);
    let adapted = config.is_none_or(|config| config.parameters() >= ADAPTED);
    let usable = (head.memory as f64 * USABLE) as u64;
    let fits = |shape: Shape| {
        config.is_none_or(|config| memory(&text(shape), config).is_some_and(|bytes| bytes <= usable))
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
            let sizes = [8, 4, 2, 1]
                .into_iter()
                .filter(|rows| rows * length <= MICRO_BATCH_TOKENS.max(length));
            // The most rows at once: fewer, larger products.
            if let Some(micro_batch) = sizes.into_iter().find(|rows| fits(shape(*rows))) {
                return shape(micro_batch);
            }
        }
        if length <= 256 {
            // Nothing does: the plan says how much is missing.
            return Shape {
                sequence_length: length,
                micro_batch: 1,
                recompute: true,
                lora: true,
            };
        }
        length /= 2;
    }
}

/// The memory of the largest stage of a recipe, as `smollm3 plan` counts it.
fn memory(text: &str, config: &ModelConfig) -> Option<u64> {
    let folder = tempfile::tempdir().ok()?;
    fs::write(folder.path().join("recipe.toml"), text).ok()?;
    let recipe = Recipe::load(folder.path(), &[]).ok()?;
    let facts = Facts {
        architecture: Some(config.clone()),
        ..Facts::default()
    };
    let plan = recipe.plan(&facts).ok()?;
    let unplanned = plan
        .conversations
        .iter()
        .filter_map(|stage| stage.unplanned.as_ref());
    let all = unplanned.map(|stage| stage.memory.total);
    all.chain(plan.stages.iter().map(|stage| stage.memory.total))
        .max()
}

//! Prints the plan of a recipe: `cargo run -p smollm3-recipe --example plan -- recipes/smollm3-3b`.

use std::error::Error;
use std::path::Path;

use smollm3_recipe::{Facts, Recipe};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("name the folder of a recipe")?;
    let overrides: Vec<String> = arguments.collect();
    let recipe = Recipe::load(Path::new(&folder), &overrides)?;
    print!("{}", recipe.plan(&Facts::default())?);
    Ok(())
}

//! The first steps of the demo, trained from a library:
//!
//! ```sh
//! cargo run -p smollm3-pipeline --example first_steps
//! ```

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use smollm3_recipe::Recipe;
use smollm3_records::{Event, Listener, Listeners, Metrics, Result};

/// Prints each step, and stops the run after the fifth.
struct FiveSteps(Arc<AtomicBool>);

impl Listener for FiveSteps {
    fn on(&mut self, event: &Event) -> Result<()> {
        if let Event::Step(record) = event {
            println!("step {}: loss {:.3}", record.step, record.loss);
            self.0.store(record.step >= 5, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let overrides = ["run.output=\"runs/first-steps\"".to_owned()];
    let recipe = Recipe::load(Path::new("recipes/demo"), &overrides)?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut listeners = Listeners::default()
        .with(Metrics::default())
        .with(FiveSteps(Arc::clone(&stop)));
    match smollm3_pipeline::run(recipe, &stop, &mut listeners) {
        Err(error) if error.is_interrupted() => println!("{error}"),
        ended => println!("trained in {}", ended?.output.display()),
    }
    Ok(())
}

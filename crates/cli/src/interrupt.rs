//! Ctrl-C and SIGTERM: once to end cleanly, twice to end at once. SIGUSR1, as a scheduler sends it before a job's time is
//! up: as the first of them, however often.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use smollm3_engine::EngineError;
use smollm3_pipeline::PipelineError;
use smollm3_records::{Event, Listener, RecordError};

/// Exit code of work that was stopped and can go on (the shell's code for Ctrl-C).
pub const STOPPED: u8 = 130;

/// A flag that the first signal sets, saying `message`; the second ends the process.
pub fn flag(message: &'static str) -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    #[cfg(unix)]
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&stop))?;
    let set = Arc::clone(&stop);
    // Of its own: a scheduler's notice is no first request.
    let asked = AtomicBool::new(false);
    ctrlc::set_handler(move || {
        set.store(true, Ordering::Relaxed);
        if asked.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(STOPPED));
        }
        eprintln!("\n{message}; once more to stop at once");
    })?;
    Ok(stop)
}

/// The listener that ends the preparation of data when the flag is set.
pub struct EndsPreparing(pub Arc<AtomicBool>);

impl Listener for EndsPreparing {
    fn on(&mut self, event: &Event) -> smollm3_records::Result<()> {
        match event {
            Event::Preparing { .. } if self.0.load(Ordering::Relaxed) => Err(RecordError::Interrupted),
            _ => Ok(()),
        }
    }
}

/// Whether an error means that the work was stopped and can go on.
pub fn is_interrupted(error: &anyhow::Error) -> bool {
    of_engine(error).is_some_and(EngineError::is_interrupted)
}

/// The engine's error, whichever crate passed it on.
pub fn of_engine(error: &anyhow::Error) -> Option<&EngineError> {
    match error.downcast_ref::<PipelineError>() {
        Some(error) => error.engine(),
        None => error.downcast_ref::<EngineError>(),
    }
}

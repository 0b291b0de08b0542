//! Signals: the first Ctrl-C or SIGTERM stops cleanly, the second at once. SIGUSR1, which schedulers send before the time of a
//! job is up, always stops cleanly.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use smollm3_corpus::CorpusError;
use smollm3_engine::EngineError;
use smollm3_eval::EvalError;
use smollm3_hub::HubError;
use smollm3_merge::MergeError;
use smollm3_pipeline::PipelineError;
use smollm3_records::{Event, Listener, RecordError};
use smollm3_synthesis::SynthesisError;

/// Exit code of work that the user has stopped (the shell's code for Ctrl-C).
pub const STOPPED: u8 = 130;

/// A flag that the first signal sets, printing `message`; the second signal ends the process.
pub fn flag(message: &'static str) -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    #[cfg(unix)]
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&stop))?;
    let set = Arc::clone(&stop);
    // A separate flag, so that SIGUSR1 does not count as the first signal.
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

/// A listener that ends the preparation of data once the flag is set.
pub struct EndsPreparing(pub Arc<AtomicBool>);

impl Listener for EndsPreparing {
    fn on(&mut self, event: &Event) -> smollm3_records::Result<()> {
        match event {
            Event::Preparing { .. } if self.0.load(Ordering::Relaxed) => Err(RecordError::Interrupted),
            _ => Ok(()),
        }
    }
}

/// Work that was stopped and can be resumed, where no library has an error for it.
#[derive(Debug)]
pub struct Stopped(pub String);

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Stopped {}

/// Whether an error means that the user has stopped the work.
pub fn is_stopped(error: &anyhow::Error) -> bool {
    error.is::<Stopped>()
        || of_engine(error).is_some_and(EngineError::is_interrupted)
        || matches!(error.downcast_ref(), Some(CorpusError::Interrupted))
        || matches!(error.downcast_ref(), Some(EvalError::Interrupted { .. }))
        || matches!(error.downcast_ref(), Some(HubError::UploadInterrupted))
        || matches!(error.downcast_ref(), Some(MergeError::Stopped))
        || matches!(error.downcast_ref(), Some(SynthesisError::Interrupted))
}

/// The engine's error, whichever crate passed it on.
pub fn of_engine(error: &anyhow::Error) -> Option<&EngineError> {
    match error.downcast_ref::<PipelineError>() {
        Some(error) => error.engine(),
        None => error.downcast_ref::<EngineError>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_one_in_every_command() {
        let stopped: [anyhow::Error; 5] = [
            Stopped("stopped".to_owned()).into(),
            CorpusError::Interrupted.into(),
            HubError::UploadInterrupted.into(),
            SynthesisError::Interrupted.into(),
            MergeError::Stopped.into(),
        ];
        for error in stopped {
            assert!(is_stopped(&error), "{error}");
        }
        assert!(!is_stopped(&anyhow::anyhow!("a fault")));
    }
}

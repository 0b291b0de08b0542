//! Models of the Hub on the command line: what is taken for one, and the bar while it comes.

use std::path::{Path, PathBuf};

use anyhow::Result;
use indicatif::ProgressBar;
use smollm3_engine::locate_models;
use smollm3_hub::{Depth, Hub, Pins, Wanted, fetched, folder_or_hub};
use smollm3_recipe::{HubId, Recipe};
use smollm3_records::{Event, Listener};

use crate::progress::style;

/// How bytes that come are shown.
pub const BYTES_BAR: &str =
    "{prefix}{bar:24} {percent}%  {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";

/// As long as it lives, a connection that the other side closes is an error, also in commands that end with the reader of
/// their output.
pub struct QuietSockets {
    #[cfg(unix)]
    before: libc::sighandler_t,
}

impl QuietSockets {
    /// Until it is dropped.
    pub fn new() -> Self {
        Self {
            // SAFETY: ignoring a signal runs no code of ours.
            #[cfg(unix)]
            before: unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) },
        }
    }
}

impl Drop for QuietSockets {
    fn drop(&mut self) {
        // SAFETY: what was there before, the default action or none.
        #[cfg(unix)]
        unsafe {
            libc::signal(libc::SIGPIPE, self.before)
        };
    }
}

/// Finds or fetches what a recipe names on the Hub, for commands that show it; returns the commits of its models there.
///
/// # Errors
/// One of the models cannot be had.
pub fn locate(recipe: &mut Recipe, depth: Depth) -> Result<Pins> {
    let _quiet = QuietSockets::new();
    Ok(locate_models(recipe, depth, &mut NotesOnStderr)?)
}

/// Says what has to be said before a report on standard output.
struct NotesOnStderr;

impl Listener for NotesOnStderr {
    fn on(&mut self, event: &Event) -> smollm3_records::Result<()> {
        if let Event::Note(text) = event {
            eprintln!("note: {text}");
        }
        Ok(())
    }
}

/// The folder of a checkpoint, fetched where it is a model of the Hub; a text that is neither is given back, for the error of
/// whoever reads the folder.
///
/// # Errors
/// The Hub does not have it, or it cannot be fetched.
pub fn local_folder(typed: &Path, wanted: Wanted) -> Result<PathBuf> {
    let Some(text) = typed.to_str() else {
        return Ok(typed.to_owned());
    };
    let here = Path::new("");
    let Some(id) = folder_or_hub(text, here) else {
        if let Some(id) = HubId::parse(text)
            && Hub::new().is_ok_and(|hub| hub.cache(&id).folder().is_dir())
        {
            eprintln!(
                "note: {text} is a folder here; for the model of this name on the Hub write hf://{text}"
            );
        }
        return Ok(typed.to_owned());
    };
    let _quiet = QuietSockets::new();
    let hub = Hub::new()?;
    if !HubId::is_explicit(text) && !hub.cache(&id).folder().is_dir() {
        eprintln!("note: there is no folder {text}; looking for a model of this name on the Hub");
    }
    let bar = ProgressBar::new(0).with_prefix(format!("{text}  "));
    style(&bar, BYTES_BAR);
    let found = fetched(&hub, text, here, &id, None, wanted, &mut |progress| {
        bar.set_length(progress.of_bytes);
        bar.set_position(progress.bytes);
        true
    });
    bar.finish_and_clear();
    let found = found?;
    eprintln!("{id}: commit {}, in {}", found.commit, found.folder.display());
    Ok(found.folder)
}

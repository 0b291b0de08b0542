//! Models on the Hub on the command line, with a progress bar.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use indicatif::ProgressBar;
use smollm3_engine::locate_models;
use smollm3_hub::{Depth, Hub, Pins, Wanted, fetched, folder_or_hub, newest_step};
use smollm3_recipe::{HubId, Recipe};
use smollm3_records::{Event, Listener};

use crate::progress::style;

/// Progress bar of transfers.
pub const BYTES_BAR: &str =
    "{prefix}{bar:24} {percent}%  {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";

/// While it lives, a closed connection is an error even in commands that end with the reader of their output.
pub struct QuietSockets {
    #[cfg(unix)]
    before: libc::sighandler_t,
}

impl QuietSockets {
    /// Ignores SIGPIPE until dropped.
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
        // SAFETY: restores the default action, or none.
        #[cfg(unix)]
        unsafe {
            libc::signal(libc::SIGPIPE, self.before)
        };
    }
}

/// Locates or downloads the models on the Hub that a recipe names; returns their commits.
///
/// # Errors
/// A model cannot be found or downloaded.
pub fn locate(recipe: &mut Recipe, depth: Depth) -> Result<Pins> {
    let _quiet = QuietSockets::new();
    Ok(locate_models(recipe, depth, &mut NotesOnStderr)?)
}

/// Prints notes to standard error, apart from a report on standard output.
struct NotesOnStderr;

impl Listener for NotesOnStderr {
    fn on(&mut self, event: &Event) -> smollm3_records::Result<()> {
        if let Event::Note(text) = event {
            eprintln!("note: {text}");
        }
        Ok(())
    }
}

/// The folder of a checkpoint, downloaded if it is a model on the Hub.
///
/// # Errors
/// There is no such path; it is the folder of a run or a stage; the Hub does not have it, or it cannot be downloaded.
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
                "note: {text} is a local folder; for the model of this name on the Hub write hf://{text}"
            );
        }
        check_path(typed, wanted)?;
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

/// Names what is wrong with a path, if it is not what `wanted` needs.
fn check_path(typed: &Path, wanted: Wanted) -> Result<()> {
    let text = typed.display();
    if !typed.exists() {
        let words = typed.to_string_lossy();
        let hint = match words.contains("://") || words.contains('@') {
            true => "; a model on the Hub is owner/name, owner/name@revision or hf://owner/name/folder",
            false => "",
        };
        bail!("{text}: there is no such file or folder{hint}");
    }
    let may_be = !wanted.config || typed.is_file() || typed.join("config.json").is_file();
    match newest_step(typed).filter(|_| !may_be) {
        Some(step) => bail!("{text} is not a checkpoint: it has no config.json; {step} is one"),
        None => Ok(()),
    }
}

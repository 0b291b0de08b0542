//! What is typed where a folder of a checkpoint goes.

use std::path::{Path, PathBuf};

use smollm3_recipe::HubId;

use crate::error::{HubError, Result};
use crate::hub::{Hub, Report, Snapshot};
use crate::wanted::Wanted;

/// The model on the Hub that `text` names, unless there is a folder or a file of this name below `base`: that is taken
/// first, as Python's libraries do.
pub fn folder_or_hub(text: &str, base: &Path) -> Option<HubId> {
    match !HubId::is_explicit(text) && base.join(text).exists() {
        true => None,
        false => HubId::parse(text),
    }
}

/// The folder of the model that `text` names, which [`folder_or_hub`] has taken for an id.
///
/// # Errors
/// As [`Hub::snapshot`]. Where `text` can be a path that is misspelt, the message has both readings.
pub fn fetched(
    hub: &Hub,
    text: &str,
    base: &Path,
    id: &HubId,
    pinned: Option<&str>,
    wanted: Wanted,
    report: &mut Report<'_>,
) -> Result<Snapshot> {
    hub.snapshot(id, pinned, wanted, report)
        .map_err(|error| match error {
            HubError::Interrupted => error,
            // It is a model of the Hub, beyond doubt.
            error if HubId::is_explicit(text) || pinned.is_some() => error,
            error @ (HubError::Gated { .. }
            | HubError::NoRevision { .. }
            | HubError::Content { .. }
            | HubError::Damaged { .. }
            | HubError::Architecture(_)
            | HubError::Io { .. }) => error,
            cause => HubError::Neither {
                text: text.to_owned(),
                folder: folder(base, text),
                cause: Box::new(cause),
            },
        })
}

fn folder(base: &Path, text: &str) -> PathBuf {
    match base.as_os_str().is_empty() || base == Path::new(".") {
        true => PathBuf::from(text),
        false => base.join(text),
    }
}

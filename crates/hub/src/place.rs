//! Arguments that name a checkpoint's folder or a model on the Hub.

use std::path::Path;

use smollm3_recipe::HubId;

use crate::error::{HubError, Result};
use crate::hub::{Hub, Report, Snapshot};
use crate::wanted::Wanted;

/// The model on the Hub that `text` names, unless a folder or file of this name exists below `base`: paths take precedence,
/// as in Python's libraries.
pub fn folder_or_hub(text: &str, base: &Path) -> Option<HubId> {
    match !HubId::is_explicit(text) && base.join(text).exists() {
        true => None,
        false => HubId::parse(text),
    }
}

/// The folder of the model that `text` names, fetched if need be; `id` is from [`folder_or_hub`].
///
/// # Errors
/// As [`Hub::snapshot`]. Where `text` may be a misspelt path, the message gives both readings.
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
            // Certainly a model on the Hub.
            error if HubId::is_explicit(text) || pinned.is_some() => error,
            error @ (HubError::Gated { .. }
            | HubError::NoRevision { .. }
            | HubError::Content { .. }
            | HubError::Damaged { .. }
            | HubError::Architecture(_)
            | HubError::Files(_)) => error,
            cause => HubError::Neither {
                text: text.to_owned(),
                folder: base.strip_prefix(".").unwrap_or(base).join(text),
                cause: Box::new(cause),
            },
        })
}

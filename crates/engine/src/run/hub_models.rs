//! Models of the Hub that a recipe names: found or fetched before the rest of a run.
//!
//! Rank 0 goes first and sends the others the commits. On a node that shares its cache they find the files there; elsewhere
//! one rank of each node fetches, and the locks of the cache let the others wait for it.

use std::cell::RefCell;

use smollm3_collective::Collective;
use smollm3_hub::{Depth, FetchProgress, Hub, HubError, Located, Pins, locate, read_pins};
use smollm3_recipe::Recipe;
use smollm3_records::{Event, Listener, RecordError};

use crate::Result;
use crate::ranks::from_rank_zero;

/// Finds or fetches the models that `recipe` names on the Hub, as deep as `depth`, and fills in its `hub_folders`. Commits on
/// record in its output folder are kept. Returns the commits.
///
/// # Errors
/// One of the models is not available, or the listener ends the work.
pub fn locate_models(recipe: &mut Recipe, depth: Depth, listener: &mut dyn Listener) -> Result<Pins> {
    let pins = read_pins(&recipe.run.output)?;
    locate_pinned(recipe, depth, &pins, listener)
}

/// [`locate_models`] for all ranks, which take the commits of rank 0.
pub(crate) fn locate_for_ranks(
    recipe: &mut Recipe,
    ranks: &dyn Collective,
    listener: &mut dyn Listener,
) -> Result<Pins> {
    let pins = from_rank_zero(ranks, || locate_models(recipe, Depth::Weights, listener))?;
    if ranks.rank() > 0 {
        locate_pinned(recipe, Depth::Weights, &pins, listener)?;
    }
    Ok(pins)
}

fn locate_pinned(
    recipe: &mut Recipe,
    depth: Depth,
    pins: &Pins,
    listener: &mut dyn Listener,
) -> Result<Pins> {
    let listener = RefCell::new(listener);
    let trouble: RefCell<Option<RecordError>> = RefCell::default();
    let tell = |event: &Event| match listener.borrow_mut().on(event) {
        Ok(()) => true,
        Err(error) => {
            trouble.borrow_mut().get_or_insert(error);
            false
        }
    };
    let found = locate(
        recipe,
        depth,
        pins,
        &Hub::new,
        &mut |text, FetchProgress { bytes, of_bytes, .. }| {
            tell(&Event::Preparing {
                what: format!("fetching {text}, {:.1} MB", of_bytes as f64 / 1e6),
                done: bytes,
                total: of_bytes,
            })
        },
        &mut |text, located| {
            let found = match located {
                Located::Folder(folder) => format!("{text}: the folder {}, not the Hub", folder.display()),
                Located::Hub(snapshot) => format!("{text}: commit {}", snapshot.commit),
            };
            tell(&Event::Note(found));
        },
    );
    match (trouble.into_inner(), found) {
        (Some(error), Err(HubError::Interrupted) | Ok(_)) => Err(error.into()),
        (_, found) => Ok(found?),
    }
}

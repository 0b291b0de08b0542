//! The checkpoints that a stage starts from or is compared with: rank 0 verifies them and announces them to the others.
//!
//! A checkpoint of a large model takes a minute to read; a hundred ranks that read it at once block the file system for
//! everyone. A stage that resumes has its own weights and does not wait for those of its parent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};

use smollm3_files::weights_fingerprint;
use smollm3_recipe::{Stage, Start};
use smollm3_records::checkpoint::read_manifest;

use crate::ranks::from_rank_zero;
use crate::{EngineError, Result, Run, checkpoint};

impl Run {
    /// Has rank 0 verify the checkpoints of earlier stages that `stage` reads, and announces them to all ranks. Every rank
    /// calls it before it asks for one of them. Where the stage resumes, their weights and moments are left to
    /// [`whole_checkpoint`](Self::whole_checkpoint) and [`check_whole`](Self::check_whole), as adapters and references that
    /// are not computed yet need them.
    ///
    /// # Errors
    /// There is none; an error of rank 0 is one of all ranks.
    pub fn verify_parents(&self, stage: &Stage) -> Result<()> {
        let preference = stage.preference();
        let reference = preference.and_then(|preference| preference.reference_from.as_ref());
        for start in [Some(&stage.from), reference].into_iter().flatten() {
            let Start::Stage(earlier) = start else {
                continue;
            };
            self.announced().remove(earlier);
            let newest = from_rank_zero(&*self.ranks, || {
                let newest = self.last_checkpoint(stage, earlier)?;
                match checkpoint::list(&self.stage_folder(&stage.name))?.is_empty() {
                    true => self.check_whole(stage, &newest)?,
                    false => self.check(stage, &newest, |name| !name.ends_with(".safetensors"))?,
                }
                Ok::<_, EngineError>(newest)
            })?;
            self.announced().insert(earlier.clone(), newest);
        }
        Ok(())
    }

    /// The identity of a checkpoint: the hash of its manifest, or of its weights and architecture where it has none.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn identity(&self, folder: &Path) -> Result<String> {
        match checkpoint::identity(folder)? {
            Some(manifest) => Ok(manifest),
            None => Ok(self.hashes.weights(folder)?),
        }
    }

    /// The identity of a checkpoint's weights and architecture. Unlike [`identity`](Self::identity), it is the same for a checkpoint
    /// that was made again, perhaps by another number of ranks. A manifest is believed.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn weights_identity(&self, folder: &Path) -> Result<String> {
        match read_manifest(folder) {
            Ok(manifest) => Ok(weights_fingerprint(&manifest.files)),
            Err(_) => Ok(self.hashes.weights(folder)?),
        }
    }

    pub(super) fn announced(&self) -> MutexGuard<'_, BTreeMap<String, PathBuf>> {
        self.announced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The optimizer's state of a checkpoint, of which each rank writes its shard.
//!
//! Ranks write while training exchanges other things, so the file itself signals that it is written: it gets its name once it is
//! whole and on disk. Rank 0 waits for the files, moves them into its draft of the checkpoint and seals it. No rank ever holds
//! more than its shard.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use smollm3_files::atomic_file::{sync_folder, write_json};
use smollm3_files::io;
use smollm3_model::hf::{NamedTensor, TensorFiles, write_shards};
use smollm3_records::checkpoint::folder_name;

use super::remove_folders;
use crate::step::OPTIMIZER;
use crate::{EngineError, Result};

/// How the names of folders of shards end.
const SHARDS: &str = ".moments.part";

/// How often rank 0 checks for the files.
const POLL: Duration = Duration::from_millis(20);

/// The shard of the moments that a rank writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MomentShard {
    /// The rank.
    pub rank: usize,
    /// Number of ranks.
    pub world: usize,
    /// How long rank 0 waits for the others.
    pub limit: Duration,
}

impl MomentShard {
    /// The folder in which the shards of a checkpoint lie until rank 0 takes them.
    fn folder_name(step: u64) -> String {
        format!(".{}{SHARDS}", folder_name(step))
    }

    fn folder(stage_folder: &Path, step: u64) -> PathBuf {
        stage_folder.join(Self::folder_name(step))
    }

    fn stem(self) -> String {
        format!("{OPTIMIZER}-{:05}-of-{:05}", self.rank + 1, self.world)
    }

    /// Writes this rank's moments.
    ///
    /// # Errors
    /// The file cannot be written; none has its name then.
    pub fn write(self, stage_folder: &Path, step: u64, moments: &[NamedTensor]) -> Result<()> {
        let folder = Self::folder(stage_folder, step);
        fs::create_dir_all(&folder).map_err(io("create", &folder))?;
        let draft = format!("draft-of-{}", self.stem());
        write_shards(&folder, &draft, moments, usize::MAX)?;
        let draft = folder.join(format!("{draft}.safetensors"));
        let file = folder.join(format!("{}.safetensors", self.stem()));
        fs::rename(&draft, &file).map_err(io("rename", &draft))?;
        Ok(sync_folder(&folder)?)
    }

    /// Brings the shards of all ranks into the folder `into`, with an index of their tensors.
    ///
    /// # Errors
    /// A rank has not written its shard in time, or a file cannot be read or written.
    pub fn gather(self, stage_folder: &Path, step: u64, into: &Path) -> Result<()> {
        let folder = Self::folder(stage_folder, step);
        let begin = Instant::now();
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        for rank in 0..self.world {
            let stem = Self { rank, ..self }.stem();
            let name = format!("{stem}.safetensors");
            let (from, to) = (folder.join(&name), into.join(&name));
            while !from.exists() {
                if begin.elapsed() > self.limit {
                    return Err(EngineError::Refused(format!(
                        "{}: rank {rank} has not written its part of the optimizer's state within {:?}; \
                         the log of that rank says why, if it could not",
                        from.display(),
                        self.limit
                    )));
                }
                thread::sleep(POLL);
            }
            // The shards stay until the checkpoint is complete: a failed attempt is repeated.
            fs::hard_link(&from, &to)
                .or_else(|_| fs::copy(&from, &to).map(|_| ()))
                .map_err(io("copy", &from))?;
            let tensors = TensorFiles::open(into, &stem)?;
            files.extend(tensors.names().map(|tensor| (tensor.to_owned(), name.clone())));
        }
        let index = into.join(format!("{OPTIMIZER}.safetensors.index.json"));
        let contents = json!({ "metadata": {}, "weight_map": files });
        Ok(write_json(&index, &contents)?)
    }

    /// Removes the shards of checkpoints that were given up for that of `step`. Ranks begin a checkpoint only after all have ended
    /// the one before.
    ///
    /// # Errors
    /// A folder cannot be removed.
    pub fn clear_others(stage_folder: &Path, step: u64) -> Result<()> {
        let own = Self::folder_name(step);
        remove_folders(stage_folder, |name| name.ends_with(SHARDS) && name != own)
    }

    /// Removes the shards, which the checkpoint now holds.
    ///
    /// # Errors
    /// The folder cannot be removed.
    pub fn clear(stage_folder: &Path, step: u64) -> Result<()> {
        let folder = Self::folder(stage_folder, step);
        Ok(fs::remove_dir_all(&folder).map_err(io("remove", &folder))?)
    }
}

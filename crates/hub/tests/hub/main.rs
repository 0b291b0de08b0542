//! A cache and a fake Hub.

mod fake_hub;
mod recipe;
mod refusals;
mod snapshot;
mod transfer;
mod upload;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use fake_hub::{FakeHub, Files};
use smollm3_corpus::remote::{RemoteClient, RetryPolicy};
use smollm3_hub::{FetchProgress, Hub, Result, Snapshot, Wanted};
use smollm3_recipe::HubId;

/// A `config.json` that this project reads.
pub const CONFIG: &str = r#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 4, "intermediate_size": 4,
    "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "max_position_embeddings": 8,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": 0}"#;

/// Quick enough for tests.
pub(crate) fn policy() -> RetryPolicy {
    RetryPolicy {
        attempts: 3,
        first_wait: Duration::from_millis(5),
        longest_wait: Duration::from_millis(100),
        stall: Duration::from_secs(5),
    }
}

/// The Hub of a server, with a cache in `folder` and more variables.
pub(crate) fn hub_at(address: &str, folder: &Path, more: &[(&str, &str)]) -> Hub {
    let own = [
        ("HF_ENDPOINT".to_owned(), address.to_owned()),
        ("HF_HOME".to_owned(), folder.display().to_string()),
    ];
    let more = more
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Hub::of(RemoteClient::with_environment(policy(), own.into_iter().chain(more)).unwrap()).unwrap()
}

pub(crate) fn hub_of(fake: &FakeHub, folder: &Path) -> Hub {
    hub_at(&fake.hub.address, folder, &[])
}

pub(crate) fn id(text: &str) -> HubId {
    HubId::parse(text).unwrap()
}

pub(crate) fn model(hub: &Hub, text: &str) -> Result<Snapshot> {
    hub.snapshot(&id(text), None, Wanted::MODEL, &mut |_| true)
}

/// [`model`], and all that was reported.
pub(crate) fn reported(hub: &Hub, text: &str) -> (Snapshot, Vec<FetchProgress>) {
    let mut reports = Vec::new();
    let found = hub.snapshot(&id(text), None, Wanted::MODEL, &mut |progress| {
        reports.push(progress);
        true
    });
    (found.unwrap(), reports)
}

pub(crate) fn files(named: &[(&str, &[u8])]) -> Files {
    named
        .iter()
        .map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()))
        .collect()
}

/// A model of two small files and one large one.
pub(crate) fn small_model(weights: &[u8]) -> Files {
    files(&[
        ("config.json", CONFIG.as_bytes()),
        ("tokenizer.json", b"{\"a\": 1}"),
        ("model.safetensors", weights),
    ])
}

/// Bytes that repeat nowhere near.
pub(crate) fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut noise: Vec<u8> = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        noise.extend(next());
    }
    noise.truncate(bytes);
    noise
}

/// All files and links below `folder`: links with where they lead, files with their length.
pub(crate) fn tree(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            let kind = path.symlink_metadata().unwrap();
            if kind.is_symlink() {
                found.insert(name, format!("-> {}", fs::read_link(&path).unwrap().display()));
            } else if kind.is_dir() {
                open.push(path);
            } else {
                found.insert(name, kind.len().to_string());
            }
        }
    }
    found
}

use std::fs;
use std::path::{Path, PathBuf};

use smollm3_corpus::TokenStore;
use smollm3_corpus::remote::RemoteClient;
use smollm3_corpus::shards::CacheOptions;
use smollm3_corpus::store::{OpenOptions, StreamedStore, TokenWidth};

use super::write;
use crate::remote::{client, policy};
use crate::server::{Answer, Server};

/// Serves a folder as a dataset `o/n` on a hub.
fn serve(folder: PathBuf) -> Server {
    Server::start(move |request, _| match request.path.as_str() {
        "/api/datasets/o/n/revision/main" => Answer::body(r#"{"sha": "c0ffee"}"#),
        "/api/datasets/o/n/tree/c0ffee?recursive=true" => {
            let entries = fs::read_dir(&folder).unwrap().map(|entry| {
                let entry = entry.unwrap();
                let (name, bytes) = (
                    entry.file_name().into_string().unwrap(),
                    entry.metadata().unwrap().len(),
                );
                serde_json::json!({"type": "file", "path": name, "size": bytes, "oid": name})
            });
            Answer::body(serde_json::to_string(&entries.collect::<Vec<_>>()).unwrap())
        }
        path => match path
            .strip_prefix("/datasets/o/n/resolve/c0ffee/")
            .map(|name| fs::read(folder.join(name)))
        {
            Some(Ok(bytes)) => Answer::ranged(&bytes, request),
            _ => Answer::status(404),
        },
    })
}

fn open(server: &Server, cache: &Path, bytes: u64, options: &OpenOptions) -> Result<StreamedStore, String> {
    let client: RemoteClient = client(&[("HF_ENDPOINT", &server.address)]);
    let cache = CacheOptions {
        folder: cache.to_owned(),
        bytes,
        retry: policy(),
    };
    StreamedStore::open("web", &["hf://datasets/o/n"], &cache, options, client)
        .map_err(|error| error.to_string())
}

#[test]
fn it_gives_the_windows_of_the_same_folder_on_disk() {
    let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for shard in 0..4u32 {
        let documents: Vec<Vec<u32>> = (0..20 + shard)
            .map(|i| vec![shard * 100 + i; (i % 7) as usize + 1])
            .collect();
        write(folder.path(), &format!("{shard}.ds"), 1_000, &documents);
    }
    let local = TokenStore::open(folder.path()).unwrap();
    let server = serve(folder.path().to_owned());
    // Room for two of the four shards, of some 350 bytes each.
    let streamed = open(&server, cache.path(), 900, &OpenOptions::default()).unwrap();
    assert_eq!(
        (streamed.shards(), streamed.len_tokens()),
        (4, local.len_tokens())
    );
    let windows = streamed.windows(9);
    assert_eq!(windows.iter().sum::<u64>(), local.windows(9));
    let places = windows
        .iter()
        .enumerate()
        .flat_map(|(shard, count)| (0..*count).map(move |inside| (shard, inside)));
    for (window, (shard, inside)) in places.enumerate() {
        let opened = streamed.shard(shard).unwrap();
        streamed.prefetch(shard + 1);
        let (ours, theirs) = (
            opened.as_ref().window(9, inside).unwrap(),
            local.window(9, window as u64).unwrap(),
        );
        assert_eq!(ours.tokens.to_vec(), theirs.tokens.to_vec());
        assert_eq!(ours.document_starts().unwrap(), theirs.document_starts().unwrap());
        let on_disk: u64 = fs::read_dir(cache.path().join("web"))
            .unwrap()
            .map(Result::unwrap)
            .filter(|entry| entry.file_name().to_string_lossy().contains(".ds"))
            .filter_map(|entry| entry.metadata().ok().map(|metadata| metadata.len()))
            .sum();
        assert!(on_disk <= 900, "{on_disk}");
    }
    let fetched = |name: &str| {
        server
            .requests()
            .iter()
            .filter(|request| request.path.ends_with(name))
            .count()
    };
    assert_eq!(
        (fetched("/1.ds"), fetched("/1.ds.index")),
        (1, 1),
        "in order, each shard comes once"
    );
}

#[test]
fn missing_companions_and_wrong_sizes_are_named() {
    let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(folder.path(), "0.ds", 1_000, &[vec![1, 2, 3]]);
    fs::remove_file(folder.path().join("0.ds.index")).unwrap();
    let server = serve(folder.path().to_owned());
    let error = open(&server, cache.path(), 800, &OpenOptions::default()).unwrap_err();
    assert!(
        error.contains("source `web`") && error.contains("0.ds.index` is missing"),
        "{error}"
    );

    let unindexed = |width| OpenOptions {
        width: Some(width),
        ignore_index: true,
    };
    let store = open(&server, cache.path(), 800, &unindexed(TokenWidth::U16)).unwrap();
    assert_eq!(
        store
            .shard(0)
            .unwrap()
            .as_ref()
            .window(2, 0)
            .unwrap()
            .tokens
            .to_vec(),
        [1, 2, 3]
    );
    drop(store);
    let error = open(&server, cache.path(), 800, &unindexed(TokenWidth::U32)).unwrap_err();
    assert!(error.contains("has 6 bytes, not a multiple of 4"), "{error}");
}

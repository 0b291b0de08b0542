use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use smollm3_corpus::cache::ShardCache;
use smollm3_corpus::remote::{RemoteClient, RemoteFile};
use smollm3_corpus::shards::Shards;

use crate::remote::{client, noise};
use crate::server::{Answer, Request, Server};

const BYTES: usize = 100_000;

/// Serves `0.ds`, `1.ds`, … of the same size; `9.ds` fails.
fn server() -> Server {
    Server::start(|request, _| match number(request) {
        9 if request.method == "GET" => Answer::status(404),
        number => Answer::ranged(&contents(number), request),
    })
}

fn number(request: &Request) -> u8 {
    request
        .path
        .trim_start_matches('/')
        .trim_end_matches(".ds")
        .parse()
        .unwrap()
}

fn contents(number: u8) -> Vec<u8> {
    let mut bytes = noise(BYTES);
    bytes[0] = number;
    bytes
}

fn files(client: &RemoteClient, server: &Server, numbers: &[u8]) -> Vec<RemoteFile> {
    let addresses: Vec<_> = numbers
        .iter()
        .map(|number| format!("{}/{number}.ds", server.address))
        .collect();
    client.list("web", &addresses, &|_| true).unwrap()
}

fn open(server: &Server, folder: &Path, most: usize, numbers: &[u8]) -> smollm3_corpus::Result<ShardCache> {
    let client = client(&[]);
    let files = files(&client, server, numbers);
    ShardCache::open("web", folder, most as u64, files, client)
}

fn downloads(server: &Server) -> Vec<u8> {
    server
        .requests()
        .iter()
        .filter(|request| request.method == "GET")
        .map(number)
        .collect()
}

fn on_disk(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|entry| entry.metadata().unwrap().len()).sum()
}

#[test]
fn the_least_recently_used_files_go_and_the_bound_holds() {
    let (server, folder) = (server(), tempfile::tempdir().unwrap());
    let cache = open(&server, folder.path(), 2 * BYTES, &[0, 1, 2]).unwrap();
    for index in [0, 1, 0, 2, 0, 1] {
        let shard = cache.open(index).unwrap();
        assert!(fs::read(shard.path()).unwrap() == contents(index as u8));
        assert!(on_disk(folder.path()) <= 2 * BYTES as u64);
        assert_eq!(cache.bytes(), on_disk(folder.path()));
    }
    // 0 and 1 come; 0 is there; 2 displaces 1; 0 is there; 1 displaces 2.
    assert_eq!(downloads(&server), [0, 1, 2, 1]);
}

#[test]
fn open_files_stay_and_a_full_cache_says_so() {
    let (server, folder) = (server(), tempfile::tempdir().unwrap());
    let cache = open(&server, folder.path(), 2 * BYTES, &[0, 1, 2]).unwrap();
    let (zero, one) = (cache.open(0).unwrap(), cache.open(1).unwrap());
    let error = cache.open(2).unwrap_err().to_string();
    assert!(
        error.contains("source `web`: the cache of 200000 bytes is full of files in use"),
        "{error}"
    );
    drop(one);
    let two = cache.open(2).unwrap();
    assert!(fs::read(zero.path()).unwrap() == contents(0) && fs::read(two.path()).unwrap() == contents(2));
}

#[test]
fn prefetched_files_are_there_when_they_are_asked_for() {
    let (server, folder) = (server(), tempfile::tempdir().unwrap());
    let cache = open(&server, folder.path(), 2 * BYTES, &[0, 1, 2]).unwrap();
    cache.prefetch(1);
    cache.prefetch(1);
    let started = Instant::now();
    while on_disk(folder.path()) < BYTES as u64 && started.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(fs::read(cache.open(1).unwrap().path()).unwrap() == contents(1));
    assert_eq!(downloads(&server), [1]);

    let (_zero, _one) = (cache.open(0).unwrap(), cache.open(1).unwrap());
    cache.prefetch(2);
    assert_eq!(
        downloads(&server),
        [1, 0],
        "no room: nothing is displaced that is in use"
    );
    cache.prefetch(77);
    assert!(cache.open(77).is_err());
}

#[test]
fn many_readers_share_one_download() {
    let (server, folder) = (server(), tempfile::tempdir().unwrap());
    let cache = open(&server, folder.path(), 4 * BYTES, &[0, 1, 2]).unwrap();
    std::thread::scope(|scope| {
        for reader in 0..12 {
            let cache = &cache;
            scope.spawn(move || {
                let shard = cache.open(reader % 3).unwrap();
                assert!(fs::read(shard.path()).unwrap() == contents((reader % 3) as u8));
            });
        }
    });
    assert_eq!(downloads(&server).len(), 3);
    assert_eq!(downloads(&server).into_iter().collect::<HashSet<_>>().len(), 3);
}

#[test]
fn files_stay_between_runs_unless_they_changed() {
    let (server, folder) = (server(), tempfile::tempdir().unwrap());
    drop(
        open(&server, folder.path(), 3 * BYTES, &[0, 1])
            .unwrap()
            .open(0)
            .unwrap(),
    );
    let stale = folder.path().join("0123456789abcdef-old.ds");
    fs::write(&stale, b"of another list").unwrap();
    fs::write(folder.path().join(".0123456789abcdef-x.ds.partial"), b"half").unwrap();
    let foreign = folder.path().join("notes.txt");
    fs::write(&foreign, b"not ours").unwrap();
    let cache = open(&server, folder.path(), 3 * BYTES, &[0, 1]).unwrap();
    assert!(!stale.exists() && foreign.exists());
    assert_eq!(cache.bytes(), BYTES as u64);
    cache.open(0).unwrap();
    assert_eq!(downloads(&server), [0]);
}

#[test]
fn failures_name_the_source_and_can_be_tried_again() {
    let (server, folder) = (server(), tempfile::tempdir().unwrap());
    let cache = open(&server, folder.path(), 2 * BYTES, &[1, 9]).unwrap();
    for _ in 0..2 {
        let error = cache.open(1).unwrap_err().to_string();
        assert!(
            error.contains("source `web`: cannot read `http://127.0.0.1") && error.contains("404"),
            "{error}"
        );
    }
    assert_eq!(
        cache.bytes(),
        0,
        "room promised to a failed download is given back"
    );
    cache.open(0).unwrap();
}

#[test]
fn what_cannot_work_is_refused_at_once() {
    let (server, folder) = (server(), tempfile::tempdir().unwrap());
    let error = open(&server, folder.path(), BYTES - 1, &[0])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("0.ds` has 100000 bytes, the cache holds 99999; raise its size"),
        "{error}"
    );
    let _first = open(&server, folder.path(), BYTES, &[0]).unwrap();
    let error = open(&server, folder.path(), BYTES, &[0]).unwrap_err().to_string();
    assert!(error.contains("another process uses this cache"), "{error}");
}

#[test]
fn a_cache_can_be_dropped_in_the_middle_of_a_download() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|request, _| {
        Answer::ranged(&contents(0), request)
            .cut_after(50_000)
            .stall(Duration::from_millis(200))
    });
    let cache = open(&server, folder.path(), BYTES, &[0]).unwrap();
    cache.prefetch(0);
    std::thread::sleep(Duration::from_millis(100));
    drop(cache);
    let started = Instant::now();
    while fs::read_dir(folder.path()).unwrap().count() > 1 && started.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "only the lock file stays"
    );
}

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

/// Bytes of cached files; locks are empty.
fn on_disk(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|entry| entry.metadata().unwrap().len()).sum()
}

/// What is there but locks.
fn contents_of(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.ends_with("lock")).collect()
}

#[test]
fn the_least_recently_used_files_go_and_the_bound_holds() {
    let (server, folder) = (server(), tempfile::tempdir().unwrap());
    let cache = open(&server, folder.path(), 2 * BYTES, &[0, 1, 2]).unwrap();
    for index in [0, 1, 0, 2, 0, 1] {
        let shard = cache.open(index).unwrap();
        assert!(fs::read(shard.path()).unwrap() == contents(index as u8));
        assert!(on_disk(folder.path()) <= 2 * BYTES as u64);
        assert_eq!(cache.bytes().unwrap(), on_disk(folder.path()));
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
fn files_stay_between_runs_and_what_other_lists_left_goes_first() {
    let (server, folder) = (server(), tempfile::tempdir().unwrap());
    let stale = folder.path().join("0123456789abcdef-old.ds");
    fs::write(&stale, vec![0; BYTES / 2]).unwrap();
    let half = folder.path().join(".0123456789abcdef-old.ds.index.partial");
    fs::write(&half, vec![0; BYTES / 2]).unwrap();
    let foreign = folder.path().join("notes.txt");
    fs::write(&foreign, b"not ours").unwrap();
    drop(
        open(&server, folder.path(), 2 * BYTES, &[0, 1])
            .unwrap()
            .open(0)
            .unwrap(),
    );
    let cache = open(&server, folder.path(), 2 * BYTES, &[0, 1]).unwrap();
    assert!(stale.exists() && half.exists());
    assert_eq!(cache.bytes().unwrap(), 2 * BYTES as u64);
    cache.open(0).unwrap();
    assert_eq!(downloads(&server), [0]);
    cache.open(1).unwrap();
    assert!(!stale.exists() && !half.exists() && foreign.exists());
    cache.open(0).unwrap();
    assert_eq!(downloads(&server), [0, 1]);
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
        cache.bytes().unwrap(),
        0,
        "room promised to a failed download is given back"
    );
    cache.open(0).unwrap();
}

#[test]
fn files_that_differ_in_their_query_only_are_kept_apart() {
    let folder = tempfile::tempdir().unwrap();
    // Of the same size and without an entity tag.
    let server = Server::start(|request, _| Answer::body(request.path.clone()));
    for part in [1, 2] {
        let (client, path) = (client(&[]), format!("/0.ds?part={part}"));
        let address = format!("{}{path}", server.address);
        let files = client.list("web", &[address], &|_| true).unwrap();
        let cache = ShardCache::open("web", folder.path(), 1_000, files, client).unwrap();
        let found = fs::read(cache.open(0).unwrap().path()).unwrap();
        assert!(found == path.as_bytes(), "part {part}");
    }
}

#[test]
fn a_prefetch_that_failed_is_tried_again_when_the_file_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    // The first request is the listing's.
    let server = Server::start(|request, before| match before {
        1 => Answer::status(404),
        _ => Answer::ranged(&contents(number(request)), request),
    });
    let cache = open(&server, folder.path(), 2 * BYTES, &[0]).unwrap();
    cache.prefetch(0);
    let started = Instant::now();
    while (downloads(&server).is_empty() || cache.bytes().unwrap() > 0)
        && started.elapsed() < Duration::from_secs(20)
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    // Its room is given back just before its failure is known.
    std::thread::sleep(Duration::from_millis(200));
    assert!(fs::read(cache.open(0).unwrap().path()).unwrap() == contents(0));
    assert_eq!(downloads(&server), [0, 0]);
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
}

#[test]
fn handles_of_one_folder_share_files_and_room() {
    let (server, folder) = (server(), tempfile::tempdir().unwrap());
    let caches = [(); 2].map(|()| open(&server, folder.path(), 2 * BYTES, &[0, 1, 2]).unwrap());
    let [one, other] = &caches;
    let zero = one.open(0).unwrap();
    assert!(fs::read(other.open(0).unwrap().path()).unwrap() == contents(0));
    assert_eq!(
        downloads(&server),
        [0],
        "what one has fetched is there for the other"
    );

    let first = other.open(1).unwrap();
    other.prefetch(2);
    assert!(zero.path().exists() && first.path().exists());
    assert_eq!(downloads(&server), [0, 1], "what the other one reads stays");

    // Room comes when the other one lets go.
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| one.open(2).unwrap());
        std::thread::sleep(Duration::from_millis(300));
        assert!(!waiting.is_finished());
        drop(first);
        let two = waiting.join().unwrap();
        assert!(fs::read(two.path()).unwrap() == contents(2));
    });
    assert!(fs::read(zero.path()).unwrap() == contents(0));
    assert!(one.bytes().unwrap() <= 2 * BYTES as u64);
}

#[test]
fn handles_that_want_the_same_file_at_once_fetch_it_once() {
    let (server, folder) = (server(), tempfile::tempdir().unwrap());
    let caches: Vec<_> = (0..4)
        .map(|_| open(&server, folder.path(), 4 * BYTES, &[0, 1, 2]).unwrap())
        .collect();
    std::thread::scope(|scope| {
        for cache in &caches {
            scope.spawn(|| {
                for index in [0, 1, 2, 0] {
                    cache.prefetch((index + 1) % 3);
                    let shard = cache.open(index).unwrap();
                    assert!(fs::read(shard.path()).unwrap() == contents(index as u8));
                }
            });
        }
    });
    let mut fetched = downloads(&server);
    fetched.sort_unstable();
    assert_eq!(fetched, [0, 1, 2]);
}

/// Names the folder, the server and the seed of a process that [`reader_process`] is.
const READER: &str = "SMOLLM3_TEST_CACHE_READER";
const READERS: u64 = 4;
const FILES: [u8; 6] = [0, 1, 2, 3, 4, 5];

/// Not a test by itself: one of the processes of the tests below.
#[test]
fn reader_process() {
    let Ok(what) = std::env::var(READER) else { return };
    let [folder, address, room, seed] = what.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let (room, mut state): (u64, u64) = (room.parse().unwrap(), seed.parse().unwrap());
    let client = client(&[]);
    let addresses: Vec<_> = FILES
        .iter()
        .map(|number| format!("{address}/{number}.ds"))
        .collect();
    let files = client.list("web", &addresses, &|_| true).unwrap();
    let cache = ShardCache::open("web", folder, room, files, client).unwrap();
    for _ in 0..30 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let index = (state >> 33) as usize % FILES.len();
        cache.prefetch((index + 1) % FILES.len());
        let shard = cache.open(index).unwrap();
        for _ in 0..2 {
            assert!(
                fs::read(shard.path()).unwrap() == contents(index as u8),
                "file {index}"
            );
            std::thread::sleep(Duration::from_millis(state % 4));
        }
        assert!(cache.bytes().unwrap() <= room);
    }
}

fn readers(server: &Server, folder: &Path, room: usize) -> Vec<std::process::Child> {
    let start = |seed| {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "cache::reader_process"])
            .env(
                READER,
                format!("{} {} {room} {seed}", folder.display(), server.address),
            )
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    (1..=READERS).map(start).collect()
}

#[test]
fn processes_with_room_for_all_files_fetch_each_once() {
    let (server, folder) = (server(), tempfile::tempdir().unwrap());
    for mut reader in readers(&server, folder.path(), FILES.len() * BYTES) {
        assert!(reader.wait().unwrap().success());
    }
    let mut fetched = downloads(&server);
    fetched.sort_unstable();
    assert_eq!(fetched, FILES);
}

/// Fewer files fit than there are readers; one of these is killed, and the others go on.
#[test]
fn processes_share_little_room_and_a_killed_one_holds_none() {
    let (server, folder) = (server(), tempfile::tempdir().unwrap());
    let mut readers = readers(&server, folder.path(), 3 * BYTES);
    let mut killed = readers.pop().unwrap();
    while downloads(&server).len() < 8 {
        std::thread::sleep(Duration::from_millis(1));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    for mut reader in readers {
        assert!(reader.wait().unwrap().success());
    }
    assert!(on_disk(folder.path()) <= 3 * BYTES as u64);
}

#[test]
fn a_cache_can_be_dropped_in_the_middle_of_a_download() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|request, _| {
        Answer::ranged(&contents(0), request)
            .cut_after(50_000)
            .stall(Duration::from_millis(200))
    });
    let cache = open(&server, folder.path(), 2 * BYTES, &[0]).unwrap();
    cache.prefetch(0);
    std::thread::sleep(Duration::from_millis(100));
    assert!(cache.bytes().unwrap() > 0);
    drop(cache);
    assert_eq!(
        contents_of(folder.path()),
        [] as [&str; 0],
        "only the lock of the folder stays"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// As the stages of a run follow one another.
#[test]
fn a_dropped_cache_has_given_up_its_downloads_for_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    // The first three downloads are slow: one byte, then nothing for a while.
    let server = Server::start(|request, before| {
        let answer = Answer::ranged(&contents(number(request)), request);
        match (request.method.as_str(), before) {
            ("GET", 0..=5) => answer.cut_after(1).stall(Duration::from_secs(5)),
            _ => answer,
        }
    });
    for _ in 0..3 {
        let cache = open(&server, folder.path(), 2 * BYTES, &[0]).unwrap();
        cache.prefetch(0);
        std::thread::sleep(Duration::from_millis(20));
        assert!(cache.bytes().unwrap() > 0);
    }
    let started = Instant::now();
    let cache = open(&server, folder.path(), 2 * BYTES, &[0]).unwrap();
    assert_eq!(cache.bytes().unwrap(), 0);
    assert!(fs::read(cache.open(0).unwrap().path()).unwrap() == contents(0));
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
}
